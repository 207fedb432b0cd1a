"""Plain, slow versions of the definitions in the documentation, and volumes to try them on."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

DELTA = 0.45


@dataclass
class Volumes:
    """A small head-like case: every array has shape (X, Y, Z)."""

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
        """Voxel centres in m, (3, X, Y, Z), the origin in the middle."""
        axes = [
            (np.arange(n) - (n - 1) / 2) * d * 1e-3
            for n, d in zip(self.phase.shape, self.voxel_size, strict=True)
        ]
        return np.stack(np.meshgrid(*axes, indexing="ij"))

    def as_support(self, *, use_labels):
        return (self.mask * (self.labels if use_labels else 1)).astype(np.int32)


def make_volumes(shape=(24, 20, 15), voxel_size=(1.0, 1.3, 2.2), seed=0):
    """Make an irregular mask, random labels, a noisy magnitude and a smooth noisy phase."""
    rng = np.random.default_rng(seed)
    mask = gaussian_filter(rng.normal(size=shape), 2) > -0.05
    labels = np.digitize(gaussian_filter(rng.normal(size=shape), 1.5), [-0.06, 0.06]) + 1
    labels[rng.random(shape) < 0.05] = 0
    magnitude = labels + 0.3 * rng.normal(size=shape)
    phase = 3 * gaussian_filter(rng.normal(size=shape), 4) + 0.05 * rng.normal(size=shape)
    return Volumes(phase.astype(np.float32), mask, magnitude, labels, voxel_size)


def ellipsoid_offsets(radius, voxel_size):
    """List the offsets k with sum_a (k_a d_a / r_a)^2 <= 1."""
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
    """List the support of one voxel: same label, in the ellipsoid and the volume."""
    neighbours = voxel + ellipsoid_offsets(radius, voxel_size)
    inside = np.all((neighbours >= 0) & (neighbours < support.shape), axis=1)
    neighbours = neighbours[inside]
    return neighbours[support[tuple(neighbours.T)] == support[tuple(voxel)]]


def lstsq_fit(voxel, phase, support, *, voxel_size, radius, zscore=None):
    """Fit the 10-term quadratic around one voxel; (laplacian, gradient, rank is full)."""
    voxel = np.asarray(voxel)
    near = voxels_around(voxel, radius, voxel_size, support)
    x, y, z = ((near - voxel) * voxel_size * 1e-3).T
    # columns in units of the radius, so that the rank can be told
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
    values = phase[tuple(near.T)].astype(float) * weight
    solution, _, rank, singular = np.linalg.lstsq(design, values, rcond=None)
    found = dict(zip(columns, solution, strict=True))
    laplacian = sum(2 * found.get(2 * n, 0) / r[a] ** 2 for a, n in enumerate("xyz"))
    gradient = np.array([found.get(n, 0) / r[a] for a, n in enumerate("xyz")])
    determined = rank == len(columns) and len(near) >= len(columns)
    return SimpleNamespace(
        laplacian=laplacian,
        gradient=gradient,
        determined=determined,
        condition=singular[0] / singular[-1] if determined else np.inf,
    )


def integral_at(voxel, gradient, support, *, voxel_size, radius, axes=(0, 1, 2), zscore=None):
    """Sum the flux through the surface of one voxel's region, pair by pair; NaN if undefined."""
    voxel = np.asarray(voxel)
    near = voxels_around(voxel, radius, voxel_size, support)
    region = set()
    for j in map(tuple, near):
        close = zscore is None or abs(zscore[j] - zscore[tuple(voxel)]) <= DELTA
        if close and np.isfinite(gradient[(slice(None), *j)]).all():
            region.add(j)
    total = 0.0
    for axis in axes:
        steps = []
        for j in region:
            successor = tuple(np.add(j, np.eye(3, dtype=int)[axis]))
            if successor in region:
                steps.append(float(gradient[(axis, *successor)]) - float(gradient[(axis, *j)]))
        if not steps:
            return np.nan
        total += sum(steps) / (len(steps) * voxel_size[axis] * 1e-3)
    return total


@pytest.fixture(scope="session")
def volumes():
    return make_volumes()


@pytest.fixture(scope="session")
def slow():
    """The plain versions, by name."""
    return SimpleNamespace(
        lstsq_fit=lstsq_fit,
        integral_at=integral_at,
        ellipsoid_offsets=ellipsoid_offsets,
        make_volumes=make_volumes,
    )
