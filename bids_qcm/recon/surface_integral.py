"""The closed surface integral of the phase gradient, on voxels."""

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from bids_qcm.recon.blocks import aligned, blocks_of, padded, reach
from bids_qcm.recon.compiling import VECTORISED, compiled
from bids_qcm.recon.kernels import Triple, ellipsoid, runs
from bids_qcm.recon.methods import MAGNITUDE_DELTA

# The loops hold little per lane, and so run over longer blocks than the fit's.
_LANES = 128


def integrate_surface(
    gradient: NDArray[np.float32],
    support: NDArray[np.int32],
    *,
    voxel_size: Triple,
    radius: Triple,
    axes: Sequence[int] = (0, 1, 2),
    zscore: NDArray[np.float32] | None = None,
    at: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Give flux per volume, ``1/V closed_integral(grad(phi0) . dS)``, around every voxel.

    The region of voxel i holds the voxels j of the ellipsoid with a valid gradient and
    ``support[j] == support[i]``; with a magnitude also ``|m_j - m_i| <= delta``. Along each axis
    the flux through the region's surface telescopes to a sum over the pairs (j, j + e_a) inside
    it, and the volume that it belongs to is the one swept by those pairs. That is exact for any
    quadratic phase, any shape of region and any voxel size.

    Parameters
    ----------
    gradient : ndarray of float32, shape (3, X, Y, Z) or (n, 3, X, Y, Z)
        In rad/m; NaN where invalid. Several gradients are invalid in the same voxels.
    support : ndarray of int32, shape (X, Y, Z)
        0 is never used.
    voxel_size, radius : tuple of 3 floats
        In mm.
    axes : sequence of int
        The axes of the kernel: two for an in-plane one.
    zscore : ndarray of float32, shape (X, Y, Z), optional
        z-scored magnitude m.
    at : ndarray of bool, shape (X, Y, Z), optional
        Voxels to integrate around; default: all of the support.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z) or (n, X, Y, Z)
        In rad/m^2; NaN where no integral was asked for or an axis has no pair.
    """
    gradients = gradient.reshape(-1, 3, *support.shape)
    valid = np.where(np.isfinite(gradients[0]).all(axis=0), support, 0)
    kernel = ellipsoid(radius, voxel_size)
    laplacians = np.zeros((len(gradients), *support.shape), dtype=np.float32)
    wanted = support if at is None else np.where(at, support, 0)
    laplacians[:, wanted == 0] = np.nan
    for axis in axes:
        steps, pair = _pairs(gradients[:, axis], valid, axis)
        pair_kernel = kernel & _next(kernel, axis)
        if zscore is None:
            mean_steps = _mean_steps(steps, pair, wanted, pair_kernel)
        else:
            extremes = _extremes(zscore, axis)
            mean_steps = _mean_steps_of_similar(steps, pair, wanted, extremes, pair_kernel)
        laplacians += mean_steps / np.float32(voxel_size[axis] * 1e-3)
    return laplacians.reshape(gradient.shape[:-4] + support.shape)


def _next(volume: NDArray, axis: int) -> NDArray:
    """Give each voxel the value of its successor j + e_a; the last plane gets 0 or False."""
    shifted = np.zeros_like(volume, order="C")
    here, there = [slice(None)] * 3, [slice(None)] * 3
    here[axis], there[axis] = slice(None, -1), slice(1, None)
    shifted[tuple(here)] = volume[tuple(there)]
    return shifted


def _pairs(
    components: NDArray[np.float32], valid: NDArray[np.int32], axis: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Give each pair (j, j + e_a), at j, its steps of the gradients and its label.

    The label is 0 where the two voxels may not be in one region; the steps are 0 there too.
    """
    label = np.ascontiguousarray(np.where(_next(valid, axis) == valid, valid, 0))
    steps = np.zeros((len(components), *valid.shape), dtype=np.float32)
    for step, component in zip(steps, components, strict=True):
        np.subtract(_next(component, axis), component, out=step, where=label != 0)
    return steps, label


def _extremes(zscore: NDArray[np.float32], axis: int) -> tuple[NDArray[np.float32], ...]:
    """Give the magnitude of each voxel, and the lower and the higher one of its pair."""
    after = _next(zscore, axis)
    return zscore, np.minimum(zscore, after), np.maximum(zscore, after)


