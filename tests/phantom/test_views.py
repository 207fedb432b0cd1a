import numpy as np
import pytest

from bids_qcm.phantom.anatomy import make_anatomy
from bids_qcm.phantom.truth import Truth
from bids_qcm.phantom.views import representative_slice


def truth(anatomy):
    size = (anatomy.grid.resolution,) * 3
    conductivity = np.zeros(anatomy.labels.shape)
    return Truth(conductivity, anatomy.labels, anatomy.brain, anatomy.small_lesion_diameter, size)


def height(anatomy):
    return anatomy.grid.centres(2)[representative_slice(truth(anatomy))]


@pytest.mark.parametrize("resolution", [4.0, 2.0])
def test_the_slice_shows_the_lateral_ventricles(resolution):
    assert 10 <= height(make_anatomy(resolution)) <= 26


def test_the_slice_shows_the_tumour_and_the_ventricles():
    anatomy = make_anatomy(2.0, tumour_diameter=20)
    shown = anatomy.labels[:, :, representative_slice(truth(anatomy))]
    assert (shown == 7).any()
    assert (shown[shown.shape[0] // 3 : -shown.shape[0] // 3] == 3).sum() * 2**2 > 200


def test_the_slice_has_the_most_brain_voxels_if_there_are_no_ventricles():
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[2:5, 2:5, 2:7] = 2
    labels[2:7, 2:7, 5] = 2
    everywhere = Truth(labels * 0.3, labels, labels > 0, np.zeros_like(labels), (2.0, 2.0, 2.0))
    assert representative_slice(everywhere) == 5
