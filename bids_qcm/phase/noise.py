"""Noise levels of phase and complex images, estimated from second differences."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, correlate1d, find_objects, uniform_filter

_SECOND_DIFFERENCE = np.array([1.0, -2.0, 1.0])

NORMAL_MEDIAN = 0.6744897501960817
"""Median of the absolute value of a standard normal variable."""

_BLOCK = 5
_SMOOTHEST = 10


def noise_level(
    phase: NDArray[np.floating], mask: NDArray[np.bool_], relative: NDArray[np.floating]
) -> float:
    """Estimate the noise level of a phase image.

    Parameters
    ----------
    phase : ndarray of float, shape (X, Y, Z)
        Unwrapped phase in rad.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels to use.
    relative : ndarray of float, shape (X, Y, Z)
        Standard deviation of the phase noise up to a common factor; positive in the mask. For a
        single phase image, this is ``1 / magnitude``.

    Returns
    -------
    float
        The common factor. For a single phase image, it is the standard deviation of the magnitude
        noise, in the unit of the magnitude.

    Raises
    ------
    ValueError
        If the mask contains no square of 3 by 3 voxels.

    Notes
    -----
    The common factor is estimated from mixed second differences in each plane of the grid: the
    stencil ``(1, -2, 1)`` is applied along one axis and then along the other. These differences
    remove smooth phase almost completely, even if the curvature jumps between tissues. Each
    difference is divided by its standard deviation, which follows from `relative`. The median of
    the absolute values is a robust estimate of the factor (Rousseeuw and Croux 1993,
    doi:10.1080/01621459.1993.10476408). The result is the median over the planes, because scanners
    may omit the corners of k-space in one plane. If the scanner has smoothed or interpolated the
    images, the noise is underestimated.
    """
    box = _box(mask)
    phase, mask, relative = phase[box], mask[box], relative[box]
    known = np.where(mask, phase, 0).astype(np.float64)
    variance = np.where(mask, relative, 0).astype(np.float64) ** 2
    factors = []
    for axes in combinations(range(3), 2):
        whole = _whole_squares(mask, axes)
        if whole.any():
            difference = _correlate(known, _SECOND_DIFFERENCE, axes)[whole]
            expected = np.sqrt(_correlate(variance, _SECOND_DIFFERENCE**2, axes)[whole])
            factors.append(np.median(np.abs(difference) / expected) / NORMAL_MEDIAN)
    if not factors:
        raise ValueError(
            "the mask contains no square of 3 by 3 voxels, which is needed to estimate the noise"
        )
    return float(np.median(factors))


def local_noise(parts: Sequence[NDArray[np.floating]], where: NDArray[np.bool_]) -> float:
    """Estimate the noise level of images from their smoothest parts.

    The images may show any structure.

    Parameters
    ----------
    parts : sequence of ndarray of float, shape (X, Y, Z)
        Images with the same noise level, such as the real and the imaginary part.
    where : ndarray of bool, shape (X, Y, Z)
        Voxels to use.

    Returns
    -------
    float
        Standard deviation of the noise, in the unit of the images. The standard deviation is
        computed in blocks of 5 x 5 x 5 voxels, and the 10th percentile is returned. Edges and
        texture can only increase the mixed second differences, so the smallest differences are
        caused by noise.

    Raises
    ------
    ValueError
        If there is no square of 3 by 3 voxels.
    """
    levels = []
    for axes in combinations(range(3), 2):
        whole = _whole_squares(where, axes)
        if not whole.any():
            continue
        power = sum(_correlate(part, _SECOND_DIFFERENCE, axes) ** 2 for part in parts)
        mean, share = (
            uniform_filter(values.astype(np.float32), _BLOCK, mode="constant")
            for values in (np.where(whole, power, 0), whole)
        )
        # variance of a mixed second difference in noise of unit variance: the sum of its squared
        # coefficients
        gain = len(parts) * np.sum(_SECOND_DIFFERENCE**2) ** 2
        levels.append(np.percentile(mean[whole] / share[whole] / gain, _SMOOTHEST))
    if not levels:
        raise ValueError("the image contains no square of 3 by 3 voxels with signal")
    return float(np.sqrt(np.median(levels)))


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the bounding box of a mask; the whole volume if the mask is empty."""
    return next(iter(find_objects(mask.view(np.uint8))), (slice(None),) * mask.ndim)


def _whole_squares(mask: NDArray[np.bool_], axes: Sequence[int]) -> NDArray[np.bool_]:
    """Return the centres of all in-plane squares of 3 by 3 voxels inside the mask."""
    return binary_erosion(mask, np.ones([3 if axis in axes else 1 for axis in range(3)], bool))


def _correlate(
    volume: NDArray[np.floating], stencil: NDArray[np.float64], axes: Sequence[int]
) -> NDArray[np.floating]:
    """Correlate a volume with a stencil along the given axes."""
    for axis in axes:
        volume = correlate1d(volume, stencil, axis=axis)
    return volume
