"""True conductivity of a phantom, and the regions in which maps are compared with it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from bids_qcm.statistics import Region, eroded_tissues

SURROUNDINGS = (2.0, 6.0)
"""Minimum and maximum distance of the surroundings from a lesion, in mm."""

VARIATION_EROSIONS = (2, 4)
"""Erosion radii for the variation within tissues, in voxels."""

_SMALLEST_VARIATION = 0.01
"""Minimum robust standard deviation of a tissue with variation, relative to the median."""

_LARGEST_DEVIATION = 2.5
"""Maximum deviation from the median in a pure tissue, in robust standard deviations. Voxels beyond
this limit are mixtures of tissues."""


@dataclass(frozen=True, eq=False)
class Lesion:
    """Small lesion and its surroundings.

    Attributes
    ----------
    diameter : int
        Diameter of the lesion in mm.
    number : int
        Number of the lesion among the lesions of the same diameter, starting at 1.
    label : int
        Most frequent label in the lesion, which is the label of all voxels in its surroundings.
    box : tuple of slice
        Part of the volume that contains the lesion and its surroundings.
    inside, around : ndarray of bool
        Masks of the lesion and the surroundings in this part of the volume.
    """

    diameter: int
    number: int
    label: int
    box: tuple[slice, ...]
    inside: NDArray[np.bool_]
    around: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Truth:
    """True conductivity, tissues and lesions of a phantom's brain.

    The regions are computed once and can be used for any number of maps.

    Attributes
    ----------
    conductivity : ndarray of float, shape (X, Y, Z)
        True conductivity in S/m.
    labels : ndarray of int, shape (X, Y, Z)
        Tissue labels. Small lesions are not labelled.
    brain : ndarray of bool, shape (X, Y, Z)
        Brain mask.
    small_lesion_diameter : ndarray of int, shape (X, Y, Z)
        Diameter of the small lesion at each voxel in mm; 0 outside small lesions.
    voxel_size : tuple of 3 floats
        Voxel size in mm.
    """

    conductivity: NDArray[np.floating]
    labels: NDArray[np.integer]
    brain: NDArray[np.bool_]
    small_lesion_diameter: NDArray[np.integer]
    voxel_size: tuple[float, float, float]

    @cached_property
    def tissues(self) -> tuple[Region, ...]:
        """Brain tissues after each erosion."""
        return tuple(eroded_tissues(self.labels * self.brain))

    @cached_property
    def varying_tissues(self) -> tuple[Region, ...]:
        """Eroded regions of the tissues with variation, for :func:`score_variation`."""
        # remove small lesions first, so that erosion also removes the voxels around them
        labels = self.labels * (self.brain & (self.small_lesion_diameter == 0))
        regions = []
        for region in eroded_tissues(labels, VARIATION_EROSIONS):
            truth = self.conductivity[region.voxels]
            if not truth.size:
                continue
            median = np.median(truth)
            sd = stats.median_abs_deviation(truth, scale="normal")
            if sd >= _SMALLEST_VARIATION * median:
                pure = np.abs(self.conductivity - median) <= _LARGEST_DEVIATION * sd
                regions.append(Region(region.label, region.erosion, region.voxels & pure))
        return tuple(regions)

    @cached_property
    def lesions(self) -> tuple[Lesion, ...]:
        """Small lesions, sorted by increasing diameter."""
        lesions = []
        diameters = self.small_lesion_diameter
        for diameter in np.unique(diameters[diameters > 0]).tolist():
            # voxels of the same lesion may be connected only at a corner
            parts, _ = ndimage.label(diameters == diameter, structure=np.ones((3, 3, 3)))
            for number, box in enumerate(ndimage.find_objects(parts), start=1):
                lesions.append(self._lesion(diameter, number, parts, box))
        return tuple(lesions)

    def _lesion(
        self, diameter: int, number: int, parts: NDArray[np.integer], box: tuple[slice, ...]
    ) -> Lesion:
        nearest, farthest = SURROUNDINGS
        reach = [int(farthest // size) for size in self.voxel_size]
        box = tuple(
            slice(max(part.start - margin, 0), part.stop + margin)
            for part, margin in zip(box, reach, strict=True)
        )
        inside = parts[box] == number
        label = int(np.bincount(self.labels[box][inside]).argmax())
        distance = ndimage.distance_transform_edt(~inside, sampling=self.voxel_size)
        around = (
            (distance > nearest)
            & (distance <= farthest)
            & self.brain[box]
            & (self.labels[box] == label)
            & (self.small_lesion_diameter[box] == 0)
        )
        return Lesion(diameter, number, label, box, inside, around)
