"""Lesion numbers, lesion labels, and the healthy regions for comparison."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.grids import Volume
from bids_qcm.segmentation.resampling import resample_nearest
from bids_qcm.segmentation.symmetry import MirrorPlane
from bids_qcm.segmentation.tissues import FIRST_NEW_LABEL, TISSUES, Tissue

LESION = Tissue(7, "Lesion")
"""Number and name of lesions in the BIDS table of common image-derived labels."""

MARGIN_MM = 5.0
"""Minimum distance between normal-appearing tissue and a lesion, mm. Nearer tissue may contain
oedema and is blended with the lesion by the kernels."""

LEAST_RADIUS = 0.9
"""Minimum radius of a lesion that is a separate region, relative to the radius of the fit.

The fit in a smaller lesion contains too few voxels. The root mean square error of the lesion mean
was measured on the 2 mm phantom (3 T, SNR 50, lesions of 0.9 S/m). For lesions of 12 mm, it is 0.6
S/m if the lesion is a separate region, and 0.4 S/m otherwise. For lesions of 8 mm, it is 3 S/m and
0.4 S/m."""

LEAST_RADIUS_VOXELS = 4.0
"""Minimum radius, in voxels, of a lesion that is a separate region for the methods with a fit.
A ball of this radius has 268 voxels."""

SURROUNDINGS_MM = 10.0
"""Maximum distance from a lesion of the voxels that determine its tissue, mm."""

_CORNERS = np.ones((3, 3, 3))

ReferenceKind = Literal["mirrored", "same tissue"]


def number_lesions(values: NDArray[np.integer]) -> NDArray[np.int32]:
    """Assign a number to each lesion of a mask or label image.

    Parameters
    ----------
    values : ndarray of int, shape (X, Y, Z)
        0 is background. If all other voxels have the same value, the image is a mask, and each
        connected part is a lesion. Voxels are connected if they share a face, an edge or a corner.
        Otherwise each value is a lesion.

    Returns
    -------
    ndarray of int32, shape (X, Y, Z)
        The parts of a mask are numbered from 1 in order of decreasing volume. The lesions in a
        label image keep their values as numbers.

    Raises
    ------
    ValueError
        If all values are 0, or if a value is negative.
    """
    present = np.unique(values[values != 0])
    if not present.size:
        raise ValueError("is empty: all values are 0")
    if present[0] < 0:
        raise ValueError(f"has negative values, such as {present[0]}")
    if present.size > 1:
        return values.astype(np.int32)
    parts, n = ndimage.label(values, structure=_CORNERS)
    sizes = np.bincount(parts.ravel(), minlength=n + 1)[1:]
    numbers = np.zeros(n + 1, np.int32)
    # a stable sort keeps the order of parts of the same size
    numbers[1 + np.argsort(-sizes, kind="stable")] = np.arange(1, n + 1)
    return numbers[parts]


def add_lesions(
    labels: NDArray[np.integer], names: Mapping[int, str], lesions: NDArray[np.integer]
) -> tuple[NDArray[np.int32], dict[int, str]]:
    """Assign a separate tissue label to the voxels of lesions.

    Parameters
    ----------
    labels : ndarray of int, shape (X, Y, Z)
        Tissue labels; 0 is background.
    names : mapping of int to str
        Name of each label.
    lesions : ndarray of int, shape (X, Y, Z)
        Lesion numbers; 0 outside lesions.

    Returns
    -------
    labels : ndarray of int32, shape (X, Y, Z)
        All lesions have the number of `LESION`, or a new number if another tissue has it.
    names : dict of int to str
        Names of the labels that are present.
    """
    number = LESION.number
    if names.get(number, LESION.name) != LESION.name:
        number = next(new for new in count(FIRST_NEW_LABEL) if new not in names)
    added = np.where(lesions > 0, number, labels).astype(np.int32)
    present = set(np.unique(added).tolist())
    every = {**names, number: LESION.name}
    return added, {label: every[label] for label in sorted(every) if label in present}


def separate_lesions(
    labels: NDArray[np.integer],
    lesions: NDArray[np.integer],
    voxel_size: tuple[float, float, float],
    fit_radius: float = 0.0,
) -> tuple[NDArray[np.int32], list[int]]:
    """Return tissue labels in which each lesion of sufficient size has a separate label.

    Parameters
    ----------
    labels : ndarray of int, shape (X, Y, Z)
        Tissue labels without lesions; 0 is background.
    lesions : ndarray of int, shape (X, Y, Z)
        Lesion numbers; 0 outside lesions.
    voxel_size : tuple of 3 floats
        Voxel size in mm.
    fit_radius : float
        Radius of the quadratic fit in mm; 0 for an inversion, in which all lesions have separate
        labels. Otherwise, a lesion keeps the labels of its tissue if the radius of a ball with its
        volume is less than `LEAST_RADIUS` times the radius of the fit, or less than
        `LEAST_RADIUS_VOXELS` voxels.

    Returns
    -------
    labels : ndarray of int32, shape (X, Y, Z)
        Each separate lesion has its own label, because lesions with the same label would share one
        mean in the prior of an inversion.
    separate : list of int
        Numbers of the lesions with separate labels.
    """
    numbers, sizes = np.unique(lesions[lesions > 0], return_counts=True)
    least = max(LEAST_RADIUS * fit_radius, LEAST_RADIUS_VOXELS * max(voxel_size))
    radii = np.cbrt(sizes * np.prod(voxel_size) * 3 / (4 * np.pi))
    separate = numbers[radii >= least] if fit_radius > 0 else numbers
    own = np.isin(lesions, separate) & (lesions > 0)
    return np.where(own, labels.max() + lesions, labels).astype(np.int32), separate.tolist()


@dataclass(frozen=True, eq=False)
class Reference:
    """Healthy region for comparison with a lesion.

    Attributes
    ----------
    lesion : int
        Number of the lesion.
    kind : {"mirrored", "same tissue"}
    tissue : int
        Label of the most frequent tissue in the region; 0 if the tissue is unknown.
    voxels : ndarray of bool, shape (X, Y, Z)
        Mask of the region; empty if the region does not exist.
    """

    lesion: int
    kind: ReferenceKind
    tissue: int
    voxels: NDArray[np.bool_]


def reference_regions(
    lesions: Volume,
    mask: NDArray[np.bool_],
    plane: MirrorPlane | None,
    labels: NDArray[np.integer] | None = None,
    names: Mapping[int, str] = MappingProxyType({}),
) -> Iterator[Reference]:
    """Find the healthy regions for comparison with each lesion.

    Parameters
    ----------
    lesions : Volume of int
        Lesion numbers inside and outside the mask; 0 outside lesions.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels with conductivity. Lesions without a voxel in the mask have no regions.
    plane : MirrorPlane or None
        Mid-sagittal plane; None if it is unknown, so that mirrored regions are empty.
    labels : ndarray of int, shape (X, Y, Z), optional
        Tissue labels; 0 is background. Without labels, there are no regions of the same tissue.
    names : mapping of int to str
        Name of each label.

    Yields
    ------
    Reference
        For each lesion in the order of the numbers, the mirrored region, and then, if there are
        labels, the region of the same tissue.

    Notes
    -----
    The mirrored region is the mirror image of the lesion in the mask, excluding the voxels of all
    lesions and cerebrospinal fluid. The conductivity of cerebrospinal fluid is several times the
    conductivity of brain tissue, so a few voxels of an asymmetric ventricle would change the mean
    of the region.

    The tissue of a lesion is the most frequent tissue of its mirrored region. If the mirrored
    region has no labels, the most frequent tissue within `SURROUNDINGS_MM` around the lesion is
    used. The region of the same tissue contains all voxels of this tissue that are at least
    `MARGIN_MM` away from any lesion.
    """
    numbers = lesions.values
    healthy = mask & (numbers == 0)
    if labels is not None:
        left_out = (TISSUES["CSF"].name, LESION.name)
        healthy &= ~np.isin(labels, [one for one, name in names.items() if name in left_out])
    reflected = np.zeros_like(numbers)
    if plane is not None:
        inside = replace(lesions, values=np.where(mask, numbers, 0))
        reflected = resample_nearest(inside, lesions.grid, plane)
    spacing = lesions.grid.spacing
    far = None
    if labels is not None:
        far = healthy & (ndimage.distance_transform_edt(numbers == 0, sampling=spacing) > MARGIN_MM)
    for number in np.unique(numbers[mask & (numbers > 0)]).tolist():
        mirrored = healthy & (reflected == number)
        tissue = _most_frequent(labels, mirrored)
        yield Reference(number, "mirrored", tissue, mirrored)
        if labels is None or far is None:
            continue
        tissue = tissue or _most_frequent(labels, _around(numbers == number, healthy, spacing))
        yield Reference(number, "same tissue", tissue, far & (labels == tissue) & (tissue > 0))


def _most_frequent(labels: NDArray[np.integer] | None, region: NDArray[np.bool_]) -> int:
    """Return the most frequent nonzero label in a region; 0 if all labels are 0."""
    if labels is None:
        return 0
    found, counts = np.unique(labels[region & (labels > 0)], return_counts=True)
    return int(found[counts.argmax()]) if found.size else 0


def _around(
    lesion: NDArray[np.bool_], healthy: NDArray[np.bool_], spacing: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return the healthy voxels within `SURROUNDINGS_MM` around a lesion."""
    return healthy & (ndimage.distance_transform_edt(~lesion, sampling=spacing) <= SURROUNDINGS_MM)
