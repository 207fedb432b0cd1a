"""Selection of the phantom slice to display."""

import numpy as np
from scipy import ndimage

from bids_qcm.phantom.tissues import TISSUE_ORDER, TISSUES
from bids_qcm.phantom.truth import Truth

_VENTRICLE_DEPTH = 35.0
"""Distance from the brain surface, in mm, beyond which fluid belongs to the ventricles."""

_ENOUGH = 1 / 3
"""Minimum cross-section of the ventricles in the slice, relative to the largest cross-section."""


def representative_slice(truth: Truth) -> int:
    """Return the index of an axial slice that shows the ventricles and most lesion voxels.

    Parameters
    ----------
    truth : Truth

    Returns
    -------
    int
        Index along the third axis. Candidates are the slices with at least a third of the
        ventricles' largest cross-section; without ventricles, all slices are candidates. The
        function returns the candidate with the most lesion voxels, including tumour voxels. Ties
        are broken by the number of ventricle voxels, and then by the number of brain voxels.
    """
    depth = ndimage.distance_transform_edt(truth.brain, sampling=truth.voxel_size)
    ventricles = (truth.labels == _index("CSF")) & (depth > _VENTRICLE_DEPTH)
    lesions = truth.brain & ((truth.labels == _index("L")) | (truth.small_lesion_diameter > 0))
    areas = [part.sum(axis=(0, 1)) for part in (truth.brain, ventricles, lesions)]
    enough = np.flatnonzero(areas[1] >= _ENOUGH * areas[1].max())
    # lexsort sorts by the last key first
    return int(enough[np.lexsort([area[enough] for area in areas])[-1]])


def _index(abbreviation: str) -> int:
    return TISSUES[TISSUE_ORDER[abbreviation]].index
