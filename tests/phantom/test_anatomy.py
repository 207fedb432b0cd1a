import numpy as np
import pytest

from bids_qcm.phantom.anatomy import make_labels


@pytest.fixture(scope="module")
def heads():
    return {resolution: make_labels(resolution) for resolution in (1.0, 2.0, 4.0)}


def volumes_ml(labels, resolution):
    return np.bincount(labels.ravel(), minlength=4)[1:] * resolution**3 / 1000


def test_volumes_are_plausible(heads):
    gray, white, fluid = volumes_ml(heads[1.0][0], 1.0)
    assert 900 < gray < 1200  # an average of many brains blurs the cortex outwards
    assert 500 < white < 750
    assert 100 < fluid < 300


@pytest.mark.parametrize("resolution", [2.0, 4.0])
def test_volumes_do_not_depend_on_resolution(heads, resolution):
    truth = volumes_ml(heads[1.0][0], 1.0)
    found = volumes_ml(heads[resolution][0], resolution)
    assert found.sum() == pytest.approx(truth.sum(), rel=0.01)
    # The CSF over the cortex is thinner than a voxel: gray matter takes part of it.
    assert found[1] == pytest.approx(truth[1], rel=0.06)
    assert found[0] == pytest.approx(truth[0], rel=0.12)


@pytest.mark.parametrize("resolution", [1.0, 2.0, 4.0])
def test_there_is_a_margin_of_at_least_four_voxels(heads, resolution):
    inside = np.argwhere(heads[resolution][0])
    shape = np.array(heads[resolution][0].shape)
    assert inside.min() >= 4
    assert (shape - 1 - inside.max(axis=0)).min() >= 4
    assert (shape - 1 - inside.max(axis=0)).max() <= 6


def test_coarse_grids_cover_the_same_brain(heads):
    centres = []
    for labels, affine in heads.values():
        voxel = np.argwhere(labels).mean(axis=0)
        centres.append(affine[:3, :3] @ voxel + affine[:3, 3])
    np.testing.assert_allclose(centres[1:], [centres[0]] * 2, atol=0.5)


def test_type_and_orientation(heads):
    labels, affine = heads[4.0]
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(affine[:3, :3], np.diag([4.0, 4.0, 4.0]))


def test_resolution_between_whole_millimetres():
    labels, affine = make_labels(3.3)
    assert affine[0, 0] == 3.3
    assert volumes_ml(labels, 3.3).sum() == pytest.approx(1880, rel=0.02)
