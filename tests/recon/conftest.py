"""Simple and slow implementations of the documented definitions, and volumes for the tests."""

from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

DELTA = 0.45


@dataclass
class Volumes:
    """Volumes of a small head-like object; every array has shape (X, Y, Z)."""

    phase: np.ndarray
    mask: np.ndarray
    magnitude: np.ndarray
    labels: np.ndarray
    voxel_size: tuple[float, float, float]

    @property
    def zscore(self):
        inside = self.magnitude[self.mask]
        return (self.magnitude - inside.mean()) / inside.std()

    def coordinates(self):
        """Voxel centres in m, (3, X, Y, Z); the origin is in the middle."""
        axes = [
            (np.arange(n) - (n - 1) / 2) * d * 1e-3
            for n, d in zip(self.phase.shape, self.voxel_size, strict=True)
        ]
        return np.stack(np.meshgrid(*axes, indexing="ij"))

    def as_support(self, *, use_labels):
        return (self.mask * (self.labels if use_labels else 1)).astype(np.int32)


def make_volumes(shape=(24, 20, 15), voxel_size=(1.0, 1.3, 2.2), seed=0):
    """Return an irregular mask, random labels, a noisy magnitude and a smooth noisy phase."""
    rng = np.random.default_rng(seed)
    mask = gaussian_filter(rng.normal(size=shape), 2) > -0.05
    labels = np.digitize(gaussian_filter(rng.normal(size=shape), 1.5), [-0.06, 0.06]) + 1
    labels[rng.random(shape) < 0.05] = 0
    magnitude = labels + 0.3 * rng.normal(size=shape)
    phase = 3 * gaussian_filter(rng.normal(size=shape), 4) + 0.05 * rng.normal(size=shape)
    return Volumes(phase.astype(np.float32), mask, magnitude, labels, voxel_size)


@cache
def ellipsoid_offsets(radius, voxel_size):
    """Return the offsets k with sum_a (k_a d_a / r_a)^2 <= 1."""
    halves = [int(np.ceil(r / d)) if r > 0 else 0 for r, d in zip(radius, voxel_size, strict=True)]
    grid = np.stack(np.meshgrid(*[np.arange(-h, h + 1) for h in halves], indexing="ij"))
    offsets = grid.reshape(3, -1).T
    scaled = np.array(
        [
            offsets[:, a] * voxel_size[a] / radius[a] if radius[a] > 0 else 0 * offsets[:, a]
            for a in range(3)
        ]
    )
    return offsets[(scaled**2).sum(axis=0) <= 1 + 1e-6]


def voxels_around(voxel, radius, voxel_size, support):
    """Return the voxels of the ellipsoid around a voxel that have its label."""
    neighbours = voxel + ellipsoid_offsets(radius, voxel_size)
    inside = np.all((neighbours >= 0) & (neighbours < support.shape), axis=1)
    neighbours = neighbours[inside]
    return neighbours[support[tuple(neighbours.T)] == support[tuple(voxel)]]


def lstsq_fit(voxel, phase, support, *, voxel_size, radius, zscore=None, smallest_pivot=0):
    """Fit the 10-term quadratic around one voxel, and check whether the fit is unique."""
    voxel = np.asarray(voxel)
    near = voxels_around(voxel, radius, voxel_size, support)
    x, y, z = ((near - voxel) * voxel_size * 1e-3).T
    # scale the columns to units of the radius, so that the numerical rank is meaningful
    r = np.where(np.array(radius) > 0, radius, 1) * 1e-3
    u, v, w = x / r[0], y / r[1], z / r[2]
    columns = {
        "1": u**0, "x": u, "y": v, "z": w,
        "xx": u * u, "yy": v * v, "zz": w * w, "xy": u * v, "xz": u * w, "yz": v * w,
    }  # fmt: skip
    flat = [name for name, size in zip("xyz", radius, strict=True) if size == 0]
    columns = {k: c for k, c in columns.items() if not any(name in k for name in flat)}
    weight = np.ones(len(near))
    if zscore is not None:
        difference = zscore[tuple(near.T)].astype(float) - zscore[tuple(voxel)]
        weight = np.exp(-(difference**2) / (2 * DELTA**2))
    design = np.column_stack(list(columns.values())) * weight[:, None]
    # Use values relative to the centre and columns of unit length. In some fits, the central voxel
    # has a weight of 1 and all other voxels have tiny weights.
    values = (phase[tuple(near.T)].astype(float) - phase[tuple(voxel)]) * weight
    length = np.linalg.norm(design, axis=0)
    length[length == 0] = 1
    design = design / length
    # least squares with NumPy's singular value decomposition and the threshold of its `lstsq`
    left, singular, right = np.linalg.svd(design, full_matrices=False)
    rank = np.sum(singular > np.finfo(float).eps * max(design.shape) * singular[0])
    inverse = right[:rank].T / singular[:rank]
    solution = inverse @ (left[:, :rank].T @ values)
    found = dict(zip(columns, solution / length, strict=True))
    laplacian = sum(2 * found.get(2 * n, 0) / r[a] ** 2 for a, n in enumerate("xyz"))
    gradient = np.array([found.get(n, 0) / r[a] for a, n in enumerate("xyz")])
    determined = rank == len(columns) and len(near) >= len(columns)
    if determined and smallest_pivot > 0:
        # pivots of a Cholesky factorisation of the normal matrix, without the rounding errors that
        # computing this matrix would cause
        pivots = np.diag(np.linalg.qr(design, mode="r")) ** 2
        determined = pivots.min() > smallest_pivot
    # variance of the gradient for weighted residuals of unit variance
    factor = inverse / length[:, None]
    variance = dict(zip(columns, np.sum(factor**2, axis=1), strict=True))
    return SimpleNamespace(
        laplacian=laplacian,
        gradient=gradient,
        gradient_variance=np.array(
            [variance.get(n, np.nan) / r[a] ** 2 for a, n in enumerate("xyz")]
        ),
        determined=determined,
        condition=singular[0] / singular[-1] if determined else np.inf,
    )


