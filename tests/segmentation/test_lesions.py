import numpy as np
import pytest

from bids_qcm.grids import Grid, Volume
from bids_qcm.segmentation.lesions import (
    add_lesions,
    number_lesions,
    reference_regions,
    separate_lesions,
)
from bids_qcm.segmentation.symmetry import MirrorPlane

SHAPE = (21, 12, 10)
NAMES = {1: "Gray Matter", 2: "White Matter", 3: "Cerebrospinal Fluid"}
# the plane x = 10, in voxels of 2 mm
PLANE = MirrorPlane(np.array([1.0, 0, 0]), 20.0, 1.0)


def box(*ranges, value=1, shape=SHAPE):
    values = np.zeros(shape, np.int32)
    values[tuple(slice(*one) for one in ranges)] = value
    return values


def volume(values):
    return Volume(values, Grid(SHAPE, np.diag([2.0, 2, 2, 1])))


def test_parts_of_a_mask_are_numbered_by_volume():
    small, large = box((1, 2), (1, 2), (1, 2)), box((5, 8), (5, 8), (5, 8))
    found = number_lesions(255 * (small + large))
    np.testing.assert_array_equal(found, large + 2 * small)


def test_voxels_that_share_a_corner_are_one_lesion():
    assert number_lesions(box((1, 2), (1, 2), (1, 2)) + box((2, 3), (2, 3), (2, 3))).max() == 1


def test_parts_of_the_same_size_keep_their_order():
    first, second = box((1, 2), (1, 2), (1, 2)), box((5, 6), (1, 2), (1, 2))
    np.testing.assert_array_equal(number_lesions(first + second), first + 2 * second)


def test_the_labels_of_an_image_are_the_lesion_numbers():
    values = box((1, 2), (1, 2), (1, 2), value=5) + box((4, 5), (1, 2), (1, 2), value=2)
    values += box((8, 9), (1, 2), (1, 2), value=2)
    np.testing.assert_array_equal(number_lesions(values), values)


@pytest.mark.parametrize(
    ("values", "part"), [(np.zeros(SHAPE, int), "empty"), (-box((1, 2)), "negative values")]
)
def test_values_that_are_not_lesions_are_refused(values, part):
    with pytest.raises(ValueError, match=part):
        number_lesions(values)


def test_lesions_have_a_separate_label():
    labels, lesions = np.full(SHAPE, 2), box((1, 3), (1, 3), (1, 3), value=4)
    added, names = add_lesions(labels, NAMES, lesions)
    np.testing.assert_array_equal(added, np.where(lesions, 7, 2))
    assert names == {2: "White Matter", 7: "Lesion"}


def test_lesions_get_a_new_label_if_a_tissue_has_label_7():
    lesions = box((1, 3), (1, 3), (1, 3))
    added, names = add_lesions(np.full(SHAPE, 7), {7: "Vermis"}, lesions)
    assert names == {7: "Vermis", 100: "Lesion"}
    assert set(added[lesions > 0]) == {100}


def test_each_lesion_is_separate_in_an_inversion():
    lesions = box((1, 3), value=1) + box((5, 6), value=3)
    labels, separate = separate_lesions(np.full(SHAPE, 2), lesions, (2, 2, 2))
    np.testing.assert_array_equal(labels, np.where(lesions, 2 + lesions, 2))
    assert separate == [1, 3]


def test_a_lesion_smaller_than_the_fit_keeps_the_labels_of_its_tissue():
    size = (30, 30, 30)
    distance = np.linalg.norm(np.indices(size) - np.reshape([14, 14, 14], (3, 1, 1, 1)), axis=0)
    for radius, separate in ((4.5, [1]), (3.5, [])):
        lesion = (distance < radius).astype(np.int32)
        labels, found = separate_lesions(np.ones(size, int), lesion, (2, 2, 2), 8.0)
        assert found == separate
        assert len(np.unique(labels)) == 1 + len(separate)
    # 9 mm is enough for the fit, but less than 4 voxels of 4 mm
    assert separate_lesions(np.ones(size, int), lesion, (4, 4, 4), 8.0)[1] == []


def references(lesions, mask=None, labels=None, plane=PLANE):
    mask = np.ones(SHAPE, bool) if mask is None else mask
    return list(reference_regions(volume(lesions), mask, plane, labels, NAMES))


def test_the_mirrored_region_is_reflected():
    (found,) = references(box((2, 5), (3, 5), (3, 6)))
    assert (found.kind, found.tissue) == ("mirrored", 0)
    np.testing.assert_array_equal(found.voxels, box((16, 19), (3, 5), (3, 6)) > 0)


def test_lesions_and_fluid_and_the_outside_are_not_a_reference():
    lesions = box((2, 6), (3, 5), (3, 4)) + box((18, 19), (3, 5), (3, 4), value=2)
    labels = np.full(SHAPE, 2)
    labels[17] = 3
    mask = np.ones(SHAPE, bool)
    mask[16] = False
    first = references(lesions, mask, labels)[0]
    np.testing.assert_array_equal(first.voxels, box((15, 16), (3, 5), (3, 4)) > 0)


def test_the_reference_tissue_is_the_tissue_of_the_mirrored_region():
    lesions = box((2, 4), (3, 5), (3, 5))
    labels = np.full(SHAPE, 1)
    labels[10:] = 2
    mirrored, same = references(lesions, labels=labels)
    assert (mirrored.tissue, same.kind, same.tissue) == (2, "same tissue", 2)
    np.testing.assert_array_equal(same.voxels, labels == 2)


def test_the_surroundings_determine_the_tissue_if_there_is_no_mirrored_region():
    lesions = box((2, 4), (3, 5), (3, 5))
    labels = np.full(SHAPE, 1)
    labels[10:] = 2
    mirrored, same = references(lesions, labels=labels, plane=None)
    assert not mirrored.voxels.any()
    assert same.tissue == 1
    # 5 mm correspond to two and a half voxels
    np.testing.assert_array_equal(same.voxels[:8, 3, 3], np.arange(8) >= 6)


def test_a_lesion_across_the_middle_has_no_mirrored_region():
    (found,) = references(box((8, 13), (3, 5), (3, 5)))
    assert not found.voxels.any()


def test_lesions_outside_the_mask_are_left_out():
    lesions = box((2, 4), (3, 5), (3, 5)) + box((6, 8), (3, 5), (3, 5), value=2)
    assert [one.lesion for one in references(lesions, mask=lesions != 1)] == [2]
