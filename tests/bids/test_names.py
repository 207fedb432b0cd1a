from itertools import islice
from pathlib import Path

import pytest

from bids_qcm.bids.names import join_name, numbered, parse_name, sidecar_path, stem


@pytest.mark.parametrize(
    ("name", "entities", "suffix"),
    [
        ("sub-01_ses-a_run-2_T1w.nii.gz", {"sub": "01", "ses": "a", "run": "2"}, "T1w"),
        ("T1w.json", {}, "T1w"),
        ("sub-é_acq-a-b_T1w.nii", {"sub": "é", "acq": "a-b"}, "T1w"),
        ("sub-01_odd_T1w.nii", {"sub": "01", "odd": ""}, "T1w"),
    ],
)
def test_a_file_name_is_split_into_entities_and_suffix(name, entities, suffix):
    found, its_suffix = parse_name(name)
    assert (list(found.items()), its_suffix) == (list(entities.items()), suffix)


@pytest.mark.parametrize(
    "name", ["sub-01_ses-1_acq-x+y_run-01_echo-3_part-mag_MEGRE", "sub-01_T1w"]
)
def test_join_name_is_the_inverse_of_parse_name(name):
    assert join_name(*parse_name(f"{name}.nii.gz")) == name


def test_a_name_without_a_suffix_can_be_joined():
    assert join_name({"sub": "01", "run": "1"}) == "sub-01_run-1"


def test_the_first_candidate_for_a_unique_name_is_the_name_itself():
    assert list(islice(numbered("a"), 3)) == ["a", "a2", "a3"]


def test_the_stem_ends_at_the_first_dot():
    assert stem(Path("/d.x/sub-01_T1w.nii.gz")) == "sub-01_T1w"


@pytest.mark.parametrize("name", ["sub-01_T1w.nii.gz", "sub-01_T1w.nii", "sub-01_T1w.tsv"])
def test_a_sidecar_is_in_the_folder_of_its_image(name):
    assert sidecar_path(Path("/d.x", name)) == Path("/d.x/sub-01_T1w.json")
