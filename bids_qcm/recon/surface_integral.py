"""The closed surface integral of the phase gradient, on voxels."""

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from bids_qcm.recon.blocks import blocks_of, padded, reach
from bids_qcm.recon.compiling import VECTORISED, compiled
from bids_qcm.recon.kernels import Triple, ellipsoid, runs
from bids_qcm.recon.quadratic_fit import MAGNITUDE_DELTA

# The loops hold little per lane, and so run over longer blocks than the fit's.
_LANES = 192


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
    laplacian = np.where(support != 0, np.float32(0), np.float32(np.nan))
    for axis in axes:
        step, pair = _pairs(gradient[axis], valid, axis)
        pair_kernel = kernel & _next(kernel, axis)
        if zscore is None:
            mean_step = _mean_steps(step, pair, support, pair_kernel)
        else:
            extremes = _extremes(zscore, axis)
            mean_step = _mean_steps_of_similar(step, pair, support, extremes, pair_kernel)
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


def _extremes(zscore: NDArray[np.float32], axis: int) -> tuple[NDArray[np.float32], ...]:
    """Give the magnitude of each voxel, and the lower and the higher one of its pair."""
    after = _next(zscore, axis)
    return zscore, np.minimum(zscore, after), np.maximum(zscore, after)


def _mean_steps(
    step: NDArray[np.float32],
    pair: NDArray[np.int32],
    support: NDArray[np.int32],
    kernel: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Average the steps of the pairs in the kernel with each voxel's label; NaN without a pair.

    The sum over a run of the kernel is the difference of two cumulative sums, label by label.
    """
    margin = reach(kernel)
    before_run = (margin[0], margin[1], margin[2] + 1)
    means = np.full(support.shape, np.nan, dtype=np.float32)
    for label in np.unique(support[support != 0]):
        here = support == label
        (box,) = find_objects(here.view(np.uint8))
        inside = pair[box] == label
        # float64: one wild gradient would take the digits of all the sums behind it
        steps = padded(np.where(inside, step[box], 0), before_run).cumsum(axis=2, dtype=np.float64)
        counts = padded(inside, before_run).cumsum(axis=2, dtype=np.float32)
        blocks = blocks_of(here[box], _LANES)
        _average_runs(steps, counts, runs(kernel), here[box], blocks, before_run, means[box])
    return means


@compiled(parallel=True, fastmath=VECTORISED)
def _average_runs(steps, counts, kernel_runs, wanted, blocks, margin, out):  # noqa: ANN001, ANN202
    """Average over the kernel from cumulative sums; `out` stays where there is nothing."""
    for b in numba.prange(len(blocks)):
        x, y, z, lanes = blocks[b]
        total = np.zeros(_LANES)
        count = np.zeros(_LANES, np.float32)
        for run in range(len(kernel_runs)):
            kx, ky, k_first, k_last = kernel_runs[run]
            line = x + margin[0] + kx, y + margin[1] + ky
            z_before, z_last = z + margin[2] + k_first - 1, z + margin[2] + k_last
            steps_before, steps_last = steps[line][z_before:], steps[line][z_last:]
            counts_before, counts_last = counts[line][z_before:], counts[line][z_last:]
            for lane in range(lanes):
                total[lane] += steps_last[lane] - steps_before[lane]
                count[lane] += counts_last[lane] - counts_before[lane]
        for lane in range(min(lanes, out.shape[2] - z)):
            if wanted[x, y, z + lane] and count[lane] > 0:
                out[x, y, z + lane] = total[lane] / count[lane]


def _mean_steps_of_similar(
    step: NDArray[np.float32],
    pair: NDArray[np.int32],
    support: NDArray[np.int32],
    extremes: tuple[NDArray[np.float32], ...],
    kernel: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Average as `_mean_steps`, over those pairs whose magnitude is close to the voxel's."""
    margin = reach(kernel)
    means = np.full(support.shape, np.nan, dtype=np.float32)
    _average_similar(
        tuple(padded(volume, margin) for volume in (step, pair, support, *extremes)),
        runs(kernel),
        blocks_of(support, _LANES),
        margin,
        means,
    )
    return means


@compiled(parallel=True)
def _average_similar(volumes, kernel_runs, blocks, margin, out):  # noqa: ANN001, ANN202
    """Average over the similar pairs of the kernel; `out` stays where there is none."""
    for b in numba.prange(len(blocks)):
        x, y, z, lanes = blocks[b]
        first = (x + margin[0], y + margin[1], z + margin[2])
        total, count = _sum_similar(volumes, kernel_runs, first, lanes)
        for lane in range(min(lanes, out.shape[2] - z)):
            if count[lane] > 0:
                out[x, y, z + lane] = total[lane] / count[lane]


@compiled(fastmath=VECTORISED)
def _sum_similar(volumes, kernel_runs, first, lanes):  # noqa: ANN001, ANN202
    """Sum and count the steps of the pairs in the region of each voxel of a block."""
    step, pair, support, magnitude, low, high = volumes
    x, y, z = first
    total = np.zeros(_LANES)
    count = np.zeros(_LANES, np.float32)
    along = np.empty(_LANES, np.float32)
    # copies, which the compiler can tell from what it reads around them
    label = support[x, y, z : z + _LANES].copy()
    lowest = magnitude[x, y, z : z + _LANES] - np.float32(MAGNITUDE_DELTA)
    highest = magnitude[x, y, z : z + _LANES] + np.float32(MAGNITUDE_DELTA)
    for run in range(len(kernel_runs)):
        kx, ky, k_first, k_last = kernel_runs[run]
        line = x + kx, y + ky
        step_j, pair_j = step[line][z + k_first :], pair[line][z + k_first :]
        low_j, high_j = low[line][z + k_first :], high[line][z + k_first :]
        along[:] = 0
        for k in range(k_last - k_first + 1):
            for lane in range(lanes):
                inside = np.float32(1) if pair_j[k + lane] == label[lane] else np.float32(0)
                inside = inside if low_j[k + lane] >= lowest[lane] else np.float32(0)
                inside = inside if high_j[k + lane] <= highest[lane] else np.float32(0)
                along[lane] += inside * step_j[k + lane]
                count[lane] += inside
        for lane in range(lanes):
            total[lane] += along[lane]
    return total, count
