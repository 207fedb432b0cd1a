"""Phase of balanced SSFP images, in which off-resonance causes bands.

The signal at the echo time TE of a balanced SSFP sequence with the repetition time TR is [1]_ [2]_
[3]_

    M (1 - a exp(i theta)) / (1 - b cos(theta)) exp(-i psi TE / TR) exp(i phi0)

with ``psi = 2 pi df TR`` for the off-resonance df, ``theta = psi`` minus the phase increment of the
radiofrequency pulses, ``a = exp(-TR/T2)``, and M and b that depend on the tissue and the flip
angle. With ``TE = TR/2`` and ``u = theta + pi``, and apart from a constant phase for each
increment, this signal is

    M ((1 + a) cos(u/2) - i (1 - a) sin(u/2)) / (1 - b cos(theta)) exp(i phi0)

The phase is therefore phi0 with an error of ``-atan(tanh(TR / (2 T2)) tan(u/2))``. The error is
small until the real part changes its sign in a band, at ``u = pi``, where the phase jumps by half a
cycle. The square of the signal has the phase ``2 phi0`` on both sides of a band.

References
----------
.. [1] Freeman R, Hill HDW. Phase and intensity anomalies in Fourier transform NMR. J Magn Reson
   1971. doi:10.1016/0022-2364(71)90047-3
.. [2] Haenicke W, Vogel HU. An analytical solution for the SSFP signal in MRI. Magn Reson Med 2003.
   doi:10.1002/mrm.10410
.. [3] Xiang QS, Hoff MN. Banding artifact removal for bSSFP imaging with an elliptical signal
   model. Magn Reson Med 2014. doi:10.1002/mrm.25098
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.phase.averaging import MUCH_LESS, Average
from bids_qcm.phase.masking import LEAST_SNR, NoiseFloor, find_signal
from bids_qcm.phase.planes import plane_phase
from bids_qcm.phase.slices import alternating_axes, flip_alternate_slices, slice_alignment
from bids_qcm.phase.unwrapping import unwrap

# Standard deviation of the Gaussian filter of the reference phase, in mm.
_REFERENCE_SD_MM = 5.0

# Maximum phase error outside a band, in rad: half of the phase noise at the minimum SNR of a
# signal.
_LARGEST_ERROR = 0.5 / LEAST_SNR

# Edge length, in voxels, of the blocks over which the signal relative to the reference is averaged.
_BLOCK = 3


def average_phase_cycles(
    cycles: Iterable[NDArray[np.complexfloating]],
    mask: NDArray[np.bool_],
    axes: Sequence[int] = (0, 1, 2),
) -> Average:
    """Average balanced SSFP images with different phase increments of the radiofrequency pulses.

    Parameters
    ----------
    cycles : iterable of complex ndarrays, shape (X, Y, Z)
        One image for each increment, at least one. The increments should be uniform over a cycle.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels with signal in which the phases are compared; not empty.
    axes : sequence of int
        Axes along which the phase will be differentiated. With two axes, each slice of each image
        may have its own constant phase.

    Returns
    -------
    Average
        The magnitude is the square root of the magnitude of the mean squared image. Outside the
        signal, the image is the complex mean.

    Raises
    ------
    ValueError
        If the average has no signal.

    Notes
    -----
    The phase is half the phase of the sum of the squared images. The squares have no phase jump of
    half a cycle. In each voxel, images with a band have little weight. The phase errors have
    opposite signs on the two sides of a band, so that they cancel. The complex sum of the images
    themselves would not be suitable: for many increments, its phase is ``phi0 - psi/2``, as in a
    gradient echo with the same echo time. Before the sum, the constant phase between the images is
    removed, for in-plane maps in each slice. In-plane maps also require that the squares are
    aligned across slices before they are unwrapped. Otherwise, unwrapping would follow the offsets
    of the slices, and half of a wrong cycle is a phase jump within a slice.
    """
    remaining = iter(cycles)
    first = next(remaining)
    sum_of_squares = first.astype(np.complex64) ** 2
    total = first.astype(np.complex64)
    remainders, reversed_ = [], []
    for other in remaining:
        constant, remainder = _constants(other * first.conj(), mask, axes)
        _, of_negative = _constants(other.conj() * first.conj(), mask, axes)
        aligned = other * np.exp(-1j * constant).astype(np.complex64)
        sum_of_squares += aligned**2
        total += aligned
        remainders.append(remainder)
        reversed_.append(of_negative < MUCH_LESS * remainder)
    n = 1 + len(remainders)
    magnitude = np.sqrt(np.abs(sum_of_squares) / n)
    signal = find_signal(magnitude, np.angle(sum_of_squares), axes).mask
    for axis in set(range(3)) - set(axes):
        sum_of_squares *= slice_alignment(sum_of_squares, signal, axis)
    phase = unwrap(np.angle(sum_of_squares), signal) / 2
    # outside the signal, use the complex mean, because half of a wrapped phase would not have the
    # distribution of noise
    average = np.where(signal, magnitude * np.exp(1j * phase), total / n)
    return Average(average.astype(np.complex64), remainders, reversed_)


class Bands(NamedTuple):
    """Bands of a balanced SSFP image.

    Attributes
    ----------
    bands : ndarray of bool, shape (X, Y, Z)
        Voxels of the bands, including voxels without signal near a band.
    shifted : ndarray of bool, shape (X, Y, Z)
        Voxels whose phase is half a cycle off: the side of the bands with fewer voxels.
    """

    bands: NDArray[np.bool_]
    shifted: NDArray[np.bool_]


def find_bands(
    signal: NDArray[np.complexfloating], voxel_size: Sequence[float], noise: NoiseFloor
) -> Bands:
    """Find the bands of a balanced SSFP image.

    Parameters
    ----------
    signal : ndarray of complex, shape (X, Y, Z)
    voxel_size : sequence of 3 floats
        Voxel size in mm.
    noise : NoiseFloor
        Noise of the image.

    Returns
    -------
    Bands

    Notes
    -----
    Half a cycle in every second slice is not a band, and is removed first. The reference is half of
    the phase of the squared image after Gaussian smoothing, in which a band has little weight. The
    real part of the image relative to the reference, averaged over 3 x 3 x 3 voxels, has different
    signs on the two sides of a band. Voxels belong to a band if their average deviates from the
    reference by more than 0.1 rad or is not above the noise, and if each side has a voxel within 10
    mm, twice the standard deviation of the Gaussian filter. On the side with fewer voxels, only
    connected regions of more than 27 voxels count.
    """
    signal = flip_alternate_slices(signal, alternating_axes([signal]))
    flat = signal * np.exp(-1j * _linear_phase(signal))
    sigma = [_REFERENCE_SD_MM / size for size in voxel_size]
    square = ndimage.gaussian_filter(flat**2, sigma)
    power = ndimage.gaussian_filter(np.abs(flat) ** 2, sigma)
    region = np.sqrt(power) > noise.threshold(LEAST_SNR)
    none = Bands(*np.zeros((2, *signal.shape), dtype=bool))
    if not region.any():
        return none
    reference = unwrap(np.angle(square), region) / 2
    relative = flat * np.exp(-1j * reference)
    average = ndimage.uniform_filter(relative, _BLOCK)
    clear = region & (np.abs(average.real) > LEAST_SNR * noise.sd / np.sqrt(_BLOCK**3))
    far, near = sorted((clear & (average.real < 0), clear & (average.real > 0)), key=np.sum)
    far = _large_parts(far)
    if not far.any():
        return none
    good = clear & (np.abs(np.angle(average**2)) / 2 < _LARGEST_ERROR)
    bands = region & ~(good & (near | far))
    for side in (near, far):
        bands &= ndimage.distance_transform_edt(~side, voxel_size) <= 2 * _REFERENCE_SD_MM
    shifted = far & ~bands
    return Bands(bands, shifted)


def _linear_phase(signal: NDArray[np.complexfloating]) -> NDArray[np.float32]:
    """Return the mean linear phase of an image, modulo half a cycle per voxel, in rad."""
    double = signal**2
    gradient = []
    for axis in range(signal.ndim):
        ahead = np.moveaxis(double, axis, 0)
        products = ahead[1:] * ahead[:-1].conj()
        gradient.append(float(np.angle(products.sum(dtype=np.complex128))) / 2)
    return plane_phase(0.0, gradient, signal.shape)


def _large_parts(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the connected parts of a mask that are larger than a block of averaged voxels."""
    # the parameter of skimage's remove_small_objects differs between the supported versions
    parts, _ = ndimage.label(mask)
    large: NDArray[np.bool_] = np.bincount(parts.ravel()) > _BLOCK**3
    large[0] = False
    return large[parts]


def _constants(
    difference: NDArray[np.complexfloating], mask: NDArray[np.bool_], axes: Sequence[int]
) -> tuple[NDArray[np.float64], float]:
    """Return the mean phase modulo half a cycle, and the root mean square deviation, in rad.

    `difference` is the product of an image with the conjugate of another image. The phase is
    averaged along `axes`; the mean has the length 1 along these axes. The fourth power of the
    magnitude of an image is the weight of a voxel. With a good shim, a band may fill most of an
    image. Its phase is not phi0, but its magnitude is only a few percent.
    """
    double = np.where(mask, difference, 0).astype(np.complex128) ** 2
    double *= np.abs(double)
    total = double.sum(axis=tuple(axes), keepdims=True)
    rest = np.angle(double * total.conj()) / 2
    weight = np.abs(double)
    return np.angle(total) / 2, float(np.sqrt(np.sum(weight * rest**2) / np.sum(weight)))
