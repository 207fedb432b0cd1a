"""A tumour and small lesions: balls of known place, size and conductivity."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from bids_qcm.phantom.grids import Grid

TUMOUR_CENTRE = (-28.0, -8.0, 34.0)
"""In the left centrum semiovale, MNI152 mm: 11 mm from the nearest gray matter."""

SMALL_LESION_DIAMETERS = (4, 6, 8, 12, 16)
"""mm."""

SMALL_LESIONS_PER_DIAMETER = 3

_GAP = 15.0
"""Between the surfaces of neighbouring lesions, mm: the radius of a typical kernel."""

_TUMOUR_REACH = 20.0
"""Radius that is kept for the tumour, mm."""

_DEPTH = 2.0
"""Between the surface of a small lesion and the nearest fluid, mm."""

_SUBVOXELS = 4


@dataclass(frozen=True)
class Ball:
    """A ball.

    Parameters
    ----------
    centre
        MNI152 mm.
    diameter
        mm.
    """

    centre: tuple[float, float, float]
    diameter: float

    def fill(self, grid: Grid) -> tuple[tuple[slice, ...], np.ndarray]:
        """Say how much of each voxel is in the ball.

        Parameters
        ----------
        grid
            The voxels.

        Returns
        -------
        where : tuple of slice
            The part of the grid around the ball.
        fraction : ndarray
            Of each voxel of that part, float32, from 0 to 1.
        """
        reach = self.diameter / 2 + grid.resolution
        within = [np.abs(grid.centres(a) - self.centre[a]) <= reach for a in range(3)]
        where = tuple(slice(w.argmax(), w.argmax() + w.sum()) for w in within)
        steps = ((np.arange(_SUBVOXELS) + 0.5) / _SUBVOXELS - 0.5) * grid.resolution
        squares = [
            ((grid.centres(a)[where[a], None] + steps - self.centre[a]) ** 2).ravel()
            for a in range(3)
        ]
        inside = sum(np.ix_(*squares)) <= (self.diameter / 2) ** 2
        blocks = inside.reshape(*(n for w in within for n in (int(w.sum()), _SUBVOXELS)))
        return where, blocks.mean(axis=(1, 3, 5), dtype=np.float32)


def place_small_lesions(
    gray: np.ndarray, white: np.ndarray, grid: Grid, rng: np.random.Generator
) -> list[Ball]:
    """Place small lesions in gray and white matter, away from fluid, tumour and each other.

    Of each diameter there are three; the centres of two are in white matter and of one in gray.

    Parameters
    ----------
    gray, white
        Fractions of gray and white matter, shape of `grid`.
    grid
        It decides the places, so it should not depend on the phantom's resolution.
    rng
        Source of the places.

    Returns
    -------
    list of Ball
        The largest first.
    """
    depth = ndimage.distance_transform_edt(gray + white > 0.9, sampling=grid.resolution)
    lesions: list[Ball] = []
    taken = [Ball(TUMOUR_CENTRE, 2 * _TUMOUR_REACH)]
    for diameter in sorted(SMALL_LESION_DIAMETERS, reverse=True):
        for tissue in (white, gray, white):
            voxels = np.argwhere((tissue > 0.5) & (depth >= diameter / 2 + _DEPTH))
            centres = grid.origin + grid.resolution * voxels
            free = np.ones(len(centres), dtype=bool)
            for other in taken:
                apart = (diameter + other.diameter) / 2 + _GAP
                free &= ((centres - other.centre) ** 2).sum(axis=1) >= apart**2
            x, y, z = rng.choice(centres[free]).tolist()
            lesions.append(Ball((x, y, z), diameter))
            taken.append(lesions[-1])
    return lesions
