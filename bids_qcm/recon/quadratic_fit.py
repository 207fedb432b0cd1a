"""Weighted least-squares fit of a quadratic around every voxel."""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.polynomial import Chebyshev, Polynomial
from numpy.typing import NDArray

from bids_qcm.recon.blocks import LANES, blocks_of, padded, reach
from bids_qcm.recon.compiling import VECTORISED, compiled
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

_INVERSE_DELTA2 = np.float32(1 / MAGNITUDE_DELTA**2)

# exp(-x) is computed as exp(-x / 64), by a polynomial, squared six times.
_LARGEST_EXPONENT = np.float32(80)
_EXP_MINUS = tuple(
    Chebyshev.interpolate(lambda t: np.exp(-t), 6, [0, _LARGEST_EXPONENT / 64])
    .convert(kind=Polynomial)
    .coef.astype(np.float32)
)

# Sums along a run of the kernel: moments of the weight, then of the weighted phase.
_WEIGHT_SUMS = 5
_PHASE_SUMS = 3


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


def fit_quadratic(
    phase: NDArray[np.float32],
    support: NDArray[np.int32],
    *,
    voxel_size: Triple,
    radius: Triple,
    zscore: NDArray[np.float32] | None = None,
    at: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fit ``q_i(x)`` to the phase in the ellipsoid around each voxel i.

    The objective is ``sum_j w_ij^2 (phi_j - q_i(x_j))^2`` over the voxels j of the ellipsoid with
    ``support[j] == support[i]``, and ``w_ij = exp(-(m_j - m_i)^2 / (2 delta^2))`` or 1.

    Parameters
    ----------
    phase : ndarray of float32, shape (X, Y, Z)
        Unwrapped phase in rad; finite everywhere.
    support : ndarray of int32, shape (X, Y, Z)
        Only voxels with the centre's number are fitted together; 0 is never used.
    voxel_size, radius : tuple of 3 floats
        In mm. A radius of 0 drops that axis's terms.
    zscore : ndarray of float32, shape (X, Y, Z), optional
        z-scored magnitude m, finite everywhere; None makes all weights 1.
    at : ndarray of bool, shape (X, Y, Z), optional
        Voxels to fit around; default: all of the support.

    Returns
    -------
    laplacian : ndarray of float32, shape (X, Y, Z)
        In rad/m^2; NaN where no fit was asked for or the fit is not determined.
    gradient : ndarray of float32, shape (3, X, Y, Z)
        In rad/m; NaN likewise.

    Notes
    -----
    A fit is determined if its support holds at least as many voxels as there are terms and, in
    the Cholesky factorisation of the normal matrix scaled to a unit diagonal, no pivot is below
    1e-6.
    """
    kernel = ellipsoid(radius, voxel_size)
    margin = reach(kernel)
    kernel_runs = runs(kernel)
    # Coordinates in units of the radius keep all moments, and so the normal matrix, of order one.
    scale = np.array([r if r > 0 else 1.0 for r in radius])
    e = _normal_equations(kernel_runs, np.array(voxel_size) / scale, _terms(radius))
    wanted = support if at is None else np.where(at, support, 0)
    derivatives = np.full((6, *support.shape), np.nan, dtype=np.float32)
    _fit_blocks(
        (
            padded(phase, margin),
            padded(support, margin),
            None if zscore is None else padded(zscore, margin),
        ),
        # Sums of ones times whole offsets are exact in float32. Those of real weights are not, and
        # an ill-conditioned fit would show it.
        np.empty(0, np.float32 if zscore is None else np.float64),
        kernel_runs,
        (e.planes, e.run_factors, e.run_sums, e.plane_factors, e.plane_sums),
        (e.normal, e.right, e.derivatives),
        np.ascontiguousarray(wanted),
        blocks_of(wanted),
        margin,
        derivatives,
    )
    metres = (scale * 1e-3).astype(np.float32)[:, None, None, None]
    return (derivatives[3:] / metres**2).sum(axis=0), derivatives[:3] / metres


@dataclass(frozen=True)
class _NormalEquations:
    """How the normal equations follow from sums along runs, in two steps.

    A plane of the kernel is the runs ``planes[p]`` to ``planes[p + 1]``, which share kx. Its sum q
    is that over its runs r of ``run_factors[r, q] * (sum number run_sums[q] along run r)``. Moment
    k is the sum over planes p of ``plane_factors[p, k] * (sum number plane_sums[k] of plane p)``.
    Entry (p, q) of the normal matrix is moment ``normal[p, q]``, that of the right-hand side is
    moment ``right[p]``. Term p gives derivative ``derivatives[p]``: the first ones along the axes
    are numbered 0 to 2, the second ones 3 to 5, and -1 is none.
    """

    planes: NDArray[np.int64]
    run_factors: NDArray[np.float64]
    run_sums: NDArray[np.int64]
    plane_factors: NDArray[np.float64]
    plane_sums: NDArray[np.int64]
    normal: NDArray[np.int64]
    right: NDArray[np.int64]
    derivatives: NDArray[np.int64]


def _normal_equations(
    kernel_runs: NDArray[np.int32], steps: NDArray[np.float64], terms: NDArray[np.int64]
) -> _NormalEquations:
    """Set up the normal equations.

    Parameters
    ----------
    kernel_runs : ndarray of int32, shape (n, 4)
        Sorted by kx.
    steps : ndarray of float, shape (3,)
        Voxel size in units of the radius.
    terms : ndarray of int, shape (n_terms, 3)
        Exponents of the quadratic's terms.
    """
    products = terms[:, None] + terms[None, :]
    exponents, normal = np.unique(products.reshape(-1, 3), axis=0, return_inverse=True)
    a, b, c = np.concatenate([exponents, terms]).T
    run_sum = c + np.where(np.arange(len(c)) < len(exponents), 0, _WEIGHT_SUMS)
    sums, plane_sums = np.unique(np.stack([b, run_sum]), axis=1, return_inverse=True)
    kx, planes = np.unique(kernel_runs[:, 0], return_index=True)
    return _NormalEquations(
        planes=np.append(planes, len(kernel_runs)),
        run_factors=(kernel_runs[:, 1:2] * steps[1]) ** sums[0],
        run_sums=sums[1],
        # Sums along a run have integer offsets, which float32 holds exactly; their step comes here.
        plane_factors=(kx[:, None] * steps[0]) ** a * steps[2] ** c,
        plane_sums=plane_sums.ravel(),
        normal=normal.reshape(len(terms), len(terms)),
        right=len(exponents) + np.arange(len(terms)),
        derivatives=np.select(
            [terms.max(axis=1) == 2, terms.sum(axis=1) == 1],
            [3 + terms.argmax(axis=1), terms.argmax(axis=1)],
            default=-1,
        ),
    )


@compiled(parallel=True)
def _fit_blocks(volumes, precision, kernel_runs, folding, system, wanted, blocks, margin, out):  # noqa: ANN001, ANN202
    """Fit around the wanted voxels of every block; derivatives per axis in the radius's unit."""
    phase, support, zscore = volumes
    n = len(system[1])
    for b in numba.prange(len(blocks)):
        x, y, z, lanes = blocks[b]
        first = (x + margin[0], y + margin[1], z + margin[2])
        moments = _moments(phase, support, zscore, precision, kernel_runs, folding, first, lanes)
        workspace = (np.empty((n, n)), np.empty(n), np.empty(n))
        for lane in range(min(lanes, wanted.shape[2] - z)):
            if wanted[x, y, z + lane] != 0:
                _solve(moments[:, lane], system, workspace, out[:, x, y, z + lane])


@compiled(fastmath=VECTORISED)
def _moments(phase, support, zscore, precision, kernel_runs, folding, first, lanes):  # noqa: ANN001, ANN202
    """Sum the moments around each voxel of a block, (moment, lane).

    Sums run along the contiguous axis first; the powers of the other two coordinates then multiply
    them once per run and once per plane.
    """
    planes, run_factors, run_sums, plane_factors, plane_sums = folding
    x, y, z = first
    along = np.empty((_WEIGHT_SUMS + _PHASE_SUMS, LANES), precision.dtype)
    plane = np.empty((len(run_sums), LANES))
    moments = np.zeros((len(plane_sums), LANES))
    # copies, which the compiler can tell from what it reads around them
    phase_0 = phase[x, y, z : z + LANES].copy()
    if zscore is not None:
        m_0 = zscore[x, y, z : z + LANES].copy()
    label_0 = support[x, y, z : z + LANES].copy()
    for p in range(len(planes) - 1):
        plane[:] = 0
        for run in range(planes[p], planes[p + 1]):
            kx, ky, k_first, k_last = kernel_runs[run]
            along[:] = 0
            phase_j = phase[x + kx, y + ky, z + k_first :]
            if zscore is not None:
                m_j = zscore[x + kx, y + ky, z + k_first :]
            label_j = support[x + kx, y + ky, z + k_first :]
            for k in range(k_last - k_first + 1):
                u = along.dtype.type(k + k_first)
                for lane in range(lanes):
                    w = np.float32(1)
                    if zscore is not None:
                        difference = m_j[k + lane] - m_0[lane]
                        w = _exp_minus(difference * difference * _INVERSE_DELTA2)
                    w = w if label_j[k + lane] == label_0[lane] else np.float32(0)
                    # relative to the centre, so that float32 keeps the phase's digits
                    v = w * (phase_j[k + lane] - phase_0[lane])
                    along[0, lane] += w
                    along[1, lane] += w * u
                    along[2, lane] += w * (u * u)
                    along[3, lane] += w * (u * u * u)
                    along[4, lane] += w * (u * u * u * u)
                    along[5, lane] += v
                    along[6, lane] += v * u
                    along[7, lane] += v * (u * u)
            _fold(plane, run_factors[run], run_sums, along, lanes)
        _fold(moments, plane_factors[p], plane_sums, plane, lanes)
    return moments


@compiled(fastmath=VECTORISED)
def _fold(totals, factors, rows, sums, lanes):  # noqa: ANN001, ANN202
    """Add ``factors[t] * sums[rows[t]]`` to each total t."""
    for total in range(len(rows)):
        factor = factors[total]
        row = rows[total]
        for lane in range(lanes):
            totals[total, lane] += factor * sums[row, lane]


@compiled(fastmath=VECTORISED)
def _exp_minus(x):  # noqa: ANN001, ANN202
    """Compute exp(-x) for x >= 0 in float32 without a call, so that the loop around vectorises.

    Beyond x = 80 it stays at exp(-80); the relative error is below 1e-5.
    """
    t = min(x, _LARGEST_EXPONENT) * np.float32(1 / 64)
    c0, c1, c2, c3, c4, c5, c6 = _EXP_MINUS
    y = c0 + t * (c1 + t * (c2 + t * (c3 + t * (c4 + t * (c5 + t * c6)))))
    y = y * y
    y = y * y
    y = y * y
    y = y * y
    y = y * y
    return y * y


@compiled()
def _solve(moments, system, workspace, out):  # noqa: ANN001, ANN202
    """Solve one voxel's normal equations; leave `out` alone if they do not determine the fit.

    The result is the first derivatives along the axes, then the second ones.
    """
    normal, right, derivatives = system
    lower, scale, solution = workspace
    if not _scaled_cholesky(moments, normal, lower, scale):
        return
    n = len(right)
    for p in range(n):
        solution[p] = moments[right[p]] * scale[p]
    _substitute(lower, solution)
    out[:] = 0
    for p in range(n):
        if derivatives[p] >= 3:
            out[derivatives[p]] = 2 * solution[p] * scale[p]
        elif derivatives[p] >= 0:
            out[derivatives[p]] = solution[p] * scale[p]


@compiled()
def _scaled_cholesky(moments, normal, lower, scale):  # noqa: ANN001, ANN202
    """Factorise the normal matrix, scaled to a unit diagonal; False if it is ill-conditioned."""
    n = len(scale)
    for p in range(n):
        if not moments[normal[p, p]] > 0.0:
            return False
        scale[p] = 1 / np.sqrt(moments[normal[p, p]])
    for p in range(n):
        for q in range(p + 1):
            value = moments[normal[p, q]] * scale[p] * scale[q]
            for k in range(q):
                value -= lower[p, k] * lower[q, k]
            if q < p:
                lower[p, q] = value / lower[q, q]
            elif value > _SMALLEST_PIVOT:
                lower[p, p] = np.sqrt(value)
            else:
                return False
    return True


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
