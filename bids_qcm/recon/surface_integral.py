"""The closed surface integral of the phase gradient, on voxels."""

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.compiling import compiled
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
    voxels = np.argwhere(support != 0)
    kernel = ellipsoid(radius, voxel_size)
    total = np.zeros(len(voxels))
    for axis in axes:
        step, pair = _pairs(gradient[axis], valid, axis)
        if zscore is None:
            magnitude = low = high = step  # not read
        else:
            magnitude = np.ascontiguousarray(zscore)
            low = np.minimum(magnitude, _next(magnitude, axis))
            high = np.maximum(magnitude, _next(magnitude, axis))
        pair_runs = runs(kernel & _next(kernel, axis))
        total += _mean_step(
            step, pair, support, magnitude, low, high, zscore is not None, pair_runs, voxels
        ) / (voxel_size[axis] * 1e-3)
    laplacian = np.full(support.shape, np.nan, dtype=np.float32)
    laplacian[tuple(voxels.T)] = total
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


@compiled(parallel=True, fastmath={"reassoc", "contract", "nsz"})
def _mean_step(step, pair, support, magnitude, low, high, restricted, pair_runs, voxels):  # noqa: ANN001, ANN202
    """Average the steps of the pairs in each voxel's region; NaN where it has none."""
    mean = np.empty(len(voxels))
    for i in numba.prange(len(voxels)):
        x, y, z = voxels[i]
        label = support[x, y, z]
        lowest = magnitude[x, y, z] - np.float32(MAGNITUDE_DELTA)
        highest = magnitude[x, y, z] + np.float32(MAGNITUDE_DELTA)
        total = 0.0
        count = 0
        for run in range(len(pair_runs)):
            kx, ky, k_first, k_last = pair_runs[run]
            jx, jy = x + kx, y + ky
            if not (0 <= jx < step.shape[0] and 0 <= jy < step.shape[1]):
                continue
            for jz in range(max(0, z + k_first), min(step.shape[2], z + k_last + 1)):
                inside = pair[jx, jy, jz] == label
                if restricted:
                    inside = inside and low[jx, jy, jz] >= lowest and high[jx, jy, jz] <= highest
                if inside:
                    total += step[jx, jy, jz]
                    count += 1
        mean[i] = total / count if count > 0 else np.nan
    return mean
