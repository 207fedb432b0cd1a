"""Damaged and hostile files in the input and in the derivative dataset."""

import json
import os
import shutil
import socket
from pathlib import Path

import pandas as pd
import pytest

from bids_qcm.bids.dataset import find_acquisitions
from bids_qcm.cli.run import main
from bids_qcm.settings import Settings
from tests.synthetic import write_subjects

NESTED = '{"a": ' + "[" * 2000 + "]" * 2000 + "}"
MAP = "sub-0001/anat/sub-0001_desc-laplacian_cond"


@pytest.fixture(scope="module")
def made(tmp_path_factory, in_process):
    """Outputs of three participants: one valid, one with a bad mask, and one with a bad sidecar."""
    folder = tmp_path_factory.mktemp("hostile")
    raw = write_subjects(folder / "alice" / "raw", 4, n_echoes=2)
    (raw / "derivatives/seg/sub-0002/anat/sub-0002_desc-brain_mask.nii.gz").write_bytes(b"\x1f")
    (raw / "sub-0003/anat/sub-0003_echo-1_part-mag_MEGRE.json").write_text(NESTED)
    out = folder / "alice" / "out"
    options = ("--method", "laplacian", "--fit-radius", "3", "-w", str(folder / "alice/work"))
    status = main([str(raw), str(out), "participant", *options, *in_process])
    return raw, out, status


@pytest.fixture
def out(made, tmp_path):
    return Path(shutil.copytree(made[1], tmp_path / "out"))


def group(made, out):
    return main([str(made[0]), str(out), "group"])


def participants(out):
    return sorted(set(pd.read_csv(out / "group_condmap.tsv", sep="\t")["participant_id"]))


@pytest.mark.slow
def test_only_results_that_depend_on_a_damaged_file_are_lost(made):
    _, out, status = made
    assert status == 1
    maps = sorted(path.name[:8] for path in out.rglob("*_condmap.nii.gz"))
    assert maps == ["sub-0000", "sub-0001", "sub-0002"]


def test_outputs_contain_no_path_or_name_of_the_machine(made):
    raw, out, _ = made
    secrets = [str(raw.parent), socket.gethostname(), "alice"]
    texts = {
        path: path.read_text()
        for path in out.rglob("*")
        if path.suffix in (".json", ".tsv", ".html", ".md", ".svg", ".bib")
        and path.name != "dataset_description.json"
    }
    assert len(texts) > 20
    assert [path for path, text in texts.items() if any(one in text for one in secrets)] == []
    sidecar = json.loads(
        (out / MAP.replace("0001", "0002"))
        .with_name("sub-0002_desc-laplacian_condmap.json")
        .read_text()
    )
    assert any(
        "bids:seg:sub-0002/anat/sub-0002_desc-brain_mask.nii.gz" in one
        for one in sidecar["Warnings"]
    )
    record = json.loads((out / "logs/sub-0003_MEGRE.json").read_text())
    assert record["command"].startswith("bids-qcm BIDS_DIR OUTPUT_DIR participant")
    [failure] = record["failures"]
    assert failure["error"].startswith("bids:raw:sub-0003/anat/sub-0003_echo-1_part-mag_MEGRE.json")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (MAP + "map.json", b""),
        (MAP + "map.json", NESTED.encode()),
        (MAP + "map.json", b"\xff"),
        ("sub-0001/anat/sub-0001_phi0map.json", b'{"AlternatingPhase": 1}'),
        ("sub-0001/anat/sub-0001_phi0map.json", b'{"ImagingFrequency": "x"}'),
        (MAP + "stats.tsv", b""),
        (MAP + "stats.tsv", None),
        (MAP + "stats.tsv", "header"),
        (MAP + "stats.tsv", b"label\ttissue\nx\ty\n"),
        (MAP + "stats.tsv", "pipe"),
    ],
)
def test_a_damaged_file_of_one_participant_does_not_stop_the_group(
    made, out, caplog, name, content
):
    path = out / name
    header = path.read_bytes().partition(b"\n")[0]
    path.unlink()
    match content:
        case None:
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "header":
            path.write_bytes(header + b"\n")
        case _:
            path.write_bytes(content)
    assert group(made, out) == 1
    assert participants(out) == ["sub-0000", "sub-0002"]
    assert "cannot write" not in caplog.text
    [message] = [one for one in caplog.messages if one.startswith("left out: ")]
    assert "sub-0001" in message
    page = (out / "group_condmap.html").read_text()
    assert "files cannot be read" in page
    assert str(out) not in page


def test_a_damaged_record_does_not_remove_maps(made, out, caplog):
    (out / "logs/sub-0001_MEGRE.json").write_text("[]")
    assert group(made, out) == 1
    assert participants(out) == ["sub-0000", "sub-0001", "sub-0002"]
    assert "logs/sub-0001_MEGRE.json: is not a JSON object" in caplog.text


