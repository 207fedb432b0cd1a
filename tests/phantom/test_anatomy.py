import math

import numpy as np
import pytest
from scipy import ndimage

from bids_qcm.phantom.anatomy import make_anatomy
from bids_qcm.phantom.lesions import TUMOUR_CENTRE
from bids_qcm.phantom.tissues import TISSUES

RESOLUTIONS = (1.0, 2.0, 4.0)
GM, WM, CSF, BONE, SOFT, LESION = range(6)


@pytest.fixture(scope="module")
def heads():
    return {
        resolution: make_anatomy(
            resolution, tumour_diameter=20, small_lesions_rng=np.random.default_rng(0)
        )
        for resolution in RESOLUTIONS
    }


@pytest.fixture(scope="module")
def healthy():
    return make_anatomy(2.0)


def volumes_ml(anatomy):
    return anatomy.fractions.sum(axis=(1, 2, 3), dtype=float) * anatomy.grid.resolution**3 / 1000


def test_volumes_are_plausible(healthy):
    gray, white, fluid, bone, soft, lesion = volumes_ml(healthy)
    assert 900 < gray < 1200  # the cortex is thicker in an average brain than in individual brains
    assert 500 < white < 750
    assert 100 < fluid < 300
    assert 500 < bone < 900
    assert 500 < soft < 900
    assert lesion == 0


@pytest.mark.parametrize("resolution", RESOLUTIONS[1:])
def test_volumes_do_not_depend_on_resolution(heads, resolution):
    truth, found = volumes_ml(heads[1.0]), volumes_ml(heads[resolution])
    # In voxels at the brain surface, bone may replace some of the fluid.
    np.testing.assert_allclose(found, truth, rtol=0.02)


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_fractions_add_up_to_one_in_the_head(heads, resolution):
    head = heads[resolution]
    total = head.fractions.sum(axis=0)
    np.testing.assert_allclose(total[total > 0], 1, rtol=1e-5)
    assert head.fractions.min() >= 0
    np.testing.assert_array_equal(head.labels > 0, total > 0)
    assert ndimage.label(total > 0)[1] == 1
    assert ndimage.label(total == 0)[1] == 1, "the head has no holes"


def test_most_voxels_contain_one_tissue(heads):
    largest = heads[1.0].fractions.max(axis=0)[heads[1.0].labels > 0]
    assert np.mean(largest > 0.95) > 0.8
    assert 0.02 < np.mean(largest < 0.75) < 0.2


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_labels_name_the_largest_fraction(heads, resolution):
    head = heads[resolution]
    indices = np.array([tissue.index for tissue in TISSUES])
    largest = head.fractions.max(axis=0)
    sure = largest > 0.5
    assert np.array_equal(head.labels[sure], indices[head.fractions.argmax(axis=0)[sure]])
    assert set(np.unique(head.labels[head.brain])) == {1, 2, 3, 7}
    assert set(np.unique(head.labels[~head.brain])) == {0, 4, 5}


def test_skull_and_scalp_have_the_correct_thickness(heads):
    head = heads[1.0]
    distance = ndimage.distance_transform_edt(~head.brain) - 0.5
    bone, soft = head.labels == 4, head.labels == 5
    assert np.percentile(distance[bone], 99) == pytest.approx(7, abs=1.5)
    assert np.percentile(distance[soft], [1, 99]) == pytest.approx([7, 13], abs=1.5)
    # skull and scalp cover the whole brain, including the bottom of the template
    assert not (ndimage.binary_dilation(head.brain, iterations=4) & (head.labels == 0)).any()


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_there_is_a_margin_of_at_least_four_voxels(heads, resolution):
    inside = np.argwhere(heads[resolution].labels)
    shape = np.array(heads[resolution].labels.shape)
    assert inside.min() >= 4
    assert (shape - 1 - inside.max(axis=0)).min() >= 4
    assert (shape - 1 - inside.max(axis=0)).max() <= 8


def test_coarse_grids_cover_the_same_brain(heads):
    centres = []
    for head in heads.values():
        voxel = np.argwhere(head.brain).mean(axis=0)
        centres.append((head.grid.affine @ [*voxel, 1])[:3])
    np.testing.assert_allclose(centres[1:], [centres[0]] * 2, atol=0.5)


@pytest.mark.parametrize("resolution", [0.8, 3.3])
def test_any_resolution_is_possible(resolution):
    head = make_anatomy(resolution)
    assert head.grid.affine[0, 0] == resolution
    assert head.labels.dtype == head.small_lesion_diameter.dtype == np.uint8
    assert volumes_ml(head)[:3].sum() == pytest.approx(1883, rel=0.01)


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_tumour_has_the_correct_size_and_position_and_replaces_white_matter(
    heads, healthy, resolution
):
    head = heads[resolution]
    assert volumes_ml(head)[LESION] == pytest.approx(math.pi / 6 * 2**3, rel=0.03)
    voxel = ndimage.center_of_mass(head.fractions[LESION])
    np.testing.assert_allclose((head.grid.affine @ [*voxel, 1])[:3], TUMOUR_CENTRE, atol=0.1)
    if resolution == healthy.grid.resolution:
        lost = volumes_ml(healthy) - volumes_ml(head)
        assert lost[WM] > 0.95 * -lost[LESION]
        np.testing.assert_allclose(lost.sum(), 0, atol=0.01)


@pytest.mark.parametrize("diameter", [4, 6, 8, 12, 16])
def test_small_lesions_have_the_correct_volume(heads, diameter):
    head = heads[1.0]
    own = head.small_lesion_diameter == diameter
    assert ndimage.label(own)[1] == 3
    # include the surrounding voxels, because less than half of their volume is in the lesion
    near = ndimage.binary_dilation(own, iterations=2)
    volume = head.small_lesion_fraction[near].sum()
    assert volume == pytest.approx(3 * math.pi / 6 * diameter**3, rel=0.05)
    assert own.sum() == pytest.approx(3 * math.pi / 6 * diameter**3, rel=0.15)


def test_small_lesions_have_the_same_position_at_every_resolution(heads):
    for diameter in (4, 16):
        found = []
        for head in heads.values():
            voxels, n = ndimage.label(head.small_lesion_diameter == diameter)
            assert n == 3
            centres = ndimage.center_of_mass(voxels > 0, voxels, [1, 2, 3])
            found.append(head.grid.affine[:3, :3] @ np.transpose(centres))
            found[-1] += head.grid.affine[:3, 3:]
            found[-1] = found[-1][:, np.argsort(found[-1][0])]
        np.testing.assert_allclose(found[1], found[0], atol=1)
        np.testing.assert_allclose(found[2], found[0], atol=4)


def test_small_lesions_are_in_gray_and_white_matter_and_not_in_the_labels(heads):
    head = heads[1.0]
    there = head.small_lesion_diameter > 0
    assert set(np.unique(head.labels[there])) == {1, 2}
    assert head.fractions[CSF][there].max() < 0.1