def integral_at(
    voxel,
    gradient,
    support,
    *,
    voxel_size,
    radius,
    axes=(0, 1, 2),
    zscore=None,
    variance=None,
    b1_squared=None,
):
    """Return the flux per volume of one voxel's region, summed over pairs; NaN if undefined.

    With b^2, the result is the flux of b^2 times the gradient, divided by the integral of b^2.
    """
    b1_squared = np.ones(support.shape) if b1_squared is None else b1_squared
    voxel = tuple(voxel)
    region = np.zeros(support.shape, bool)
    region[tuple(voxels_around(voxel, radius, voxel_size, support).T)] = True
    region &= np.isfinite(gradient).all(axis=0)
    if zscore is not None:
        region &= np.abs(zscore - zscore[voxel]) <= DELTA
    total = 0.0
    for axis in axes:
        n = support.shape[axis]
        pairs = region.take(range(n - 1), axis) & region.take(range(1, n), axis)
        if not pairs.any():
            return np.nan
        flux = b1_squared * gradient[axis].astype(float)
        swept = (b1_squared.take(range(n - 1), axis) + b1_squared.take(range(1, n), axis)) / 2
        swept = swept[pairs]
        steps = np.diff(flux, axis=axis)[pairs] / swept
        weights = swept
        if variance is not None:
            of_axis = variance[axis].astype(float)
            pair_variance = of_axis.take(range(n - 1), axis) + of_axis.take(range(1, n), axis)
            weights = 1 / pair_variance[pairs]
        total += np.average(steps, weights=weights) / (voxel_size[axis] * 1e-3)
    return total


def differences_at(voxel, phase, support, *, voxel_size, axes=(0, 1, 2)):
    """Return the finite-difference Laplacian and gradient of one voxel, or NaN at the border."""
    laplacian, gradient = 0.0, np.zeros(3)
    for axis in axes:
        ahead = np.eye(3, dtype=int)[axis]
        line = np.array([voxel - ahead, voxel, voxel + ahead])
        if (line < 0).any() or (line >= phase.shape).any() or not support[tuple(line.T)].all():
            return np.nan, np.full(3, np.nan)
        below, here, above = phase[tuple(line.T)].astype(float)
        step = voxel_size[axis] * 1e-3
        laplacian += (below - 2 * here + above) / step**2
        gradient[axis] = (above - below) / (2 * step)
    return laplacian, gradient


def log_gradient_at(voxel, b1, used, voxel_size, axes=(0, 1, 2)):
    """Return the finite-difference gradient of ln b^2 at one voxel.

    If only one neighbour along an axis is in the support, the difference is one-sided.
    """
    gradient = np.zeros(3)
    for axis in axes:
        line = [voxel + step * np.eye(3, dtype=int)[axis] for step in (-1, 0, 1)]
        line = [v for v in line if (v >= 0).all() and (v < used.shape).all() and used[tuple(v)]]
        if len(line) > 1:
            rise = np.log(b1[tuple(line[-1])] ** 2) - np.log(b1[tuple(line[0])] ** 2)
            gradient[axis] = rise / ((line[-1] - line[0])[axis] * voxel_size[axis] * 1e-3)
    return gradient


