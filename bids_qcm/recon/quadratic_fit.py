"""Weighted least-squares fit of a quadratic around every voxel."""

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.compiling import compiled
from bids_qcm.recon.kernels import Triple, ellipsoid, runs

MAGNITUDE_DELTA = 0.45
"""Width of the magnitude weight, in standard deviations of the magnitude over the mask."""

# Exponents of the ten terms; those of an axis that an in-plane kernel lacks are dropped.
_TERMS = np.array(
    [
        (0, 0, 0),
        (1, 0, 0),
        (0, 1, 0),
        (0, 0, 1),
        (2, 0, 0),
        (0, 2, 0),
        (0, 0, 2),
        (1, 1, 0),
        (1, 0, 1),
        (0, 1, 1),
    ]
)

# A pivot is the share of a term's variance that the terms before it do not explain.
_SMALLEST_PIVOT = 1e-6

_CHUNK = 64


def check_enough_voxels(radius: Triple, voxel_size: Triple, name: str) -> None:
    """Refuse a kernel that holds fewer voxels than the quadratic has terms.

    Parameters
    ----------
    radius, voxel_size : tuple of 3 floats
        In mm. A radius of 0 drops that axis's terms.
    name : str
        What the radius is called in the message.

    Raises
    ------
    ValueError
        If no fit in it can be determined.
    """
    n_voxels = int(ellipsoid(radius, voxel_size).sum())
    n_terms = len(_terms(radius))
    if n_voxels < n_terms:
        raise ValueError(
            f"{name} {radius} mm holds {n_voxels} voxels of {voxel_size} mm, and the fit has "
            f"{n_terms} terms; give a larger radius"
        )


def _terms(radius: Triple) -> NDArray[np.int64]:
    """List the exponents of the terms, without those of an axis with radius 0."""
    flat = np.array(radius) == 0
    return _TERMS[(_TERMS[:, flat] == 0).all(axis=1)]


@dataclass(frozen=True)
class QuadraticFit:
    """Derivatives of the fitted quadratics, in each voxel's own centre.

    Attributes
    ----------
    laplacian : ndarray of float32, shape (n,)
        In rad/m^2; NaN where the fit is not determined.
    gradient : ndarray of float32, shape (n, 3)
        In rad/m; NaN where the fit is not determined.
    """

    laplacian: NDArray[np.float32]
    gradient: NDArray[np.float32]


def fit_quadratic(
    phase: NDArray[np.float32],
    support: NDArray[np.int32],
    voxels: NDArray[np.intp],
    *,
    voxel_size: Triple,
    radius: Triple,
    zscore: NDArray[np.float32] | None = None,
) -> QuadraticFit:
    """Fit ``q_i(x)`` to the phase in the ellipsoid around each voxel i.

    The objective is ``sum_j w_ij^2 (phi_j - q_i(x_j))^2`` over the voxels j of the ellipsoid with
    ``support[j] == support[i]``, and ``w_ij = exp(-(m_j - m_i)^2 / (2 delta^2))`` or 1.

    Parameters
    ----------
    phase : ndarray of float32, shape (X, Y, Z)
        Unwrapped phase in rad; finite wherever the support is not 0.
    support : ndarray of int32, shape (X, Y, Z)
        Only voxels with the centre's number are fitted together; 0 is never used.
    voxels : ndarray of int, shape (n, 3)
        Indices of the voxels to fit around; their support is not 0.
    voxel_size, radius : tuple of 3 floats
        In mm. A radius of 0 drops that axis's terms.
    zscore : ndarray of float32, shape (X, Y, Z), optional
        z-scored magnitude m; None makes all weights 1.

    Returns
    -------
    QuadraticFit
        In the order of `voxels`.

    Notes
    -----
    A fit is determined if its support holds at least as many voxels as there are terms and, in
    the Cholesky factorisation of the normal matrix scaled to a unit diagonal, no pivot is below
    1e-6.
    """
    # Coordinates in units of the radius keep all moments, and so the normal matrix, of order one.
    axis_scale = np.array([r if r > 0 else 1.0 for r in radius])
    steps = np.array(voxel_size) / axis_scale
    terms = _terms(radius)
    laplacian, gradient = _fit_all(
        np.ascontiguousarray(phase),
        np.ascontiguousarray(support),
        np.ascontiguousarray(zscore if zscore is not None else phase),
        zscore is not None,
        runs(ellipsoid(radius, voxel_size)),
        steps,
        terms,
        np.ascontiguousarray(voxels),
    )
    metres = axis_scale * 1e-3
    return QuadraticFit(
        laplacian=(laplacian / metres**2).sum(axis=1).astype(np.float32),
        gradient=(gradient / metres).astype(np.float32),
    )


