import numpy as np
import pytest

from bids_qcm.segmentation.tissues import Label, to_tissues

TABLE = {
    1: Label("stem", "other"),
    2: Label("left", "WM"),
    4: Label("lesion", "other"),
    41: Label("right", "WM"),
    100: Label("chiasm", "other"),
    2035: Label("insula", "GM"),
}


def test_labels_of_one_tissue_are_merged():
    labels = np.array([[[0, 2, 41, 2035]]], np.int16)
    tissues, names = to_tissues(labels, TABLE)
    np.testing.assert_array_equal(tissues, [[[0, 2, 2, 1]]])
    assert tissues.dtype == np.int32
    assert names == {1: "Gray Matter", 2: "White Matter"}


def test_other_labels_are_not_merged_and_keep_their_number_if_it_is_not_a_tissue_index():
    tissues, names = to_tissues(np.array([1, 2, 4, 100]), TABLE)
    assert tissues.tolist() == [101, 2, 4, 100]
    assert names == {2: "White Matter", 4: "lesion", 100: "chiasm", 101: "stem"}


def test_unknown_labels_are_listed():
    with pytest.raises(ValueError, match=r"not in the label table: -3, 7$"):
        to_tissues(np.array([0, 7, 2, -3]), TABLE)
    with pytest.raises(ValueError, match="519 and 80 more"):
        to_tissues(np.arange(500, 600), TABLE)


def test_an_empty_segmentation_is_refused():
    with pytest.raises(ValueError, match="is empty"):
        to_tissues(np.zeros((2, 2, 2), int), TABLE)
