"""Masks of voxels with usable signal, and of voxels whose phase was deleted."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from bids_qcm.phase.coherence import phase_coherence
from bids_qcm.phase.noise import local_noise

LEAST_SNR = 5.0
"""Minimum signal-to-noise ratio of a voxel with signal. It limits the phase noise to 0.2 rad."""

LEAST_COHERENCE = 0.5
"""Minimum phase coherence of a voxel with signal. The coherence is about 0.1 for noise and 0.89 at
an SNR of 5."""

# Minimum magnitude of a voxel with signal, relative to the typical signal. In images without noise,
# this limit excludes the ringing next to the body.
_LEAST_SHARE = 0.01

# Edge length, in voxels, of the blocks that are searched for missing phase.
_BLOCK = 3
_ROUNDING = 1e-6

# Minimum number of noise voxels for estimating the noise level to within a few percent.
_LEAST_NOISE_VOXELS = 1000
# Phase coherence below which a voxel contains only noise.
_NOISE_COHERENCE = 0.3
# Median absolute deviation of the Rayleigh distribution with unit scale.
_RAYLEIGH_DEVIATION = 0.4485

# Upper limit of the magnitude for Otsu's threshold, as a quantile of the values above 0.
_BRIGHTEST = 0.999

# Number of values that is sufficient for a median. It is then known to within 0.2 % of the spread.
_ENOUGH = 1_000_000

# Maximum size of a hole to fill, relative to the mask's volume. Small holes are vessels or noise;
# large holes contain air.
_LARGEST_HOLE = 0.001


class NoiseFloor(NamedTuple):
    """Noise level of a magnitude image.

    Attributes
    ----------
    magnitude : float
        Median magnitude of the voxels without signal; 0 if there are too few such voxels.
    sd : float
        Standard deviation of the noise in the real part, in the unit of the magnitude.
    """

    magnitude: float
    sd: float

    def threshold(self, snr: float) -> float:
        """Return the magnitude of a voxel with a given signal-to-noise ratio."""
        return float(np.hypot(self.magnitude, snr * self.sd))


def noise_floor(
    magnitude: NDArray[np.floating], phase: NDArray[np.floating], where: NDArray[np.bool_]
) -> NoiseFloor:
    """Estimate the noise level of an image.

    The estimate uses the voxels without signal. If there are too few of them, it uses the smoothest
    parts of the image.

    Parameters
    ----------
    magnitude : ndarray of float, shape (X, Y, Z)
        Magnitude in any unit.
    phase : ndarray of float, shape (X, Y, Z)
        Phase in rad.
    where : ndarray of bool, shape (X, Y, Z)
        Voxels with magnitude and phase.

    Returns
    -------
    NoiseFloor

    Raises
    ------
    ValueError
        If there are too few voxels for an estimate.

    Notes
    -----
    The phase of voxels without signal is incoherent. Their magnitude has a Rayleigh distribution
    for one receive coil, and a chi distribution for several combined coils. For both
    distributions, the noise level follows from the median absolute deviation to within a few
    percent. If the scanner has suppressed the noise outside the body, the few remaining incoherent
    voxels do not follow these distributions: their median is below their standard deviation. In
    this case, the noise level is the 10th percentile of the local mixed second differences of the
    complex image. Mixed second differences remove the smooth part of the image.
    """
    noise = where & (phase_coherence(phase, where) < _NOISE_COHERENCE)
    if np.count_nonzero(noise) >= _LEAST_NOISE_VOXELS:
        values = _sample(magnitude[noise])
        median = float(np.median(values))
        sd = float(np.median(np.abs(values - median))) / _RAYLEIGH_DEVIATION
        if median > sd:
            return NoiseFloor(median, sd)
    radians = np.where(where, phase, 0)
    known = np.where(where, magnitude, 0)
    return NoiseFloor(0.0, local_noise([known * np.cos(radians), known * np.sin(radians)], where))


def typical_signal(magnitude: NDArray[np.floating]) -> float:
    """Return the median magnitude of the voxels above Otsu's threshold.

    Parameters
    ----------
    magnitude : ndarray of float, shape (X, Y, Z)
        Magnitude in any unit; finite. Single voxels may be much too bright.

    Returns
    -------
    float
        0 if no value is above 0.
    """
    values = _sample(magnitude)
    positive = values[values > 0]
    if positive.size == 0:
        return 0.0
    values = np.minimum(values, np.quantile(positive, _BRIGHTEST))
    # the threshold of a constant image is its value
    return float(np.median(values[values >= threshold_otsu(values)]))


def _sample(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return a random sample of many values, or all values; equal inputs give equal samples."""
    if values.size <= _ENOUGH:
        return values.ravel()
    return values.ravel()[np.random.default_rng(0).integers(values.size, size=_ENOUGH)]


