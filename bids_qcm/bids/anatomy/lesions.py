"""Read lesion masks, and resample them to the grid of the phase."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_grid, read_integers
from bids_qcm.grids import Grid, Volume
from bids_qcm.segmentation.lesions import number_lesions
from bids_qcm.segmentation.resampling import PointMap, resample_nearest


def read_lesions(path: Path) -> Volume:
    """Read a lesion mask and number its lesions.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Volume of int32
        Numbers as in :func:`~bids_qcm.segmentation.lesions.number_lesions`.

    Raises
    ------
    InputError
        If a value is not an integer or is negative, or if all values are 0.
    """
    try:
        return Volume(number_lesions(read_integers(path, allow_empty=True)), read_grid(path), path)
    except ValueError as error:
        raise InputError(
            path, str(error), "correct the mask, or delete it if there is no lesion"
        ) from error


def import_lesions(
    auxiliary: AuxiliaryImage, grid: Grid, point_map: PointMap | None
) -> tuple[NDArray[np.int32], list[int]]:
    """Read the lesion masks of an acquisition and resample them by nearest neighbour.

    Parameters
    ----------
    auxiliary : AuxiliaryImage
        Image of kind ``lesions``.
    grid : Grid
        Grid of the phase.
    point_map : callable or None
        Maps points from the coordinates of the phase to the coordinates of the masks. None if the
        masks are on the grid of the phase.

    Returns
    -------
    lesions : ndarray of int32, shape of `grid`
        Lesion numbers; 0 outside lesions. The numbers of each file begin after the largest number
        of the previous file. Where masks overlap, the first file has priority.
    numbers : list of int
        All lesion numbers, including lesions without a voxel on the grid.

    Raises
    ------
    InputError
        As :func:`read_lesions`.
    """
    lesions = np.zeros(grid.shape, np.int32)
    numbers: list[int] = []
    for path in auxiliary.paths:
        read, before = read_lesions(path), max(numbers, default=0)
        numbers += (before + np.unique(read.values[read.values > 0])).tolist()
        resampled = read.values
        if point_map is not None:
            resampled = resample_nearest(read, grid, point_map)
        free = (lesions == 0) & (resampled > 0)
        lesions[free] = before + resampled[free]
    return lesions, numbers
