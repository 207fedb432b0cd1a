"""The closed surface integral of the phase gradient, on voxels."""

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.blocks import LANES, blocks_of, padded, reach
from bids_qcm.recon.compiling import VECTORISED, compiled
from bids_qcm.recon.kernels import Triple, ellipsoid, runs
from bids_qcm.recon.quadratic_fit import MAGNITUDE_DELTA


def integrate_surface(
    gradient: NDArray[np.float32],
    support: NDArray[np.int32],
    *,
    voxel_size: Triple,
    radius: Triple,
    axes: Sequence[int] = (0, 1, 2),
    zscore: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Give flux per volume, ``1/V closed_integral(grad(phi0) . dS)``, around every voxel.

    The region of voxel i holds the voxels j of the ellipsoid with a valid gradient and
    ``support[j] == support[i]``; with a magnitude also ``|m_j - m_i| <= delta``. Along each axis
    the flux through the region's surface telescopes to a sum over the pairs (j, j + e_a) inside
    it, and the volume that it belongs to is the one swept by those pairs. That is exact for any
    quadratic phase, any shape of region and any voxel size.

    Parameters
    ----------
    gradient : ndarray of float32, shape (3, X, Y, Z)
        In rad/m; NaN where invalid.
    support : ndarray of int32, shape (X, Y, Z)
        0 is never used.
    voxel_size, radius : tuple of 3 floats
        In mm.
    axes : sequence of int
        The axes of the kernel: two for an in-plane one.
    zscore : ndarray of float32, shape (X, Y, Z), optional
        z-scored magnitude m.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        In rad/m^2; NaN outside the support and where an axis has no pair.
    """
    valid = np.where(np.isfinite(gradient).all(axis=0), support, 0)
    kernel = ellipsoid(radius, voxel_size)
    margin = reach(kernel)
    blocks = blocks_of(support)
    laplacian = np.where(support != 0, np.float32(0), np.float32(np.nan))
    for axis in axes:
        step, pair = _pairs(gradient[axis], valid, axis)
        close = None
        if zscore is not None:
            after = _next(zscore, axis)
            extremes = (zscore, np.minimum(zscore, after), np.maximum(zscore, after))
            close = tuple(padded(volume, margin) for volume in extremes)
        mean_step = np.full(support.shape, np.nan, dtype=np.float32)
        _mean_steps(
            tuple(padded(volume, margin) for volume in (step, pair, support)),
            close,
            runs(kernel & _next(kernel, axis)),
            blocks,
            margin,
            mean_step,
        )
        laplacian += mean_step / np.float32(voxel_size[axis] * 1e-3)
    return laplacian


def _next(volume: NDArray, axis: int) -> NDArray:
    """Give each voxel the value of its successor j + e_a; the last plane gets 0 or False."""
    shifted = np.zeros_like(volume, order="C")
    here, there = [slice(None)] * 3, [slice(None)] * 3
    here[axis], there[axis] = slice(None, -1), slice(1, None)
    shifted[tuple(here)] = volume[tuple(there)]
    return shifted


def _pairs(
    component: NDArray[np.float32], valid: NDArray[np.int32], axis: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Give each pair (j, j + e_a), at j, its step of the gradient and its label.

    The label is 0 where the two voxels may not be in one region; the step is 0 there too.
    """
    label = np.ascontiguousarray(np.where(_next(valid, axis) == valid, valid, 0))
    step = np.where(label != 0, _next(component, axis) - component, 0)
    return np.ascontiguousarray(step, dtype=np.float32), label


@compiled(parallel=True)
def _mean_steps(volumes, close, pair_runs, blocks, margin, out):  # noqa: ANN001, ANN202
    """Average the steps of the pairs in each voxel's region; `out` stays where it has none."""
    for b in numba.prange(len(blocks)):
        x, y, z, lanes = blocks[b]
        first = (x + margin[0], y + margin[1], z + margin[2])
        total, count = _sum_steps(volumes, close, pair_runs, first, lanes)
        for lane in range(min(lanes, out.shape[2] - z)):
            if count[lane] > 0:
                out[x, y, z + lane] = total[lane] / count[lane]


@compiled(fastmath=VECTORISED)
def _sum_steps(volumes, close, pair_runs, first, lanes):  # noqa: ANN001, ANN202
    """Sum and count the steps of the pairs in the region of each voxel of a block.

    `close` has the magnitude, and the lower and the higher one of each pair, or is None.
    """
    step, pair, support = volumes
    x, y, z = first
    total = np.zeros(LANES)
    count = np.zeros(LANES, np.float32)
    along = np.empty(LANES, np.float32)
    # copies, which the compiler can tell from what it reads around them
    label = support[x, y, z : z + LANES].copy()
    if close is not None:
        magnitude, low, high = close
        lowest = magnitude[x, y, z : z + LANES] - np.float32(MAGNITUDE_DELTA)
        highest = magnitude[x, y, z : z + LANES] + np.float32(MAGNITUDE_DELTA)
    for run in range(len(pair_runs)):
        kx, ky, k_first, k_last = pair_runs[run]
        step_j = step[x + kx, y + ky, z + k_first :]
        pair_j = pair[x + kx, y + ky, z + k_first :]
        if close is not None:
            low_j = low[x + kx, y + ky, z + k_first :]
            high_j = high[x + kx, y + ky, z + k_first :]
        along[:] = 0
        for k in range(k_last - k_first + 1):
            for lane in range(lanes):
                inside = np.float32(1) if pair_j[k + lane] == label[lane] else np.float32(0)
                if close is not None:
                    inside = inside if low_j[k + lane] >= lowest[lane] else np.float32(0)
                    inside = inside if high_j[k + lane] <= highest[lane] else np.float32(0)
                along[lane] += inside * step_j[k + lane]
                count[lane] += inside
        for lane in range(lanes):
            total[lane] += along[lane]
    return total, count
