"""Which part of a phantom to show."""

import numpy as np
from scipy import ndimage

from bids_qcm.phantom.tissues import TISSUE_ORDER, TISSUES
from bids_qcm.phantom.truth import Truth

_VENTRICLE_DEPTH = 35.0
"""Fluid farther from the surface of the brain than this is in the ventricles, mm."""

_ENOUGH = 1 / 3
"""Share of the largest cross-section of the ventricles that a slice must show."""


def telling_slice(truth: Truth) -> int:
    """Choose the axial slice that shows the ventricles and, if there are any, lesions.

    Parameters
    ----------
    truth : Truth

    Returns
    -------
    int
        Index along the third axis: of the slices with at least a third of the ventricles' largest
        cross-section, the one with most lesion, tumour included; of several such, the one with most
        ventricle. Without ventricles, that is the slice with most lesion, then with most brain.
    """
    depth = ndimage.distance_transform_edt(truth.brain, sampling=truth.voxel_size)
    ventricles = (truth.labels == _index("CSF")) & (depth > _VENTRICLE_DEPTH)
    lesions = truth.brain & ((truth.labels == _index("L")) | (truth.small_lesion_diameter > 0))
    areas = [part.sum(axis=(0, 1)) for part in (truth.brain, ventricles, lesions)]
    enough = np.flatnonzero(areas[1] >= _ENOUGH * areas[1].max())
    # the last key counts first
    return int(enough[np.lexsort([area[enough] for area in areas])[-1]])


def _index(abbreviation: str) -> int:
    return TISSUES[TISSUE_ORDER[abbreviation]].index
