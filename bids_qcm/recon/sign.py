"""Determine the sign of the phase, which differs between scanners."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import chdtri

from bids_qcm.physics import Sign
from bids_qcm.recon.compiling import thread_limit
from bids_qcm.recon.kernels import Triple, as_triple, ellipsoid
from bids_qcm.recon.quadratic_fit import fit_quadratic

# Radius of the kernel in mm, and its minimum in voxels. Tissue borders bias the Laplacian in both
# directions, but in a kernel of this size, the mean curvature dominates.
_RADIUS_MM = 15.0
_RADIUS_VOXELS = 3.0

# Approximate number of sampled voxels. Sampling adds 1 / 1000 of the variance of the Laplacian to
# the variance of its median. A head contains only about 30 disjoint kernels, so sampling increases
# the standard error of the median by 2 %.
_SAMPLES = 1000

_WEAK_AGREEMENT = 0.6
_WEAK_STANDARD_ERRORS = 3.0

# Upper limit of the required distance from the edge of the mask, as a fraction of the largest
# distance in the mask.
_LEAST_DEPTH = 0.5

# Fraction of voxels whose second differences count as phase jumps in white noise, and the smallest
# jump in rad. Real jumps are larger. They occur, for example, between water and fat, which differ
# in their resonance frequency.
_JUMPS_IN_NOISE = 0.01
_SMALLEST_JUMP = 0.1

# Correlation of the second differences (1, -2, 1) along two axes in white noise: they share the
# central voxel, which contributes (-2)^2 = 4 of the variance 1 + 4 + 1 = 6.
_SHARED = 2 / 3

_MANUFACTURERS: dict[str, Sign] = {"ge": "-", "philips": "+", "siemens": "+"}


def usual_sign(manufacturer: str) -> Sign | None:
    """Return the usual phase sign of a scanner manufacturer.

    Parameters
    ----------
    manufacturer : str
        Name as in DICOM, such as "GE MEDICAL SYSTEMS".

    Returns
    -------
    {"+", "-"} or None
        None if the sign of the manufacturer is not known.
    """
    words = manufacturer.casefold().split()
    return _MANUFACTURERS.get(words[0]) if words else None


@dataclass(frozen=True)
class SignDecision:
    """Result of :func:`determine_sign`.

    Attributes
    ----------
    sign : {"+", "-"}
        The factor that makes the median Laplacian positive.
    median_laplacian : float
        Median Laplacian of the input phase, in rad/m^2.
    agreement : float
        Fraction of the sampled voxels whose Laplacian has the sign of the median, 0 to 1.
    weak : bool
        Whether the decision is uncertain: fewer than 60 % of the voxels agree, or the median is
        within three standard errors of 0.
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

    Conductivity is positive. In the convention of Philips and Siemens, the Laplacian of the phase
    is therefore also positive. The phase of General Electric scanners has the opposite sign. The
    quadratics are fitted within regions without phase jumps, because a jump biases the Laplacian in
    both directions.

    Parameters
    ----------
    phase : ndarray of float, shape (X, Y, Z)
        Unwrapped phase in rad.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels with reliable phase.
    voxel_size : tuple of 3 floats
        Voxel size in mm.
    axes : sequence of int
        Axes along which the phase is differentiated; two axes for in-plane kernels.
    n_threads : int, optional
        Maximum number of threads.

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
    box = _box_with_margin(usable)
    phase, usable = phase[box].astype(np.float32), usable[box]
    radius = as_triple(
        [
            max(_RADIUS_MM, _RADIUS_VOXELS * d) if axis in axes else 0.0
            for axis, d in enumerate(voxel_size)
        ],
        "radius",
    )
    kernel_size = int(ellipsoid(radius, voxel_size).sum())
    interior = _interior(usable, voxel_size)
    regions = _smooth_regions(phase, usable, axes, kernel_size)
    if not regions[interior].any():
        regions = usable.astype(np.int32)
    candidates = np.flatnonzero(interior & (regions > 0))
    sample = np.zeros(usable.shape, dtype=bool)
    sample.flat[candidates[:: max(1, len(candidates) // _SAMPLES)]] = True
    with thread_limit(n_threads):
        laplacian = fit_quadratic(
            np.where(usable, phase - np.median(phase[usable]), np.float32(0)),
            regions,
            voxel_size=voxel_size,
            radius=radius,
            at=sample,
        ).laplacian
    laplacian = laplacian[np.isfinite(laplacian)]
    if laplacian.size == 0:
        raise ValueError("the mask is too small to find the sign of the phase; specify the sign")
    median = float(np.median(laplacian))
    # overlapping kernels share noise, so only disjoint kernels count as independent
    n_independent = 1 / (kernel_size / len(candidates) + 1 / laplacian.size)
    agreement = float(np.mean(np.sign(laplacian) == np.sign(median)))
    return SignDecision(
        sign="-" if median < 0 else "+",
        median_laplacian=median,
        agreement=agreement,
        weak=agreement < _WEAK_AGREEMENT
        or abs(median) < _WEAK_STANDARD_ERRORS * _standard_error(laplacian, n_independent),
    )


def _box_with_margin(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the bounding box of a mask with a margin of one voxel, as far as the volume extends.

    With the margin, an axis has length 1 only if the volume has length 1.
    """
    (box,) = ndimage.find_objects(mask.view(np.uint8))
    return tuple(slice(max(0, one.start - 1), one.stop + 1) for one in box)


def _interior(mask: NDArray[np.bool_], voxel_size: Triple) -> NDArray[np.bool_]:
    """Return the voxels of a mask that are far from its edge.

    Far from the edge, the kernels contain few voxels next to air or bone. The required distance is
    the radius of the kernel, but at most half of the largest distance in the mask.
    """
    # the volume ends at the edge of the mask, except along an axis of length 1
    ends = [int(n > 1) for n in mask.shape]
    padded = np.pad(mask, [(end, end) for end in ends])
    depth = ndimage.distance_transform_edt(padded, sampling=voxel_size)
    depth = depth[tuple(slice(end, n - end) for end, n in zip(ends, depth.shape, strict=True))]
    return depth >= min(_RADIUS_MM, _LEAST_DEPTH * depth.max())


def _smooth_regions(
    phase: NDArray[np.floating], mask: NDArray[np.bool_], axes: Sequence[int], smallest: int
) -> NDArray[np.int32]:
    """Return the numbers of the connected regions of a mask whose phase has no jumps.

    Regions of fewer than `smallest` voxels are left out.
    """
    axes = [axis for axis in axes if mask.shape[axis] > 2]
    roughness, known = _roughness(np.where(mask, phase, np.float32(np.nan)), axes)
    # use the lower quartile, because tissue borders and jumps hardly change it
    complete = roughness[mask & (known == len(axes))]
    limit = np.inf
    if axes and complete.size:
        # the squared roughness of normal noise has a chi-square distribution
        quartile, largest = np.sqrt(chdtri(len(axes), [0.75, _JUMPS_IN_NOISE]))
        noise = float(np.quantile(complete, 0.25)) / quartile
        limit = max(_SMALLEST_JUMP, noise * largest)
    regions, _ = ndimage.label(mask & (roughness <= limit))
    sizes = np.bincount(regions.ravel())
    return np.where(sizes[regions] >= smallest, regions, 0).astype(np.int32)


def _roughness(
    phase: NDArray[np.float32], axes: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the norm of the second differences in rad, and the number of axes that contribute.

    The phase is NaN outside the mask. The norm is the Mahalanobis distance for the correlation of
    white noise. In white noise, it therefore has a chi distribution, with as many degrees of
    freedom as axes, times the standard deviation of a second difference.
    """
    total, squares, known = np.zeros((3, *phase.shape), np.float32)
    for axis in axes:
        second = np.diff(phase, 2, axis=axis)
        finite = np.isfinite(second)
        second[~finite] = 0
        for sums, values in ((known, finite), (total, second), (squares, second**2)):
            np.moveaxis(sums, axis, 0)[1:-1] += np.moveaxis(values, axis, 0)
    # the inverse of a matrix with ones on the diagonal and equal correlations
    common = _SHARED / (1 + (known - 1) * _SHARED) * total**2
    return np.sqrt(np.maximum(squares - common, 0) / (1 - _SHARED)), known


def _standard_error(values: NDArray[np.floating], n_independent: float) -> float:
    """Return a robust standard error of the median of normally distributed values."""
    # import here, because scipy.stats is slow to import
    from scipy.stats import median_abs_deviation

    deviation = median_abs_deviation(values, scale="normal")
    return float(np.sqrt(np.pi / 2) * deviation / np.sqrt(max(n_independent, 1)))
