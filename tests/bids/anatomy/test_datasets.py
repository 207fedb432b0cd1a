import json

import pytest

from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.datasets import SearchedDatasets, derivative_datasets
from bids_qcm.bids.errors import InputError


def test_datasets_in_derivatives_are_found_by_their_description(dataset):
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
    with pytest.raises(InputError, match="pass one of the datasets in this folder: seg"):
        derivative_datasets(tmp_path, [("", tmp_path / "derivatives")], tmp_path / "out")
    raw = describe(tmp_path / "raw", DatasetType="raw")
    with pytest.raises(InputError, match="is a raw dataset"):
        derivative_datasets(tmp_path, [("", raw)], tmp_path / "out")


def test_datasets_of_the_user_come_first_and_only_once(dataset, tmp_path):
    a, b = dataset.derivative("a"), dataset.derivative("b")
    other = describe(tmp_path / "other")
    found = derivative_datasets(dataset.root, [("x", b), ("", other)], dataset.root / "out")
    assert list(found.items()) == [("x", b), ("other", other), ("a", a)]


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"GeneratedBy": {}}', '{"GeneratedBy": ["x"]}']
)
def test_an_unusual_description_is_accepted(dataset, content):
    path = dataset.derivative("a")
    (path / "dataset_description.json").write_text(content)
    assert derivative_datasets(dataset.root, [], dataset.root / "out") == {"a": path}


def test_outputs_of_this_app_are_left_out(dataset):
    ours = dataset.derivative("old", generator="bids_qcm")
    output = dataset.derivative("out")
    theirs = dataset.derivative("fmriprep", generator="fMRIPrep")
    found = derivative_datasets(dataset.root, [("x", ours)], output)
    assert found == {"fmriprep": theirs}


def test_names_are_valid_in_uris_and_distinct(tmp_path):
    names = ["a b", "ab", "raw", "é"]
    given = [(name, describe(tmp_path / str(n))) for n, name in enumerate(names)]
    found = derivative_datasets(tmp_path, given, tmp_path / "out")
    assert list(found) == ["ab", "ab2", "raw2", "derivative"]


def test_the_label_table_has_the_same_name(dataset):
    path = dataset.segmentation()
    auxiliary = AuxiliaryImage((path,), dataset.root / "derivatives" / "seg")
    assert auxiliary.table is None
    table = path.with_name("sub-01_dseg.tsv")
    table.symlink_to("gone")
    assert auxiliary.table == table
    table.unlink()
    table.write_text("index\tname\n")
    assert auxiliary.table == table


def test_a_label_table_is_inherited_from_the_folders_above(dataset):
    path = dataset.segmentation("derivatives/seg/sub-01/anat/sub-01_desc-aseg_dseg.nii.gz")
    auxiliary = AuxiliaryImage((path,), dataset.root / "derivatives" / "seg")
    dataset.json("desc-aseg_dseg.tsv", "outside of the dataset")
    dataset.json("derivatives/seg/desc-aparcaseg_dseg.tsv", "another")
    dataset.json("derivatives/seg/desc-aseg_probseg.tsv", "another")
    assert auxiliary.table is None
    general = dataset.json("derivatives/seg/dseg.tsv", "")
    assert auxiliary.table == general
    table = dataset.json("derivatives/seg/desc-aseg_dseg.tsv", "")
    assert auxiliary.table == table
    nearer = dataset.json("derivatives/seg/sub-01/sub-01_dseg.tsv", "")
    assert auxiliary.table == nearer


@pytest.mark.parametrize(
    "name",
    [
        "sub-01/mri/aseg.mgz",
        "sub-01_ses-a/mri/aparc.DKTatlas+aseg.deep.mgz",
        "sub-01/ses-a/anat/sub-01_ses-a_T1w_synthseg.nii.gz",
    ],
)
def test_datasets_without_a_description_are_recognised_by_their_files(dataset, tmp_path, name):
    dataset.json(f"derivatives/beside/{name}", "")
    dataset.json("derivatives/nothing/sub-01/anat/x.nii.gz", "")
    given = dataset.json(f"elsewhere/{name}", "").parents[name.count("/")]
    found = derivative_datasets(dataset.root, [("", given)], tmp_path / "out")
    assert list(found) == ["elsewhere", "beside"]


@pytest.mark.parametrize(
    ("option", "every", "none"),
    [
        ("segmentation", ["auto"], ["t1w", "none"]),
        ("mask", ["auto", "brain"], ["signal"]),
        ("b1", ["auto"], ["model", "none"]),
        ("lesions", ["auto"], ["none"]),
    ],
)
def test_an_option_selects_the_datasets_to_search(dataset, option, every, none):
    derivatives = {"a": dataset.root / "a", "b": dataset.root / "b"}
    a, b = derivatives.values()

    def searched(wanted):
        settings = dataset.settings(**{option: wanted})
        return getattr(SearchedDatasets.of(settings, derivatives), option)

    # the raw dataset contains no segmentations and masks
    in_order = {"b1": (dataset.root, a, b), "lesions": (a, b, dataset.root)}.get(option, (a, b))
    assert all(searched(wanted) == in_order for wanted in every)
    assert all(searched(wanted) == () for wanted in none)
    assert searched("b") == (b,)
    with pytest.raises(
        InputError, match=f"--{option} c: .*choose from {', '.join(every + none)}, "
    ):
        searched("c")


def test_hidden_folders_are_not_datasets(dataset):
    found = dataset.derivative("a")
    dataset.derivative(".a")
    dataset.json("derivatives/b/sub-01/mri/._aseg.mgz", "")
    assert derivative_datasets(dataset.root, [], dataset.root / "out") == {"a": found}


def test_a_hidden_table_is_not_a_label_table(dataset):
    path = dataset.segmentation()
    dataset.json("derivatives/seg/sub-01/anat/._sub-01_dseg.tsv", "")
    auxiliary = AuxiliaryImage((path,), dataset.root / "derivatives/seg")
    assert auxiliary.table is None
    table = dataset.json("derivatives/seg/sub-01/anat/sub-01_dseg.tsv", "")
    assert auxiliary.table == table


def test_the_error_for_a_description_without_content_shows_the_download_command(tmp_path):
    folder = tmp_path / "seg"
    folder.mkdir()
    (folder / "dataset_description.json").symlink_to(".git/annex/objects/x")
    with pytest.raises(InputError, match="datalad get"):
        derivative_datasets(tmp_path, [("", folder)], tmp_path / "out")