class SlowMap:
    """Conductivity computed from the documented definitions, voxel by voxel, in float64.

    Each radius has three numbers; if one number is 0, both kernels are in-plane. A fit is unique if
    NumPy finds full rank and all pivots exceed `smallest_pivot`. Maps of the same volumes share
    the fits of gradients if they use the same dictionary `fits`.
    """

    def __init__(
        self,
        volumes,
        method,
        frequency,
        fit_radius=None,
        integral_radius=None,
        smallest_pivot=0,
        b1=None,
        fits=None,
    ):
        self.volumes, self.smallest_pivot, self.b1 = volumes, smallest_pivot, b1
        self.is_fit, self.is_integral = "-fd" not in method, method.startswith("integral")
        self.factor = 1 / (2 * 1.25663706212e-6 * 2 * np.pi * frequency)
        usable = volumes.mask & np.isfinite(volumes.phase)
        self.zscore = None
        if "mag" in method:
            usable &= np.isfinite(volumes.magnitude)
            magnitude = volumes.magnitude.astype(float)
            inside = magnitude[usable]
            self.zscore = (magnitude - inside.mean()) / inside.std()
        self.support = usable * (volumes.labels if "seg" in method else 1)
        radii = [r for r in (fit_radius, integral_radius) if r is not None]
        self.axes = [a for a in range(3) if all(r[a] > 0 for r in radii)]
        self.fit_radius, self.integral_radius = map(self._flattened, (fit_radius, integral_radius))
        settings = self.fit_radius, "mag" in method, "seg" in method, smallest_pivot
        self.gradient, self.variance, self.fitted = ({} if fits is None else fits).setdefault(
            settings, (*np.full((2, 3, *usable.shape), np.nan), np.zeros(usable.shape, bool))
        )
        self.weighs_pairs = method.endswith("-ivw")

    def at(self, voxels):
        """Return the conductivity at n voxels, (n, 3); NaN where invalid, 0 outside the mask."""
        if self.is_integral:
            self._find_gradients(voxels)
        return np.array([self._at(v) if self.volumes.mask[tuple(v)] else 0.0 for v in voxels])

    def _flattened(self, radius):
        if radius is not None:
            return tuple(radius[a] if a in self.axes else 0.0 for a in range(3))
        return None

    def _find_gradients(self, voxels):
        """Compute every gradient that the integrals at some voxels need, each only once."""
        needed = np.zeros(self.support.shape, bool)
        for voxel in voxels:
            near = voxels_around(voxel, self.integral_radius, self.volumes.voxel_size, self.support)
            needed[tuple(near.T)] = True
        needed &= (self.support != 0) & ~self.fitted
        self.fitted |= needed
        for voxel in np.argwhere(needed):
            _, self.gradient[:, *voxel], self.variance[:, *voxel] = self._derivatives(voxel)

    def _at(self, voxel):
        if self.support[tuple(voxel)] == 0:
            return np.nan
        if not self.is_integral:
            laplacian, gradient, _ = self._derivatives(voxel)
            if self.b1 is not None:
                size, axes = self.volumes.voxel_size, self.axes
                laplacian += gradient @ log_gradient_at(
                    voxel, self.b1, self.support != 0, size, axes
                )
            return self.factor * laplacian
        return self.factor * integral_at(
            voxel,
            self.gradient,
            self.support,
            voxel_size=self.volumes.voxel_size,
            radius=self.integral_radius,
            axes=self.axes,
            zscore=self.zscore,
            variance=self.variance if self.weighs_pairs else None,
            b1_squared=None if self.b1 is None else self.b1**2,
        )

    def _derivatives(self, voxel):
        data = (voxel, self.volumes.phase, self.support)
        size = self.volumes.voxel_size
        if not self.is_fit:
            return *differences_at(*data, voxel_size=size, axes=self.axes), np.full(3, np.nan)
        fit = lstsq_fit(
            *data,
            voxel_size=size,
            radius=self.fit_radius,
            zscore=self.zscore,
            smallest_pivot=self.smallest_pivot,
        )
        if not fit.determined:
            return np.nan, np.full(3, np.nan), np.full(3, np.nan)
        return fit.laplacian, fit.gradient, fit.gradient_variance


@pytest.fixture(scope="session")
def volumes():
    return make_volumes()


@pytest.fixture(scope="session")
def small_volumes():
    """Volumes for maps whose noise is propagated, which takes much longer than the maps.

    On these volumes, one thread takes a fifth of the time of two threads.
    """
    return make_volumes((16, 14, 12))


@pytest.fixture(scope="session")
def slow():
    """Return the simple implementations, keyed by name."""
    return SimpleNamespace(
        lstsq_fit=lstsq_fit,
        integral_at=integral_at,
        ellipsoid_offsets=ellipsoid_offsets,
        make_volumes=make_volumes,
        Volumes=Volumes,
        Map=SlowMap,
    )
