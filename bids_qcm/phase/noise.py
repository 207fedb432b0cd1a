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

# Maximum power of a part of k-space that was not acquired, relative to the power of noise. Rounding
# to 4096 phase values causes 0.001 or less.
_EMPTY = 0.03
_MANY_PLANES = 64


def noise_level(
    phase: NDArray[np.floating],
    mask: NDArray[np.bool_],
    relative: NDArray[np.floating],
    acquired: Sequence[NDArray[np.bool_]] | None = None,
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
    acquired : sequence of 3 ndarrays of bool, optional
        Result of :func:`bids_qcm.phase.acquired_frequencies`; default: all frequencies were
        acquired.

    Returns
    -------
    float
        The common factor. For a single phase image, it is the standard deviation of the magnitude
        noise, in the unit of the magnitude. If the image was zero-filled, it is the standard
        deviation of independent noise that has the same power at the acquired frequencies.

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
    may omit the corners of k-space in one plane. If the scanner has smoothed the images, the noise
    is underestimated.

    A conductivity map is a weighted mean over many voxels, so its noise depends on the noise power
    at low spatial frequencies. In a zero-filled image, only the acquired frequencies contain noise.
    The stencil is then widened to the distance of the acquired voxels, and the variance of a
    difference is multiplied by the mean of the squared response of the stencil over all
    frequencies, where the response is 0 at frequencies that were not acquired.
    """
    box = _box(mask)
    phase, mask, relative = phase[box], mask[box], relative[box]
    if acquired is None:
        acquired = [np.ones(length, bool) for length in mask.shape]
    lags = [max(1, round(one.size / max(1, int(one.sum())))) for one in acquired]
    # float32 is sufficient for the phase, because its rounding errors are far below the noise
    known = np.where(mask, phase, 0).astype(np.float32)
    variance = np.square(np.where(mask, relative, 0), dtype=np.float64)
    factors = []
    for axes in combinations(range(3), 2):
        whole = _whole_squares(mask, axes, lags)
        if whole.any():
            gain = np.prod(
                [_gain(acquired[k], lags[k]) if k in axes else acquired[k].mean() for k in range(3)]
            )
            difference = _correlate(known, _SECOND_DIFFERENCE, axes, lags)[whole]
            variances = _correlate(variance, _SECOND_DIFFERENCE**2, axes, lags)[whole]
            expected = np.sqrt(gain * variances)
            factors.append(np.median(np.abs(difference) / expected) / NORMAL_MEDIAN)
    if not factors:
        raise ValueError(
            "the mask contains no square of 3 by 3 voxels, which is needed to estimate the noise"
        )
    return float(np.median(factors))


def acquired_frequencies(signal: NDArray[np.complexfloating], sd: float) -> list[NDArray[np.bool_]]:
    """Find the spatial frequencies that the scanner acquired.

    Scanners interpolate images by adding zeros around the acquired k-space.

    Parameters
    ----------
    signal : ndarray of complex, shape (X, Y, Z)
        Image of the whole field of view; 0 where the noise was deleted.
    sd : float
        Standard deviation of the noise from :func:`noise_level` without `acquired`, in the unit of
        the signal. It may be too low.

    Returns
    -------
    list of 3 ndarrays of bool, shapes (X,), (Y,) and (Z,)
        Whether each frequency was acquired, in the order of ``numpy.fft.fftfreq``. All
        frequencies contain at least the power of the noise, unless they were not acquired.
    """
    share = np.count_nonzero(signal) / max(1, signal.size)
    found = []
    for axis, length in enumerate(signal.shape):
        # Plane by plane, which needs little memory. Of many planes, every third is sufficient, but
        # every second plane might be empty.
        planes = np.moveaxis(signal, axis, -1)
        planes = planes[:: 3 if len(planes) > _MANY_PLANES else 1]
        power = np.zeros(length)
        for plane in planes:
            spectrum = np.fft.fft(plane)
            power += np.mean(spectrum.real**2 + spectrum.imag**2, axis=0) / len(planes)
        acquired = power >= _EMPTY * share * length * 2 * sd**2
        found.append(acquired)
    return found


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


def _gain(acquired: NDArray[np.bool_], lag: int) -> float:
    """Return the variance of a second difference, relative to noise at all frequencies."""
    response = (2 - 2 * np.cos(2 * np.pi * np.fft.fftfreq(acquired.size) * lag)) ** 2
    return float(np.mean(response * acquired) / np.sum(_SECOND_DIFFERENCE**2))


def _whole_squares(
    mask: NDArray[np.bool_], axes: Sequence[int], lags: Sequence[int] = (1, 1, 1)
) -> NDArray[np.bool_]:
    """Return the centres of all in-plane squares inside the mask, by default 3 by 3 voxels."""
    shape = [2 * lag + 1 if axis in axes else 1 for axis, lag in enumerate(lags)]
    return binary_erosion(mask, np.ones(shape, bool))


def _correlate(
    volume: NDArray[np.floating],
    stencil: NDArray[np.float64],
    axes: Sequence[int],
    lags: Sequence[int] = (1, 1, 1),
) -> NDArray[np.floating]:
    """Correlate a volume with a stencil along the given axes, with its points `lags` apart."""
    for axis in axes:
        spread = np.zeros((len(stencil) - 1) * lags[axis] + 1)
        spread[:: lags[axis]] = stencil
        volume = correlate1d(volume, spread, axis=axis)
    return volume
