import json
from pathlib import Path

import numpy as np
import pytest

from bids_qcm.bids.companions import Companion, derivative_datasets, find_companion
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import Grid


@pytest.fixture
def find(dataset, label_values, affine):
    """Find the segmentation of the dataset's only acquisition."""

    def find(*folders, ending="_dseg"):
        grid = Grid(label_values.shape, affine)
        datasets = [dataset.root / "derivatives" / folder for folder in folders or ["seg"]]
        found = find_companion(dataset.acquisition(), grid, datasets, ending, "segmentation")
        return found and found.path.relative_to(dataset.root / "derivatives").as_posix()

    return find


def test_datasets_beside_are_found_by_their_description(dataset):
    a, b = dataset.derivative("a"), dataset.derivative("b")
    (dataset.root / "derivatives" / "c").mkdir()
    found = derivative_datasets(dataset.root, [], dataset.root / "out")
    assert found == {"a": a, "b": b}


def describe(folder, **description):
    folder.mkdir(parents=True)
    (folder / "dataset_description.json").write_text(json.dumps(description))
    return folder


def test_a_given_folder_must_be_a_derivative_dataset(tmp_path):
    describe(tmp_path / "derivatives" / "seg", DatasetType="derivative")
    with pytest.raises(InputError, match="give a folder inside it: seg"):
        derivative_datasets(tmp_path, [("", tmp_path / "derivatives")], tmp_path / "out")
    raw = describe(tmp_path / "raw", DatasetType="raw")
    with pytest.raises(InputError, match="is a raw dataset"):
        derivative_datasets(tmp_path, [("", raw)], tmp_path / "out")


def test_those_given_come_first_and_only_once(dataset, tmp_path):
    a, b = dataset.derivative("a"), dataset.derivative("b")
    other = describe(tmp_path / "other")
    found = derivative_datasets(dataset.root, [("x", b), ("", other)], dataset.root / "out")
    assert list(found.items()) == [("x", b), ("other", other), ("a", a)]


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"GeneratedBy": {}}', '{"GeneratedBy": ["x"]}']
)
def test_an_odd_description_is_no_obstacle(dataset, content):
    path = dataset.derivative("a")
    (path / "dataset_description.json").write_text(content)
    assert derivative_datasets(dataset.root, [], dataset.root / "out") == {"a": path}


def test_outputs_of_this_app_are_left_out(dataset):
    ours = dataset.derivative("old", generator="bids_qcm")
    output = dataset.derivative("out")
    theirs = dataset.derivative("fmriprep", generator="fMRIPrep")
    found = derivative_datasets(dataset.root, [("x", ours)], output)
    assert found == {"fmriprep": theirs}


def test_names_are_fit_for_uris_and_distinct(tmp_path):
    names = ["a b", "ab", "raw", "é"]
    given = [(name, describe(tmp_path / str(n))) for n, name in enumerate(names)]
    found = derivative_datasets(tmp_path, given, tmp_path / "out")
    assert list(found) == ["ab", "ab2", "raw2", "derivative"]


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_a_segmentation_is_found(dataset, find, extension):
    dataset.pair()
    name = f"seg/sub-01/anat/sub-01_space-x_dseg{extension}"
    dataset.segmentation(f"derivatives/{name}")
    assert find() == name


def test_only_names_with_the_ending_count(dataset, find):
    dataset.pair()
    dataset.segmentation("derivatives/seg/sub-01/anat/sub-01_label-GM_probseg.nii.gz")
    dataset.segmentation("derivatives/seg/sub-01/anat/sub-01_desc-brain_mask.nii.gz")
    assert find() is None
    assert find(ending="_desc-brain_mask") == "seg/sub-01/anat/sub-01_desc-brain_mask.nii.gz"


def test_the_session_goes_before_the_participant(dataset, find):
    dataset.pair("sub-01_ses-a_{}_T2w", folder="sub-01/ses-a/anat")
    dataset.segmentation()
    assert find() == "seg/sub-01/anat/sub-01_dseg.nii.gz"
    dataset.segmentation("derivatives/seg/sub-01/ses-b/anat/sub-01_ses-b_dseg.nii.gz")
    assert find() == "seg/sub-01/anat/sub-01_dseg.nii.gz"
    dataset.segmentation("derivatives/seg/sub-01/ses-a/anat/sub-01_ses-a_dseg.nii.gz")
    assert find() == "seg/sub-01/ses-a/anat/sub-01_ses-a_dseg.nii.gz"


def test_the_first_dataset_wins(dataset, find):
    dataset.pair()
    for name in ("a", "b"):
        dataset.segmentation(f"derivatives/{name}/sub-01/anat/sub-01_dseg.nii.gz")
    assert find("b", "a") == "b/sub-01/anat/sub-01_dseg.nii.gz"


def test_another_grid_is_passed_over(dataset, find, affine):
    dataset.pair()
    shifted = affine.copy()
    shifted[0, 3] = 5
    dataset.segmentation("derivatives/seg/sub-01/anat/sub-01_space-a_dseg.nii.gz", affine=shifted)
    with pytest.raises(InputError, match=r"not in the grid of the phase.*resample") as error:
        find()
    assert "sub-01_space-a_dseg.nii.gz" in str(error.value)
    dataset.segmentation("derivatives/seg/sub-01/anat/sub-01_space-b_dseg.nii.gz")
    assert find() == "seg/sub-01/anat/sub-01_space-b_dseg.nii.gz"


def test_several_in_one_place_are_refused(dataset, find):
    dataset.pair()
    for label in "ab":
        dataset.segmentation(f"derivatives/seg/sub-01/anat/sub-01_desc-{label}_dseg.nii.gz")
    with pytest.raises(InputError, match="leave one") as error:
        find()
    assert "sub-01_desc-a_dseg.nii.gz, sub-01_desc-b_dseg.nii.gz" in str(error.value)


def test_the_segmentation_of_the_same_run_is_taken(dataset, find):
    dataset.pair("sub-01_run-2_{}_T2w")
    for run in "123":
        dataset.segmentation(f"derivatives/seg/sub-01/anat/sub-01_run-{run}_desc-x_dseg.nii.gz")
    assert find() == "seg/sub-01/anat/sub-01_run-2_desc-x_dseg.nii.gz"


def test_a_broken_candidate_is_named(dataset, find):
    dataset.pair()
    path = dataset.segmentation()
    path.write_bytes(b"")
    with pytest.raises(InputError) as error:
        find()
    assert str(path) in str(error.value)


def test_the_label_table_has_the_same_name(dataset):
    path = dataset.segmentation()
    companion = Companion(path, path.parent)
    assert companion.table is None
    table = path.with_name("sub-01_dseg.tsv")
    table.symlink_to("gone")
    assert companion.table == table
    table.unlink()
    table.write_text("index\tname\n")
    assert companion.table == table


def test_the_grid_is_compared_not_the_values(dataset, find, label_values, affine):
    dataset.pair()
    path = Path("derivatives/seg/sub-01/anat/sub-01_dseg.nii.gz")
    dataset.image(path, np.zeros_like(label_values[:-1]), affine)
    with pytest.raises(InputError, match="not in the grid"):
        find()