@compiled(parallel=True)
def _fit_all(phase, support, zscore, weighted, kernel_runs, steps, terms, voxels):  # noqa: ANN001, ANN202
    """Fit around every voxel; second and first derivatives per axis in the steps' unit."""
    n = len(voxels)
    second = np.empty((n, 3))
    first = np.empty((n, 3))
    for chunk in numba.prange((n + _CHUNK - 1) // _CHUNK):
        moments = np.empty((5, 5, 5))
        right = np.empty((3, 3, 3))
        for i in range(chunk * _CHUNK, min(n, (chunk + 1) * _CHUNK)):
            count = _accumulate(
                phase, support, zscore, weighted, kernel_runs, steps, voxels[i], moments, right
            )
            second[i], first[i] = _solve(moments, right, terms, count)
    return second, first


@compiled(fastmath={"reassoc", "contract", "nsz"})
def _accumulate(phase, support, zscore, weighted, kernel_runs, steps, voxel, moments, right):  # noqa: ANN001, ANN202
    """Sum the moments of the weights, and of the weighted phase, around one voxel.

    Sums run along the contiguous axis first: five moments of the weight and three of the phase,
    which the powers of the other two coordinates then multiply once per run.
    """
    moments[:] = 0.0
    right[:] = 0.0
    x, y, z = voxel
    label = support[x, y, z]
    # relative to the centre, so that float32 phase keeps its digits
    phase_0 = phase[x, y, z]
    m_0 = zscore[x, y, z]
    count = 0
    for run in range(len(kernel_runs)):
        kx, ky, k_first, k_last = kernel_runs[run]
        jx, jy = x + kx, y + ky
        if not (0 <= jx < phase.shape[0] and 0 <= jy < phase.shape[1]):
            continue
        s0 = s1 = s2 = s3 = s4 = t0 = t1 = t2 = 0.0
        n = 0
        for jz in range(max(0, z + k_first), min(phase.shape[2], z + k_last + 1)):
            if support[jx, jy, jz] != label:
                continue
            n += 1
            # float64 throughout: integer offsets times the step are exact enough for any kernel
            u = (jz - z) * steps[2]
            w2 = 1.0
            if weighted:
                difference = zscore[jx, jy, jz] - m_0
                w2 = np.exp(-difference * difference / (MAGNITUDE_DELTA * MAGNITUDE_DELTA))
            value = w2 * (phase[jx, jy, jz] - phase_0)
            wu = w2 * u
            wuu = wu * u
            s0 += w2
            s1 += wu
            s2 += wuu
            s3 += wuu * u
            s4 += wuu * u * u
            t0 += value
            t1 += value * u
            t2 += value * u * u
        if n > 0:
            count += n
            _fold(moments, (s0, s1, s2, s3, s4), kx * steps[0], ky * steps[1])
            _fold(right, (t0, t1, t2), kx * steps[0], ky * steps[1])
    return count


@compiled(inline="always")
def _fold(moments, sums, u, v):  # noqa: ANN001, ANN202
    """Add ``u^a v^b sums[c]`` to ``moments[a, b, c]`` for all a + b + c < len(sums)."""
    order = len(sums)
    power_u = 1.0
    for a in range(order):
        power = power_u
        for b in range(order - a):
            for c in range(order - a - b):
                moments[a, b, c] += power * sums[c]
            power *= v
        power_u *= u


@compiled()
def _solve(moments, right, terms, count):  # noqa: ANN001, ANN202
    """Solve one voxel's normal equations.

    Returns the second derivative and the first derivative along each axis, NaN where the fit is
    not determined.
    """
    n = len(terms)
    second = np.full(3, np.nan)
    first = np.full(3, np.nan)
    lower, scale = _scaled_cholesky(moments, terms)
    if count < n or lower[n - 1, n - 1] == 0.0:
        return second, first
    solution = np.empty(n)
    for p in range(n):
        a, b, c = terms[p]
        solution[p] = right[a, b, c] * scale[p]
    _substitute(lower, solution)
    second[:] = 0.0
    first[:] = 0.0
    for p in range(n):
        for axis in range(3):
            if terms[p, axis] == terms[p].sum() == 1:
                first[axis] = solution[p] * scale[p]
            elif terms[p, axis] == terms[p].sum() == 2:
                second[axis] = 2 * solution[p] * scale[p]
    return second, first


@compiled()
def _scaled_cholesky(moments, terms):  # noqa: ANN001, ANN202
    """Factorise the normal matrix, scaled to a unit diagonal, and give the scale.

    The factor's last diagonal entry is 0 if the matrix is ill-conditioned.
    """
    n = len(terms)
    lower = np.zeros((n, n))
    scale = np.zeros(n)
    for p in range(n):
        a, b, c = 2 * terms[p]
        if not moments[a, b, c] > 0.0:
            return lower, scale
        scale[p] = 1 / np.sqrt(moments[a, b, c])
    for p in range(n):
        for q in range(p + 1):
            a, b, c = terms[p] + terms[q]
            value = moments[a, b, c] * scale[p] * scale[q]
            for k in range(q):
                value -= lower[p, k] * lower[q, k]
            if q < p:
                lower[p, q] = value / lower[q, q]
            elif value > _SMALLEST_PIVOT:
                lower[p, p] = np.sqrt(value)
            else:
                return lower, scale
    return lower, scale


@compiled()
def _substitute(lower, solution):  # noqa: ANN001, ANN202
    """Solve ``lower @ lower.T @ x = solution`` in place."""
    n = len(solution)
    for p in range(n):
        for k in range(p):
            solution[p] -= lower[p, k] * solution[k]
        solution[p] /= lower[p, p]
    for p in range(n - 1, -1, -1):
        for k in range(p + 1, n):
            solution[p] -= lower[k, p] * solution[k]
        solution[p] /= lower[p, p]


def fit_volume(
    phase: NDArray[np.float32],
    support: NDArray[np.int32],
    *,
    voxel_size: Triple,
    radius: Triple,
    zscore: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fit around every voxel of the support.

    Parameters
    ----------
    phase, support, voxel_size, radius, zscore
        As in :func:`fit_quadratic`.

    Returns
    -------
    laplacian : ndarray of float32, shape (X, Y, Z)
        In rad/m^2; NaN outside the support and where the fit is not determined.
    gradient : ndarray of float32, shape (3, X, Y, Z)
        In rad/m; NaN likewise.
    """
    voxels = np.argwhere(support != 0)
    fit = fit_quadratic(phase, support, voxels, voxel_size=voxel_size, radius=radius, zscore=zscore)
    laplacian = np.full(phase.shape, np.nan, dtype=np.float32)
    gradient = np.full((3, *phase.shape), np.nan, dtype=np.float32)
    where: Sequence[NDArray[np.intp]] = tuple(voxels.T)
    laplacian[where] = fit.laplacian
    gradient[(slice(None), *where)] = fit.gradient.T
    return laplacian, gradient
