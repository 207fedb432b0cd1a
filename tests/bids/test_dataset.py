import json

import numpy as np
import pytest

from bids_qcm.bids.dataset import check_description, find_acquisitions, select_participants
from bids_qcm.bids.errors import DatasetError, NoInputError, SelectionError


def names(settings):
    return [acquisition.name for acquisition in find_acquisitions(settings)]


def test_a_valid_description_is_accepted(dataset):
    assert check_description(dataset.root)["Name"] == "tiny"


def test_a_description_with_a_byte_order_mark_is_accepted(dataset):
    path = dataset.root / "dataset_description.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert check_description(dataset.root)["Name"] == "tiny"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "is not a JSON object"),
        ('"Name"', "is not a JSON object"),
        ("{}", "has no Name and no BIDSVersion"),
        ('{"Name": "x"}', "has no BIDSVersion"),
        ('{"Name": "", "BIDSVersion": "1.10.0"}', "has no Name"),
    ],
)
def test_an_invalid_description_is_refused(dataset, content, problem):
    path = dataset.root / "dataset_description.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(DatasetError) as error:
        check_description(dataset.root)
    assert str(error.value).startswith(f"{path}: {problem}")
    assert "--skip-bids-validation" in str(error.value)


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_images_are_found_with_any_description(dataset, content):
    dataset.pair()
    path = dataset.root / "dataset_description.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert names(dataset.settings()) == ["sub-01_T2w"]


def test_only_folders_with_valid_names_are_participants(dataset):
    for folder in ("sub-02", "sub-01", "sub-01.html", "sub-01_old", "sub-", "subject-3"):
        (dataset.root / folder).mkdir()
    (dataset.root / "sub-04").touch()
    assert select_participants(dataset.root, []) == ["01", "02"]
    assert select_participants(dataset.root, ["02"]) == ["02"]


def test_the_error_for_absent_participants_lists_the_existing_ones(dataset):
    for number in range(12):
        (dataset.root / f"sub-{number:02d}").mkdir()
    with pytest.raises(SelectionError, match=r"no participant x, y\. Remedy: choose from 00, 01,"):
        select_participants(dataset.root, ["y", "00", "x"])


def test_a_dataset_without_participants_is_refused(dataset):
    with pytest.raises(NoInputError, match="use the root folder of a BIDS dataset") as error:
        select_participants(dataset.root, [])
    assert str(dataset.root) in str(error.value)


def test_images_with_both_extensions_are_found_in_sessions(dataset):
    for path in dataset.pair("sub-01_ses-a_{}_T1w", folder="sub-01/ses-a/anat"):
        path.with_name(path.name.removesuffix(".gz")).write_bytes(path.read_bytes())
        path.unlink()
    dataset.pair("sub-01_ses-b_{}_T1w", folder="sub-01/ses-b/anat")
    settings = dataset.settings()
    assert names(settings) == ["sub-01_ses-a_T1w", "sub-01_ses-b_T1w"]
    assert names(dataset.settings(session_labels=("b",))) == ["sub-01_ses-b_T1w"]


@pytest.mark.parametrize("folder", ["func/anat/d", "a_part-mag/d", "sub-09/d", "été è/a b #1/d"])
def test_the_folders_above_the_dataset_do_not_matter(tmp_path, dataset, folder):
    dataset.pair()
    dataset.path("sub-01/anat/sub-01_T1w.nii.gz").touch()
    root = tmp_path / folder
    root.parent.mkdir(parents=True)
    dataset.root.rename(root)
    assert names(dataset.settings(bids_dir=root)) == ["sub-01_T2w"]


@pytest.mark.parametrize(
    "elsewhere",
    [
        "derivatives/x/sub-01/anat",
        "sourcedata/sub-01/anat",
        "work/sub-01/anat",
        ".git/sub-01/anat",
        "sub-01.html/anat",
        "sub-01_old/anat",
        "sub-01/func",
        "sub-01",
    ],
)
def test_copies_in_other_folders_are_not_used(dataset, elsewhere):
    dataset.pair()
    dataset.pair(folder=elsewhere)
    (found,) = find_acquisitions(dataset.settings())
    folders = {file.parent for pair in found.echoes()[1] for file in pair}
    assert folders == {dataset.root / "sub-01/anat"}


def test_only_the_selected_participants_are_searched(dataset):
    for label in ("1", "10", "2"):
        dataset.pair(f"sub-{label}_{{}}_T2w")
    assert names(dataset.settings(participant_labels=("1",))) == ["sub-1_T2w"]


def test_a_dangling_link_is_found(dataset):
    for path in dataset.pair():
        path.unlink()
        path.symlink_to("../../.git/annex/objects/gone")
    assert names(dataset.settings()) == ["sub-01_T2w"]


def test_linked_images_in_a_linked_dataset_are_found(tmp_path, dataset):
    for path in dataset.pair():
        path.rename(tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)
    link = tmp_path / "link"
    link.symlink_to(dataset.root)
    (found,) = find_acquisitions(dataset.settings(bids_dir=link))
    assert all(file.is_relative_to(link) for pair in found.echoes()[1] for file in pair)


