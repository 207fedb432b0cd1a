from pathlib import Path

import pytest

from bids_qcm.bids.privacy import anonymous, known_places, shared_command, without_paths
from bids_qcm.settings import Settings

PLACES = known_places(
    Settings(Path("/h/ann/raw"), Path("/h/ann/my out"), Path("/h/ann/raw/w")),
    {"raw": Path("/h/ann/raw"), "seg": Path("/h/ann/raw/derivatives/s eg")},
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/h/ann/raw/sub-01/x.nii: is bad", "bids:raw:sub-01/x.nii: is bad"),
        ("see /h/ann/raw/derivatives/s eg/a b.nii.", "see bids:seg:a b.nii."),
        ("/h/ann/raw2/x and (/h/ann/raw)", "x and (bids:raw:)"),
        ("/h/ann/my out/logs, /h/ann/raw/w/n", "OUTPUT_DIR/logs, WORK_DIR/n"),
        ("'/etc/a/b.txt' or /tmp/x", "'b.txt' or x"),
        ("S/m, a/b/c, 1 / 2, https://doi.org/10.1/x/y", None),
        ("bids:raw:sub-01/anat/x.nii", None),
    ],
)
def test_paths_become_uris_or_names(text, expected):
    assert without_paths(text, PLACES) == (text if expected is None else expected)


def test_all_strings_in_a_sidecar_are_anonymised(tmp_path):
    content = {"Warnings": ["/tmp/a/x"], "n": 1, "nested": {"a": [None, "/h/ann/raw/y"]}}
    expected = {"Warnings": ["x"], "n": 1, "nested": {"a": [None, "bids:raw:y"]}}
    assert anonymous(content, PLACES) == expected


def test_a_command_is_recorded_without_paths():
    argv = ["raw/", "/h/ann/out", "participant", "-d", "seg=/h/ann/seg", "--work-dir=/h/w"]
    argv += ["-w/h/ann/x y", "--label-table", "../ann/t.tsv", "--sign", "-", "--mem", "4G"]
    places = {Path("raw"): "BIDS_DIR", Path("/h/ann/out"): "OUTPUT_DIR", Path("/h/w"): "WORK_DIR"}
    assert shared_command("bids-qcm", argv, places) == (
        "bids-qcm BIDS_DIR OUTPUT_DIR participant -d seg=seg --work-dir=WORK_DIR '-wx y' "
        "--label-table t.tsv --sign - --mem 4G"
    )