def _mean_steps(
    steps: NDArray[np.float32],
    pair: NDArray[np.int32],
    wanted: NDArray[np.int32],
    kernel: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Average the steps of the pairs in the kernel with the label wanted at its centre, else NaN.

    The sum over a run of the kernel is the difference of two cumulative sums, label by label.
    """
    margin = reach(kernel)
    before_run = (margin[0], margin[1], margin[2] + 1)
    kernel_runs = runs(kernel)
    means = np.full((len(steps), *wanted.shape), np.nan, dtype=np.float32)
    for label in np.unique(wanted[wanted != 0]):
        (box,) = find_objects(((pair == label) | (wanted == label)).view(np.uint8))
        here = wanted[box] == label
        inside = pair[box] == label
        blocks = blocks_of(here, _LANES)
        cumulative = np.zeros(padded(inside, before_run).shape)
        counts, total = np.empty((2, *inside.shape), dtype=np.float32)
        _accumulate(inside.astype(np.float32), inside, before_run, cumulative)
        _sum_runs(cumulative, kernel_runs, blocks, before_run, counts)
        valid = here & (counts > 0)
        for step, mean in zip(steps, means, strict=True):
            _accumulate(np.ascontiguousarray(step[box]), inside, before_run, cumulative)
            _sum_runs(cumulative, kernel_runs, blocks, before_run, total)
            np.divide(total, counts, out=mean[box], where=valid)
    return means


@compiled(parallel=True)
def _accumulate(values, inside, margin, out):  # noqa: ANN001, ANN202
    """Write the cumulative sums of what is inside, along the last axis of a padded volume."""
    for x in numba.prange(inside.shape[0]):
        for y in range(inside.shape[1]):
            line = out[x + margin[0], y + margin[1], margin[2] :]
            # float64: one wild gradient would take the digits of all the sums behind it
            total = 0.0
            for z in range(inside.shape[2]):
                if inside[x, y, z]:
                    total += values[x, y, z]
                line[z] = total
            line[inside.shape[2] :] = total


@compiled(parallel=True, fastmath=VECTORISED)
def _sum_runs(cumulative, kernel_runs, blocks, margin, out):  # noqa: ANN001, ANN202
    """Sum over the kernel around each voxel of the blocks, from cumulative sums."""
    for b in numba.prange(len(blocks)):
        x, y, z, lanes = blocks[b]
        total = np.zeros(_LANES)
        for run in range(len(kernel_runs)):
            kx, ky, k_first, k_last = kernel_runs[run]
            line = cumulative[x + margin[0] + kx, y + margin[1] + ky]
            before, last = line[z + margin[2] + k_first - 1 :], line[z + margin[2] + k_last :]
            for lane in range(lanes):
                total[lane] += last[lane] - before[lane]
        for lane in range(min(lanes, out.shape[2] - z)):
            out[x, y, z + lane] = total[lane]


def _mean_steps_of_similar(
    steps: NDArray[np.float32],
    pair: NDArray[np.int32],
    wanted: NDArray[np.int32],
    extremes: tuple[NDArray[np.float32], ...],
    kernel: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Average as `_mean_steps`, over those pairs whose magnitude is close to the voxel's."""
    margin = reach(kernel)
    means = np.full((len(steps), *wanted.shape), np.nan, dtype=np.float32)
    _average_similar(
        padded(steps, margin),
        tuple(padded(volume, margin) for volume in (pair, wanted, *extremes)),
        runs(kernel),
        blocks_of(wanted, _LANES),
        margin,
        means,
    )
    return means


@compiled(parallel=True)
def _average_similar(steps, volumes, kernel_runs, blocks, margin, out):  # noqa: ANN001, ANN202
    """Average over the similar pairs of the kernel; `out` stays where there is none."""
    for b in numba.prange(len(blocks)):
        x, y, z, lanes = blocks[b]
        first = (x + margin[0], y + margin[1], z + margin[2])
        totals, count = _sum_similar(steps, volumes, kernel_runs, first, lanes)
        for lane in range(min(lanes, out.shape[3] - z)):
            if count[lane] > 0:
                for n in range(len(steps)):
                    out[n, x, y, z + lane] = totals[n, lane] / count[lane]


@compiled(fastmath=VECTORISED)
def _sum_similar(steps, volumes, kernel_runs, first, lanes):  # noqa: ANN001, ANN202
    """Sum and count the steps of the pairs in the region of each voxel of a block."""
    pair, wanted, magnitude, low, high = volumes
    x, y, z = first
    longest = np.max(kernel_runs[:, 3] - kernel_runs[:, 2]) + 1
    inside = aligned(longest + 3, _LANES, np.float32)
    # arrays of their own, or the compiler would have to expect that they overlap
    along = aligned(1, _LANES, np.float32)[0]
    count = aligned(1, _LANES, np.float32)[0]
    count[:] = 0
    totals = np.zeros((len(steps), _LANES))
    # copies, which the compiler can tell from what it reads around them
    label = wanted[x, y, z : z + _LANES].copy()
    lowest = magnitude[x, y, z : z + _LANES] - np.float32(MAGNITUDE_DELTA)
    highest = magnitude[x, y, z : z + _LANES] + np.float32(MAGNITUDE_DELTA)
    for run in range(len(kernel_runs)):
        kx, ky, k_first, k_last = kernel_runs[run]
        line = x + kx, y + ky
        pair_j = pair[line][z + k_first :]
        low_j, high_j = low[line][z + k_first :], high[line][z + k_first :]
        n_pairs = k_last - k_first + 1
        for k in range(n_pairs):
            for lane in range(lanes):
                here = np.float32(1) if pair_j[k + lane] == label[lane] else np.float32(0)
                here = here if low_j[k + lane] >= lowest[lane] else np.float32(0)
                here = here if high_j[k + lane] <= highest[lane] else np.float32(0)
                inside[k, lane] = here
                count[lane] += here
        inside[n_pairs : n_pairs + 3] = 0
        for n in range(len(steps)):
            step_j = steps[n, x + kx, y + ky, z + k_first :]
            along[:] = 0
            # four pairs in one pass, to load and store the sums less often
            for four in range((n_pairs + 3) // 4):
                k = 4 * four
                for lane in range(lanes):
                    along[lane] += (
                        inside[k, lane] * step_j[k + lane]
                        + inside[k + 1, lane] * step_j[k + 1 + lane]
                        + inside[k + 2, lane] * step_j[k + 2 + lane]
                        + inside[k + 3, lane] * step_j[k + 3 + lane]
                    )
            for lane in range(lanes):
                totals[n, lane] += along[lane]
    return totals, count