def test_a_dataset_with_only_magnitude_images_is_refused(dataset):
    dataset.pair(parts=["mag"])
    with pytest.raises(NoInputError, match=r"no phase image for participant 01.*part-phase"):
        find_acquisitions(dataset.settings())


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"suffix": "T2w"}, ["T2w"]),
        ({"suffix": ["T2w", "PDw"]}, ["T2w"]),
        ({"acquisition": "a"}, ["acq-a_run-01_T1w"]),
        ({"acq": "a"}, ["acq-a_run-01_T1w"]),
        ({"acquisition": None}, ["T2w"]),
        ({"acquisition": ["a", None]}, ["T2w", "acq-a_run-01_T1w"]),
        ({"run": 1}, ["acq-a_run-01_T1w"]),
        ({"run": "1", "suffix": "T1w"}, ["acq-a_run-01_T1w"]),
        ({"datatype": "anat"}, ["T2w", "acq-a_run-01_T1w"]),
        ({}, ["T2w", "acq-a_run-01_T1w"]),
    ],
)
def test_filters_select_acquisitions(dataset, filters, expected):
    dataset.pair("sub-01_{}_T2w")
    dataset.pair("sub-01_acq-a_run-01_{}_T1w")
    found = names(dataset.settings(bids_filters=filters))
    assert found == [f"sub-01_{name}" for name in expected]


@pytest.mark.parametrize(
    "options", [{"bids_filters": {"suffix": "PDw"}}, {"session_labels": ("1",)}]
)
def test_the_error_for_filters_that_match_nothing_lists_the_phase_images(dataset, options):
    dataset.pair()
    with pytest.raises(SelectionError, match=r"\(sub-01_T2w\).*use less restrictive filters"):
        find_acquisitions(dataset.settings(**options))


def test_filters_do_not_change_names(dataset):
    for suffix in ("T1w", "T2w"):
        dataset.pair(f"sub-01_{{}}_{suffix}")
    (one,) = find_acquisitions(dataset.settings(bids_filters={"suffix": "T1w"}))
    assert one.output_entities == {"sub": "01", "acq": "T1w"}


def test_the_dataset_is_only_read(dataset, snapshot):
    dataset.pair()
    before = snapshot(dataset.root)
    find_acquisitions(dataset.settings())
    assert snapshot(dataset.root) == before


def test_each_selection_has_its_own_index(dataset, tmp_path):
    for label in ("01", "02"):
        dataset.pair(f"sub-{label}_{{}}_T2w")
    database = tmp_path / "index"
    for _ in range(2):
        for label in ("01", "02"):
            options = {"participant_labels": (label,), "bids_database_dir": database}
            assert names(dataset.settings(**options)) == [f"sub-{label}_T2w"]
    assert len(list(database.iterdir())) == 2


def test_broken_sidecars_do_not_affect_the_search(dataset):
    dataset.pair()
    dataset.json("T2w.json", "{")
    dataset.json("sub-01/anat/sub-01_part-mag_T2w.json", json.dumps([1]))
    assert names(dataset.settings()) == ["sub-01_T2w"]


@pytest.mark.parametrize(
    "name",
    [
        "sub-01_acq-<b>_part-phase_T2w.nii.gz",
        "sub-01_acq-a b_part-phase_T2w.nii.gz",
        "sub-01_part-phase_T2*.nii.gz",
        "sub-02_part-phase_T2w.nii.gz",
        "part-phase_T2w.nii.gz",
    ],
)
def test_invalid_bids_names_are_ignored_with_a_warning(dataset, caplog, name):
    dataset.pair()
    path = dataset.path(f"sub-01/anat/{name}")
    path.write_bytes(b"")
    assert names(dataset.settings()) == ["sub-01_T2w"]
    assert caplog.messages == [f"{path} is ignored: its name is not a valid BIDS file name"]


def test_a_participant_label_with_html_is_ignored(dataset):
    dataset.pair()
    dataset.pair("sub-<script>_{}_T2w", folder="sub-<script>/anat")
    assert names(dataset.settings()) == ["sub-01_T2w"]


def test_hidden_files_and_folders_contain_no_acquisitions(dataset, caplog, tmp_path):
    dataset.pair()
    dataset.pair("._sub-01_{}_T1w", folder="sub-01/anat")
    dataset.pair("sub-01_{}_T1w", folder="sub-01/.backup/anat")
    dataset.pair("sub-01_{}_PDw", folder="sub-01/.ses-a/anat")
    dataset.pair("sub-02_{}_T1w", folder=".sub-02/anat")
    for database in (None, tmp_path / "database"):
        assert names(dataset.settings(bids_database_dir=database)) == ["sub-01_T2w"]
    assert caplog.messages == []


def test_a_4d_image_needs_a_list_of_its_parts(dataset):
    path = dataset.image("sub-01/anat/sub-01_MEGRE.nii.gz", np.ones((4, 4, 4, 2), np.float32))
    with pytest.raises(NoInputError, match=r"has 2 volumes, .*set ComplexImageComponent") as error:
        find_acquisitions(dataset.settings())
    assert error.value.where == path
    dataset.json("sub-01/anat/sub-01_MEGRE.json", {"ComplexImageComponent": ["REAL", "IMAGINARY"]})
    (found,) = find_acquisitions(dataset.settings())
    assert found.echoes() == (("real", "imag"), [(path, path)])
    # a damaged sidecar of another image does not stop the run
    dataset.image("sub-01/anat/sub-01_T1w.nii.gz", np.ones((4, 4, 4), np.float32))
    dataset.json("sub-01/anat/sub-01_T1w.json", "{")
    assert find_acquisitions(dataset.settings()) == [found]
