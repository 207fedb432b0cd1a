"""The sign of the phase, which differs between scanners."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.physics import Sign
from bids_qcm.recon.compiling import thread_limit
from bids_qcm.recon.kernels import Triple, ellipsoid
from bids_qcm.recon.quadratic_fit import fit_quadratic

# Tissue boundaries bias the Laplacian either way; over this radius the mean curvature decides.
_RADIUS_MM = 15.0
_RADIUS_VOXELS = 3.0
_SAMPLES = 4000
_WEAK_AGREEMENT = 0.6
_WEAK_STANDARD_ERRORS = 3.0


_LEAST_DEPTH = 0.5

_MANUFACTURERS: dict[str, Sign] = {"ge": "-", "philips": "+", "siemens": "+"}


def usual_sign(manufacturer: str) -> Sign | None:
    """Return the sign of the phase of a manufacturer's scanners.

    Parameters
    ----------
    manufacturer : str
        As in DICOM, such as "GE MEDICAL SYSTEMS".

    Returns
    -------
    {"+", "-"} or None
        None for a manufacturer whose sign is not known.
    """
    words = manufacturer.casefold().split()
    return _MANUFACTURERS.get(words[0]) if words else None


@dataclass(frozen=True)
class SignDecision:
    """What :func:`determine_sign` found.

    Attributes
    ----------
    sign : {"+", "-"}
        The factor that makes the median Laplacian positive.
    median_laplacian : float
        Of the phase as given, in rad/m^2.
    agreement : float
        Share of the sampled voxels whose Laplacian has the median's sign, 0 to 1.
    weak : bool
        Whether fewer than 60 % agree, or the median is within three standard errors of 0: then
        the decision deserves a look.
    """

    sign: Sign
    median_laplacian: float
    agreement: float
    weak: bool


def determine_sign(
    phase: NDArray[np.floating],
    mask: NDArray[np.bool_],
    voxel_size: Triple,
    *,
    axes: Sequence[int] = (0, 1, 2),
    n_threads: int | None = None,
) -> SignDecision:
    """Find the sign that makes the median of a large-kernel Laplacian positive.

    Conductivity is positive, and so is its phase's Laplacian in the convention of Philips and
    Siemens; General Electric's phase has the opposite sign.

    Parameters
    ----------
    phase : ndarray of float, shape (X, Y, Z)
        Unwrapped phase in rad.
    mask : ndarray of bool, shape (X, Y, Z)
        Where the phase is reliable.
    voxel_size : tuple of 3 floats
        In mm.
    axes : sequence of int
        Axes to differentiate along: two for in-plane kernels.
    n_threads : int, optional
        Limit of threads.

    Returns
    -------
    SignDecision

    Raises
    ------
    ValueError
        If no voxel of the mask has a Laplacian.
    """
    usable = np.asarray(mask, dtype=bool) & np.isfinite(phase)
    if not usable.any():
        raise ValueError("no voxel of the mask has finite phase")
    candidates = np.flatnonzero(_interior(usable, voxel_size))
    sample = np.zeros(usable.shape, dtype=bool)
    sample.flat[candidates[:: max(1, len(candidates) // _SAMPLES)]] = True
    radius = tuple(
        max(_RADIUS_MM, _RADIUS_VOXELS * d) if axis in axes else 0.0
        for axis, d in enumerate(voxel_size)
    )
    with thread_limit(n_threads):
        laplacian = fit_quadratic(
            np.where(usable, phase - np.median(phase[usable]), 0).astype(np.float32),
            usable.astype(np.int32),
            voxel_size=voxel_size,
            radius=radius,
            at=sample,
        ).laplacian
    laplacian = laplacian[np.isfinite(laplacian)]
    if laplacian.size == 0:
        raise ValueError("the mask is too small to find the sign of the phase; give the sign")
    median = float(np.median(laplacian))
    # overlapping kernels see the same noise
    n_independent = len(candidates) / ellipsoid(radius, voxel_size).sum()
    agreement = float(np.mean(np.sign(laplacian) == np.sign(median)))
    return SignDecision(
        sign="-" if median < 0 else "+",
        median_laplacian=median,
        agreement=agreement,
        weak=agreement < _WEAK_AGREEMENT
        or abs(median) < _WEAK_STANDARD_ERRORS * _standard_error(laplacian, n_independent),
    )


def _interior(mask: NDArray[np.bool_], voxel_size: Triple) -> NDArray[np.bool_]:
    """Return the voxels of a mask that are far from its edge.

    There the kernel is whole, and phase next to air or bone does not count. The distance is the
    kernel's radius, but at most half of the largest that a thin mask has.
    """
    padded = np.pad(mask, [(int(n > 1),) * 2 for n in mask.shape])
    inner = tuple(slice(int(n > 1), n + int(n > 1)) for n in mask.shape)
    depth = ndimage.distance_transform_edt(padded, sampling=voxel_size)[inner]
    return mask & (depth >= min(_RADIUS_MM, _LEAST_DEPTH * depth.max()))


def _standard_error(values: NDArray[np.floating], n_independent: float) -> float:
    """Give the standard error of the median of normal values, robust to outliers."""
    deviation = 1.4826 * np.median(np.abs(values - np.median(values)))
    return float(np.sqrt(np.pi / 2) * deviation / np.sqrt(max(n_independent, 1)))
