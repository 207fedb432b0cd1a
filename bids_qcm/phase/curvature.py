"""Median curvature of the phase in a region, without phase unwrapping."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.phase.coherence import unit_signal
from bids_qcm.phase.noise import NORMAL_MEDIAN

DISTANCE = 4.0
"""Distance between the voxels of a second difference in mm. For a curved phase, the second
difference grows with the square of this distance; for noise, it does not."""

_BLOCK = 5


class Curvature(NamedTuple):
    """Median Laplacian of a phase and its standard error.

    Attributes
    ----------
    laplacian : float
        Median over the region, in rad/m^2.
    standard_error : float
        Standard error of the median, in rad/m^2.
    """

    laplacian: float
    standard_error: float


def median_curvature(
    signal: NDArray[np.complexfloating],
    mask: NDArray[np.bool_],
    voxel_size: Sequence[float],
    *,
    distance: float = DISTANCE,
) -> Curvature | None:
    """Estimate the median Laplacian of a phase from complex second differences.

    Parameters
    ----------
    signal : ndarray of complex, shape (X, Y, Z)
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels with signal.
    voxel_size : sequence of 3 floats
        Voxel size in mm.
    distance : float
        Distance between the voxels of a second difference, in mm. It is rounded to whole voxels.

    Returns
    -------
    Curvature or None
        None if no voxel has both neighbours in the mask along every axis. Axes of length 1 are
        ignored.
    """
    if not mask.any():
        return None
    (where,) = ndimage.find_objects(mask.view(np.uint8))
    unit, whole = unit_signal(signal[where], mask[where]), mask[where].copy()
    laplacian = np.zeros(whole.shape)
    for axis, size in enumerate(voxel_size):
        lag = max(1, round(distance / size))
        if whole.shape[axis] == 1:
            continue
        s, w = np.moveaxis(unit, axis, 0), np.moveaxis(whole, axis, 0)
        product = np.zeros_like(s)
        if len(s) > 2 * lag:
            product[lag:-lag] = s[2 * lag :] * s[: -2 * lag] * s[lag:-lag].conj() ** 2
        w &= product != 0
        mean = [
            ndimage.uniform_filter(part, _BLOCK, mode="constant")
            for part in (product.real, product.imag)
        ]
        angle = np.arctan2(mean[1], mean[0])
        laplacian += np.moveaxis(angle, 0, axis) / (lag * size * 1e-3) ** 2
    values = laplacian[whole]
    if values.size == 0:
        return None
    median = float(np.median(values))
    deviation = float(np.median(np.abs(values - median))) / NORMAL_MEDIAN
    n_independent = max(1.0, values.size / _BLOCK**3)
    return Curvature(median, float(np.sqrt(np.pi / 2 / n_independent)) * deviation)