def test_a_record_of_a_later_version_is_read(made, out):
    path = out / "logs/sub-0001_MEGRE.json"
    record = json.loads(path.read_text()) | {"host": "x"}
    record["failures"] = [{"step": "s", "error": "e", "crash_file": None, "later": 1}]
    path.write_text(json.dumps(record))
    assert group(made, out) == 0
    assert ">e<" in (out / "group_condmap.html").read_text()


def test_damaged_files_are_listed_even_if_no_table_is_left(made, out, caplog):
    for path in out.rglob("*_condstats.tsv"):
        path.write_text("")
    assert group(made, out) == 66
    assert len([one for one in caplog.messages if one.startswith("left out: ")]) == 3


def test_the_group_level_needs_no_image(made, out):
    assert group(made, out) == 0
    tables = [out / "group_condmap.tsv", out / "group_qc.tsv"]
    before = [path.read_bytes() for path in tables]
    for path in out.rglob("*.nii.gz"):
        path.unlink()
    for path in tables:
        path.unlink()
    assert group(made, out) == 0
    assert [path.read_bytes() for path in tables] == before


def test_a_crash_file_outside_the_logs_is_not_linked(made, out, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (out / "logs/link.txt").symlink_to(tmp_path / "secret.txt")
    (out / "logs/crash-1.txt").write_text("traceback of /home/alice")
    path = out / "logs/sub-0001_MEGRE.json"
    record = json.loads(path.read_text())
    files = ("../secret.txt", "logs/../../secret.txt", "logs/link.txt", "logs/crash-1.txt")
    files += (str(tmp_path / "secret.txt"), "logs", "x" * 5000, "a\x00b")
    record["failures"] = [{"step": "s", "error": "e", "crash_file": one} for one in files]
    path.write_text(json.dumps(record))
    argv = [str(made[0]), str(out), "participant", "--reports-only"]
    assert main([*argv, "--participant-label", "0001"]) == 0
    page = (out / "sub-0001.html").read_text()
    assert page.count(">crash report</a>") == 1
    assert 'href="logs/crash-1.txt"' in page
    assert "secret" not in page
    assert "alice" not in page


def test_a_damaged_image_removes_its_acquisition_but_not_the_page(made, out, caplog):
    (out / (MAP + "map.nii.gz")).write_bytes(b"\x1f\x8b")
    argv = [str(made[0]), str(out), "participant", "--reports-only"]
    assert main([*argv, "--participant-label", "0000", "0001"]) == 2
    assert "left out of the report" in caplog.text
    assert "files cannot be read" in (out / "sub-0001.html").read_text()
    assert "files cannot be read" not in (out / "sub-0000.html").read_text()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("skip", [False, True])
def test_circular_links_and_pipes_do_not_block_the_app(tmp_path, skip):
    raw = write_subjects(tmp_path / "raw", 1, n_echoes=1)
    anat = raw / "sub-0000/anat"
    for folder in (raw, raw / "sub-0000", anat, raw / "derivatives/seg/sub-0000"):
        for name, target in (("loop", "."), ("up", ".."), ("ses-a", "."), ("ses-b", "..")):
            (folder / name).symlink_to(target)
    (raw / "sub-0000/self").symlink_to("self")
    os.mkfifo(anat / "sub-0000_T2w.json")
    os.mkfifo(anat / "sub-0000_part-mag_T2w.nii.gz")
    os.mkfifo(anat / "sub-0000_part-phase_T2w.nii.gz")
    os.mkfifo(raw / "derivatives/seg/sub-0000/anat/sub-0000_dseg.json")
    found = find_acquisitions(Settings(raw, tmp_path / "out", tmp_path / "work"))
    assert "sub-0000_MEGRE" in [one.name for one in found]
    options = ["--skip-bids-validation"] if skip else []
    assert main([str(raw), str(tmp_path / "out"), "participant", "--dry-run", *options]) in (0, 1)


@pytest.mark.parametrize(
    ("content", "options"),
    [(NESTED, ()), ("pipe", ()), ("pipe", ("--skip-bids-validation",))],
)
def test_an_invalid_description_is_reported(tmp_path, caplog, content, options):
    raw = write_subjects(tmp_path / "raw", 1, n_echoes=1)
    path = raw / "dataset_description.json"
    path.unlink()
    os.mkfifo(path) if content == "pipe" else path.write_text(content)
    status = main([str(raw), str(tmp_path / "out"), "participant", "--dry-run", *options])
    assert status in (16, 65)
    assert "dataset_description.json" in caplog.text
    assert "internal error" not in caplog.text


def test_a_nested_description_without_validation_causes_no_internal_error(tmp_path, caplog):
    raw = write_subjects(tmp_path / "raw", 1, n_echoes=1)
    (raw / "dataset_description.json").write_text(NESTED)
    options = ["participant", "--dry-run", "--skip-bids-validation"]
    status = main([str(raw), str(tmp_path / "out"), *options])
    # pybids reads the file, and whether it can depends on the version of Python.
    assert status == 0 or "dataset_description.json" in caplog.text
    assert "internal error" not in caplog.text
