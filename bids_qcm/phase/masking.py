"""Where the signal is strong enough for its phase to be usable, and where it was deleted."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from bids_qcm.phase.coherence import phase_coherence
from bids_qcm.phase.noise import local_noise

LEAST_SNR = 5.0
"""Signal-to-noise ratio above which a voxel counts as signal: phase noise below 0.2 rad."""

LEAST_COHERENCE = 0.5
"""Between the phase coherence of noise, 0, and that of an SNR of 5, 0.89."""

# Of the typical signal: images without noise still have ringing next to the body.
_LEAST_SHARE = 0.01

_BLOCK = 3
_ROUNDING = 1e-6

# Fewer voxels of noise do not give its level within some percent.
_LEAST_NOISE_VOXELS = 1000
_NOISE_COHERENCE = 0.3
# Of the Rayleigh distribution with unit scale.
_RAYLEIGH_DEVIATION = 0.4485

# Of the mask's volume; a hole this small is a vessel or a voxel of noise, a larger one is air.
_LARGEST_HOLE = 0.001


class NoiseFloor(NamedTuple):
    """Level of the noise in a magnitude image.

    Attributes
    ----------
    magnitude : float
        Median magnitude of voxels without signal; 0 where no such voxels were found.
    sd : float
        Standard deviation of the noise in the real part, in the unit of the magnitude.
    """

    magnitude: float
    sd: float

    def threshold(self, snr: float) -> float:
        """Return the magnitude of a voxel with this signal-to-noise ratio."""
        return float(np.hypot(self.magnitude, snr * self.sd))


def noise_floor(
    magnitude: NDArray[np.floating], phase: NDArray[np.floating], where: NDArray[np.bool_]
) -> NoiseFloor:
    """Estimate the noise of an image from its voxels without signal, else from its smooth parts.

    Parameters
    ----------
    magnitude : ndarray of float, shape (X, Y, Z)
        Any unit.
    phase : ndarray of float, shape (X, Y, Z)
        In rad.
    where : ndarray of bool, shape (X, Y, Z)
        Voxels with both.

    Returns
    -------
    NoiseFloor

    Raises
    ------
    ValueError
        If there are too few voxels for an estimate.

    Notes
    -----
    Voxels without signal have incoherent phase. Their magnitude has a Rayleigh distribution for
    one receive coil, and a chi distribution for several that were combined; the median absolute
    deviation gives the noise level of both within some percent. Where the scanner has suppressed
    the noise outside the body, the few incoherent voxels that are left do not follow this
    distribution: their median is less than their standard deviation. Then the noise level is the
    10th percentile of the local mixed second differences of the complex image, which a smooth
    image does not pass.
    """
    noise = where & (phase_coherence(phase, where) < _NOISE_COHERENCE)
    if np.count_nonzero(noise) >= _LEAST_NOISE_VOXELS:
        values = magnitude[noise]
        median = float(np.median(values))
        sd = float(np.median(np.abs(values - median))) / _RAYLEIGH_DEVIATION
        if median > sd:
            return NoiseFloor(median, sd)
    radians = np.where(where, phase, 0)
    known = np.where(where, magnitude, 0)
    return NoiseFloor(0.0, local_noise([known * np.cos(radians), known * np.sin(radians)], where))


def typical_signal(magnitude: NDArray[np.floating]) -> float:
    """Return the median of the bright voxels, those above the threshold of Otsu.

    Parameters
    ----------
    magnitude : ndarray of float, shape (X, Y, Z)
        Any unit; finite and not constant.

    Returns
    -------
    float
    """
    return float(np.median(magnitude[magnitude > threshold_otsu(magnitude)]))


class Signal(NamedTuple):
    """Voxels with signal, and the noise that decided which they are.

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
    """Find the voxels with signal: the largest connected part with an SNR above 5.

    Parameters
    ----------
    magnitude : ndarray of float, shape (X, Y, Z)
        Any unit.
    phase : ndarray of float, shape (X, Y, Z)
        In rad. Voxels without finite values, and blocks whose phase was deleted, are outside.
    axes : sequence of int
        Axes along which the phase must be coherent; two for slices that differ by constants.

    Returns
    -------
    Signal
        Small holes in the mask are filled. Voxels whose phase is as incoherent as noise are
        outside, whatever their magnitude: ringing and ghosts reach beyond the body.

    Raises
    ------
    ValueError
        If the magnitude is constant, or no voxel has signal.
    """
    finite = np.isfinite(magnitude) & np.isfinite(phase)
    values = np.where(finite, magnitude, 0)
    if not np.ptp(values) > 0:
        raise ValueError("the magnitude is constant: it shows no signal")
    where = finite & (values > 0) & ~blank_phase(np.where(finite, phase, 0))
    noise = noise_floor(values, phase, where)
    typical = typical_signal(values)
    bright = where & (values > max(noise.threshold(LEAST_SNR), _LEAST_SHARE * typical))
    signal = bright & (phase_coherence(phase, bright, axes) >= LEAST_COHERENCE)
    components, n_components = ndimage.label(signal)
    if n_components == 0:
        raise ValueError(f"no voxel has a signal-to-noise ratio of {LEAST_SNR:g}")
    largest = components == np.bincount(components[signal]).argmax()
    return Signal(_without_small_holes(largest) & finite, noise)


def signal_mask(magnitude: NDArray[np.floating], phase: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Find the voxels with signal: the largest connected part with an SNR above 5.

    Parameters
    ----------
    magnitude : ndarray of float, shape (X, Y, Z)
        Any unit.
    phase : ndarray of float, shape (X, Y, Z)
        In rad. Voxels without finite values, and blocks whose phase was deleted, are outside.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
        Without voxels whose phase is as incoherent as noise, and with small holes filled.

    Raises
    ------
    ValueError
        If the magnitude is constant, or no voxel has signal.
    """
    return find_signal(magnitude, phase).mask


def body_outline(signal: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill what a body with signal encloses: bone and air, of a head the skull and the sinuses.

    Parameters
    ----------
    signal : ndarray of bool, shape (X, Y, Z)
        Voxels of the body with signal.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
        With the holes filled, and the holes of each slice along each axis: where the image ends
        within the body, a hole is open to the outside.
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
    """Fill the holes of a mask that are small in comparison with the mask."""
    gaps, _ = ndimage.label(~mask)
    sizes = np.bincount(gaps.ravel())
    return mask | (sizes <= _LARGEST_HOLE * np.count_nonzero(mask))[gaps]


def blank_phase(phase: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Find where the phase was deleted: all voxels of a block have exactly one value.

    That value is 0, or -pi, as which a stored 0 may come out. No noise does that to 3 x 3 x 3
    voxels.

    Parameters
    ----------
    phase : ndarray of float, shape (X, Y, Z)
        In rad.

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
