"""What is true of a phantom, and the regions in which maps are compared with it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from bids_qcm.statistics import Region, eroded_tissues

SURROUNDINGS = (2.0, 6.0)
"""A lesion's surroundings are farther from it than the first and at most the second, mm."""

VARIATION_EROSIONS = (2, 4)
"""Voxels to erode tissues by before their variation is looked at."""

_SMALLEST_VARIATION = 0.01
"""Robust standard deviation over median from which on a tissue's truth is said to vary."""

_LARGEST_DEVIATION = 2.5
"""Robust standard deviations from the median beyond which a voxel's truth is that of a mixture."""


@dataclass(frozen=True, eq=False)
class Lesion:
    """A lesion and its surroundings.

    Attributes
    ----------
    diameter : int
        mm.
    number : int
        From 1, among those of the same diameter.
    label : int
        The tissue that most of its voxels have by the labels, and all of its surroundings.
    box : tuple of slice
        The part of the volume that holds both.
    inside, around : ndarray of bool
        Voxels of the lesion and of its surroundings in that part.
    """

    diameter: int
    number: int
    label: int
    box: tuple[slice, ...]
    inside: NDArray[np.bool_]
    around: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Truth:
    """What is true of a phantom's brain; regions are found once, for any number of maps.

    Attributes
    ----------
    conductivity : ndarray of float, shape (X, Y, Z)
        S/m.
    labels : ndarray of int, shape (X, Y, Z)
        Tissues; they do not show small lesions.
    brain : ndarray of bool, shape (X, Y, Z)
    small_lesion_diameter : ndarray of int, shape (X, Y, Z)
        Diameter of the small lesion that a voxel belongs to, mm; 0 in none.
    voxel_size : tuple of 3 floats
        mm.
    """

    conductivity: NDArray[np.floating]
    labels: NDArray[np.integer]
    brain: NDArray[np.bool_]
    small_lesion_diameter: NDArray[np.integer]
    voxel_size: tuple[float, float, float]

    @cached_property
    def tissues(self) -> tuple[Region, ...]:
        """The tissues of the brain, eroded."""
        return tuple(eroded_tissues(self.labels * self.brain))

    @cached_property
    def varying_tissues(self) -> tuple[Region, ...]:
        """What is left of the tissues for :func:`score_variation`."""
        # a lesion's border is to erosion as that of a tissue
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
        """The small lesions, the smallest first."""
        lesions = []
        diameters = self.small_lesion_diameter
        for diameter in np.unique(diameters[diameters > 0]).tolist():
            # voxels of one lesion may touch at a corner only
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