class Signal(NamedTuple):
    """Mask of the voxels with signal, and the noise level from which it was derived.

    Attributes
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
    noise : NoiseFloor
    """

    mask: NDArray[np.bool_]
    noise: NoiseFloor


def find_signal(
    magnitude: NDArray[np.floating],
    phase: NDArray[np.floating],
    axes: Sequence[int] = (0, 1, 2),
) -> Signal:
    """Find the largest connected region with an SNR above 5, and the noise level.

    Parameters
    ----------
    magnitude : ndarray of float, shape (X, Y, Z)
        Magnitude in any unit.
    phase : ndarray of float, shape (X, Y, Z)
        Phase in rad. Voxels with values that are not finite and blocks of deleted phase are
        excluded.
    axes : sequence of int
        Axes along which the phase must be coherent. If the slices differ by constants, use only the
        two in-plane axes.

    Returns
    -------
    Signal
        Small holes in the mask are filled. Voxels with incoherent phase are excluded regardless of
        their magnitude, because ringing and ghosts extend beyond the body.

    Raises
    ------
    ValueError
        If the magnitude is constant, or no voxel has signal.
    """
    finite = np.isfinite(magnitude) & np.isfinite(phase)
    values = np.where(finite, magnitude, 0)
    if not np.ptp(values) > 0:
        raise ValueError("the magnitude is constant and shows no signal")
    where = finite & (values > 0) & ~blank_phase(np.where(finite, phase, 0))
    noise = noise_floor(values, phase, where)
    typical = typical_signal(values)
    bright = where & (values > max(noise.threshold(LEAST_SNR), _LEAST_SHARE * typical))
    signal = bright & (phase_coherence(phase, bright, axes) >= LEAST_COHERENCE)
    components, n_components = ndimage.label(signal)
    if n_components == 0:
        raise ValueError(f"no voxel has a signal-to-noise ratio above {LEAST_SNR:g}")
    largest = components == np.bincount(components[signal]).argmax()
    return Signal(_without_small_holes(largest) & finite, noise)


def signal_mask(magnitude: NDArray[np.floating], phase: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return a mask of the largest connected region with an SNR above 5.

    Parameters
    ----------
    magnitude : ndarray of float, shape (X, Y, Z)
        Magnitude in any unit.
    phase : ndarray of float, shape (X, Y, Z)
        Phase in rad. Voxels with values that are not finite and blocks of deleted phase are
        excluded.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
        Mask without voxels of incoherent phase, and with small holes filled.

    Raises
    ------
    ValueError
        If the magnitude is constant, or no voxel has signal.
    """
    return find_signal(magnitude, phase).mask


def body_outline(signal: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill regions without signal inside a body, such as the skull and the sinuses.

    Parameters
    ----------
    signal : ndarray of bool, shape (X, Y, Z)
        Voxels of the body with signal.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
        The signal with its holes filled, first in 3-D, then in each slice along each axis. Where
        the image ends within the body, a hole may be open in 3-D but closed within a slice.
    """
    outline = ndimage.binary_fill_holes(signal)
    filled = outline.copy()
    for axis in range(signal.ndim):
        for part, slice_ in zip(
            np.moveaxis(filled, axis, 0), np.moveaxis(outline, axis, 0), strict=True
        ):
            part |= ndimage.binary_fill_holes(slice_)
    return filled


def _without_small_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill the small holes of a mask."""
    gaps, _ = ndimage.label(~mask)
    sizes = np.bincount(gaps.ravel())
    return mask | (sizes <= _LARGEST_HOLE * np.count_nonzero(mask))[gaps]


def blank_phase(phase: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return a mask of the blocks of 3 x 3 x 3 voxels in which the phase was deleted.

    In these blocks, the phase of all voxels is 0, or -pi if the conversion to radians maps a stored
    0 to -pi. Noise never makes all voxels of a block equal.

    Parameters
    ----------
    phase : ndarray of float, shape (X, Y, Z)
        Phase in rad.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
    """
    block = tuple(min(_BLOCK, n) for n in phase.shape)
    blank = np.zeros(phase.shape, dtype=bool)
    for value in (0, np.float32(-np.pi)):
        equal = (np.abs(phase - value) < _ROUNDING).view(np.uint8)
        if np.count_nonzero(equal) >= np.prod(block):
            blank |= ndimage.grey_opening(equal, block, mode="constant") > 0
    return blank
