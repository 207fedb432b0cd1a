import numpy as np
import pytest

from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.segmentations import (
    import_mask,
    import_tissues,
    label_table,
    read_tissues,
)
from bids_qcm.bids.anatomy.sources import FREESURFER_LABELS
from bids_qcm.bids.errors import InputError
from bids_qcm.grids import Grid

ANAT = "derivatives/seg/sub-01/anat/sub-01"


@pytest.fixture
def auxiliary(dataset):
    def auxiliary(*paths, **fields):
        return AuxiliaryImage(paths, dataset.root / "derivatives" / "seg", **fields)

    return auxiliary


@pytest.fixture
def probabilities(dataset, auxiliary, affine):
    """Write probability maps and return them as one segmentation."""

    def probabilities(**maps):
        names = [f"{ANAT}_label-{label}_probseg.nii.gz" for label in maps]
        paths = [
            dataset.image(name, v, affine) for name, v in zip(names, maps.values(), strict=True)
        ]
        return auxiliary(*paths, kind="probabilities")

    return probabilities


def test_the_label_table_of_the_user_precedes_the_table_of_the_dataset(
    dataset, auxiliary, tmp_path
):
    found = auxiliary(dataset.segmentation())
    assert label_table(found, None)[1].name == "Gray Matter"
    dataset.json("derivatives/seg/dseg.tsv", "index\tname\n1\tWM\n")
    assert label_table(found, None) == {1: ("WM", "WM")}
    own = dataset.json("mine.tsv", "index\tname\n1\tx\n")
    assert label_table(found, own) == {1: ("x", "other")}


def test_freesurfer_numbers_override_the_table_of_the_dataset(dataset, auxiliary):
    path = dataset.segmentation(f"{ANAT}_desc-aseg_dseg.nii.gz")
    dataset.json("derivatives/seg/dseg.tsv", "index\tname\n10\tLeft-Thalamus-Proper\n999\tx\n")
    table = label_table(auxiliary(path, numbering=FREESURFER_LABELS), None)
    assert (table[10].tissue, table[999]) == ("SGM", ("x", "other"))


def test_unknown_labels_are_listed_with_file_and_remedy(dataset, auxiliary, label_values):
    path = dataset.image(f"{ANAT}_dseg.nii.gz", label_values + np.int16(70))
    with pytest.raises(
        InputError, match=r"not in the label table: 71, 72\. Remedy: .*--label-table"
    ) as error:
        read_tissues(auxiliary(path), None)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"), [(0.5, "not 32-bit integers"), (None, "only zeros or non-finite values")]
)
def test_invalid_segmentations_are_refused(dataset, auxiliary, label_values, change, message):
    values = np.zeros_like(label_values) if change is None else label_values + np.float32(change)
    path = dataset.image(f"{ANAT}_dseg.nii.gz", values)
    with pytest.raises(InputError, match=message) as error:
        read_tissues(auxiliary(path), None)
    assert str(path) in str(error.value)


def test_a_voxel_has_the_label_of_its_most_probable_tissue(probabilities, label_values):
    gray = np.full(label_values.shape, 0.3, np.float32)
    white = np.where(label_values == 1, 0.4, 0.1).astype(np.float32)
    deep = np.where(label_values == 1, 0.0, 0.05).astype(np.float32)
    labels, names = read_tissues(probabilities(GM=gray, WM=white, CSF=deep), None)
    # The sum of both maps is 0.7 in one half and 0.45 in the other half.
    np.testing.assert_array_equal(labels.values, np.where(label_values == 1, 2, 0))
    assert names == {2: "White Matter"}


def test_probability_maps_of_the_same_tissue_are_added(probabilities, label_values):
    ones = np.ones(label_values.shape, np.float32)
    labels, _ = read_tissues(probabilities(GM=0.3 * ones, CGM=0.3 * ones, WM=0.4 * ones), None)
    assert (labels.values == 1).all()


def test_values_that_are_not_probabilities_are_refused(probabilities, label_values):
    with pytest.raises(InputError, match=r"label-GM_probseg.*from 100 to 200, which are not prob"):
        read_tissues(probabilities(GM=label_values * 100), None)


def test_probability_maps_on_different_grids_are_refused(probabilities, label_values):
    values = label_values.astype(np.float32) / 2
    with pytest.raises(InputError, match=r"label-WM_probseg.*different grid"):
        read_tissues(probabilities(GM=values, WM=values[1:]), None)


def test_only_labels_in_the_field_of_view_have_names(dataset, auxiliary, affine):
    path = dataset.segmentation()
    left = Grid((3, 9, 7), affine)
    labels, names = import_tissues(auxiliary(path), None, left, lambda points: points)
    assert (labels == 1).all()
    assert names == {1: "Gray Matter"}


def test_a_mask_outside_the_field_of_view_is_refused(dataset, affine):
    path = dataset.segmentation()
    affine[0, 3] = 50
    with pytest.raises(InputError, match="outside the field of view of the phase"):
        import_mask(path, Grid((3, 9, 7), affine), lambda points: points)
