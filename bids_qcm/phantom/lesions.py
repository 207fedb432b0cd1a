"""Spherical tumour and small lesions of known position, size and conductivity."""

from dataclasses import dataclass
from functools import reduce

import numpy as np
from scipy import ndimage

from bids_qcm.phantom.grids import IsotropicGrid

TUMOUR_CENTRE = (-28.0, -8.0, 34.0)
"""Centre of the tumour in the left centrum semiovale, 11 mm from the nearest gray matter, MNI152
coordinates in mm."""

SMALL_LESION_DIAMETERS = (4, 6, 8, 12, 16)
"""Diameters of the small lesions in mm."""

_GAP = 15.0
"""Minimum gap between the surfaces of two lesions, in mm: the radius of a typical kernel."""

_TUMOUR_REACH = 20.0
"""Radius that is reserved for the tumour in mm."""

_DEPTH = 2.0
"""Minimum gap between the surface of a small lesion and the nearest fluid, in mm."""

_SUBVOXELS = 4
"""Number of sample points along each edge of a voxel."""


@dataclass(frozen=True)
class Ball:
    """Ball in MNI152 space.

    Parameters
    ----------
    centre
        MNI152 coordinates in mm.
    diameter
        Diameter in mm.
    """

    centre: tuple[float, float, float]
    diameter: float

    def fill(self, grid: IsotropicGrid) -> tuple[tuple[slice, ...], np.ndarray]:
        """Return the fraction of each voxel that is inside the ball.

        Parameters
        ----------
        grid
            Grid of the voxels.

        Returns
        -------
        where : tuple of slice
            Part of the grid around the ball.
        fraction : ndarray
            Fraction of each voxel in this part that is inside the ball, float32, from 0 to 1.
        """
        reach = self.diameter / 2 + grid.resolution
        within = [np.abs(grid.centres(a) - self.centre[a]) <= reach for a in range(3)]
        where = tuple(slice(w.argmax(), w.argmax() + w.sum()) for w in within)
        steps = ((np.arange(_SUBVOXELS) + 0.5) / _SUBVOXELS - 0.5) * grid.resolution
        squares = [
            ((grid.centres(a)[where[a], None] + steps - self.centre[a]) ** 2).ravel()
            for a in range(3)
        ]
        inside = reduce(np.add, np.ix_(*squares)) <= (self.diameter / 2) ** 2
        blocks = inside.reshape(*(n for w in within for n in (int(w.sum()), _SUBVOXELS)))
        return where, blocks.mean(axis=(1, 3, 5), dtype=np.float32)


def place_small_lesions(
    gray: np.ndarray, white: np.ndarray, grid: IsotropicGrid, rng: np.random.Generator
) -> list[Ball]:
    """Place small lesions in gray and white matter, away from fluid, tumour and each other.

    There are three lesions of each diameter: two are centred in white matter, and one is centred in
    gray matter.

    Parameters
    ----------
    gray, white
        Fractions of gray and white matter on `grid`.
    grid
        Grid of the possible centres. To place lesions independently of the phantom's resolution,
        always use the same grid.
    rng
        Random number generator for the positions.

    Returns
    -------
    list of Ball
        Lesions, sorted from largest to smallest.
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
