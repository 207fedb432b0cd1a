"""After a finished run, another run computes and writes only what has changed."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_qcm.bids import fingerprints
from bids_qcm.bids.run_records import Failure
from bids_qcm.cli.run import main
from bids_qcm.workflows import computing
from bids_qcm.workflows.finished import FinishedRecord, _inputs
from tests.synthetic import SHAPE, write_subjects

METHODS = ("laplacian", "laplacian-seg")
FIRST, SECOND = "sub-0000_MEGRE", "sub-0001_MEGRE"
IMAGE = "sub-0000/anat/sub-0000_echo-2_part-phase_MEGRE.nii.gz"
SIDECAR = "sub-0000/anat/sub-0000_echo-1_part-phase_MEGRE.json"
SEG = "derivatives/seg/sub-0000/anat"
MAP = "sub-0000/anat/sub-0000_desc-laplacianSeg_condmap"


class Repeated:
    """A dataset of two participants that is mapped several times in this process."""

    def __init__(self, root, in_process):
        self.raw, self.out, self.work = root / "raw", root / "out", root / "work"
        self.in_process = in_process
        self.computed = []

    def __call__(self, *options, status=0):
        """Run the command. Return the names of the acquisitions whose workflow ran."""
        self.computed.clear()
        arguments = [str(self.raw), str(self.out), "participant", "-w", str(self.work)]
        arguments += [*self.in_process, "--fit-radius", "3", "--method", *METHODS]
        assert main([*arguments, *options]) == status
        return sorted(self.computed)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, in_process, without_pages):
    """The dataset after a first run without pages."""
    root = tmp_path_factory.mktemp("finished")
    repeated = Repeated(root, in_process)
    write_subjects(repeated.raw, 2)
    with without_pages():
        repeated()
    return repeated


@pytest.fixture
def compute(monkeypatch):
    """Replace the function that computes acquisitions with a wrapper defined in the test."""
    real = computing.compute_acquisitions

    def wrap(function):
        def compute(plans, settings, datasets, progress):
            return function(plans, real(plans, settings, datasets, progress))

        monkeypatch.setattr(computing, "compute_acquisitions", compute)

    return wrap


@pytest.fixture
def run(finished, compute, without_pages):
    """Run the command without pages. Return the names of the acquisitions whose workflow ran."""

    def noted(plans, outcomes):
        finished.computed.extend(plan.acquisition.name for plan in plans)
        return outcomes

    compute(noted)
    with without_pages():
        yield finished


def files(folder):
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_nothing_is_written_if_nothing_changed(run, caplog):
    run()
    before = files(run.out)
    with caplog.at_level("INFO", "bids_qcm"):
        assert run("--nprocs", "2") == []
    assert "0 map(s) written, 4 unchanged; 2 acquisition(s) complete, 0 incomplete" in caplog.text
    assert f"unchanged: {run.out / MAP}.nii.gz" in caplog.text
    assert files(run.out) == before


def flip(path):
    """Change one byte of a file, and restore its modification time."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def set_field(path, **fields):
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | fields))


CHANGES = {
    "image": lambda it: (it.raw / IMAGE).touch(),
    "sidecar": lambda it: set_field(it.raw / SIDECAR, SoftwareVersions="2"),
    "new sidecar of the participant": lambda it: set_field(
        it.raw / "sub-0000/sub-0000_part-phase_MEGRE.json", Manufacturer="Siemens"
    ),
    "segmentation": lambda it: (it.raw / SEG / "sub-0000_dseg.nii.gz").touch(),
    "label table": lambda it: (it.raw / SEG / "sub-0000_dseg.tsv").write_text(
        "index\tname\n1\tGray matter\n2\tWhite matter\n"
    ),
    "mask": lambda it: (it.raw / SEG / "sub-0000_desc-brain_mask.nii.gz").touch(),
    "flipped bit of a map": lambda it: flip(it.out / f"{MAP}.nii.gz"),
    "edited sidecar of a map": lambda it: set_field(it.out / f"{MAP}.json", Method="mine"),
    "deleted map": lambda it: (it.out / f"{MAP}.nii.gz").unlink(),
    "deleted statistics": lambda it: (it.out / f"{MAP[:-3]}stats.tsv").unlink(),
    "deleted mask": lambda it: (it.out / "sub-0000/anat/sub-0000_desc-brain_mask.nii.gz").unlink(),
    "deleted record": lambda it: next(it.work.glob("*/sub_0000_MEGRE_wf.json")).unlink(),
    "damaged record": lambda it: next(it.work.glob("*/sub_0000_MEGRE_wf.json")).write_text("["),
}


@pytest.mark.parametrize("change", CHANGES)
def test_only_the_changed_acquisition_is_computed(run, change):
    run()
    expected = [(run.out / f"{MAP}{end}").read_bytes() for end in (".json", ".nii.gz")]
    CHANGES[change](run)
    assert run() == [FIRST]
    assert run() == []
    if change.startswith(("flipped", "edited", "deleted")):
        assert [(run.out / f"{MAP}{end}").read_bytes() for end in (".json", ".nii.gz")] == expected


@pytest.mark.parametrize(
    "options", [("--phase-type", "transmit"), ("--no-uncertainty",), ("--fit-radius", "4")]
)
def test_changed_options_recompute_everything(run, options):
    run()
    assert run(*options) == [FIRST, SECOND]
    assert run(*options) == []


@pytest.mark.parametrize("option", ["--clean-workdir", "--write-graph"])
def test_some_options_always_request_a_computation(run, option):
    run()
    assert run(option) == [FIRST, SECOND]
    assert run(option) == [FIRST, SECOND]
    assert run() == []


def test_a_change_of_the_sources_recomputes_everything(run, monkeypatch):
    run()
    monkeypatch.setattr(fingerprints, "_sources", lambda: "other")
    assert run() == [FIRST, SECOND]


def test_a_failed_acquisition_is_computed_again(run, compute):
    def fail(plans, outcomes):
        run.computed.extend(plan.acquisition.name for plan in plans)
        return [replace(one, failures=(Failure("phi0", "no luck"),)) for one in outcomes]

    run()
    (run.raw / IMAGE).touch()
    compute(fail)
    assert run(status=1) == [FIRST]
    assert json.loads((run.out / f"logs/{FIRST}.json").read_text())["failures"]
    assert run(status=1) == [FIRST]


def test_a_later_run_without_failure_removes_the_failure_from_the_record(run):
    run()
    path = run.out / f"logs/{FIRST}.json"
    set_field(path, failures=[{"step": "phi0", "error": "no luck", "crash_file": None}])
    assert run() == []
    assert json.loads(path.read_text())["failures"] == []


def test_an_acquisition_whose_values_change_the_plan_is_always_computed(run):
    mask = run.raw / SEG / "sub-0000_desc-brain_mask.nii.gz"
    content = mask.read_bytes()
    # the header of the file is valid, but the values are not a mask
    nib.save(nib.Nifti1Image(np.full(SHAPE, 0.5, np.float32), np.eye(4)), mask)
    try:
        assert run() == [FIRST]
        assert run() == [FIRST]
    finally:
        mask.write_bytes(content)


_OPENED = []
_LISTENING = []


def _note_opened(event, arguments):
    if _LISTENING and event == "open":
        _OPENED.append(str(arguments[0]))


def test_the_fingerprint_covers_all_files_that_a_run_reads(run, monkeypatch):
    started = []
    start = FinishedRecord.start
    monkeypatch.setattr(
        FinishedRecord,
        "start",
        lambda *given: started.append(given) or start(*given),
    )
    sys.addaudithook(_note_opened)  # a hook cannot be removed
    _LISTENING.append(True)
    try:
        run("--clean-workdir")
    finally:
        _LISTENING.clear()
    covered = {str(path) for plan, settings, _ in started for path in _inputs(plan, settings)}
    read = {path for path in _OPENED if path.startswith(f"{run.raw}/") and Path(path).is_file()}
    assert {path for path in read if not path.endswith("dataset_description.json")} <= covered
    assert str(run.raw / IMAGE) in read


@pytest.fixture(scope="module")
def drawn(finished):
    """The dataset after a run with pages and the group level."""
    finished()
    assert main([str(finished.raw), str(finished.out), "group"]) == 0
    return finished


@pytest.fixture
def reports(drawn, caplog):
    """Run both levels. Return the names of the pages that were written."""

    def run(*options):
        caplog.clear()
        with caplog.at_level("INFO", "bids_qcm"):
            drawn(*options)
            assert main([str(drawn.raw), str(drawn.out), "group"]) == 0
        pages = ("sub-0000.html", "sub-0001.html", "CITATION.html", "group_condmap.html")
        messages = [record.getMessage() for record in caplog.records]
        return {
            page
            for page in pages
            for message in messages
            if message.endswith(f"/{page}") and not message.startswith("unchanged: ")
        }

    return run


ONE_PARTICIPANT = {"sub-0000.html"}

REPORT_CHANGES = {
    "nothing": (lambda out: None, set()),
    "deleted figure": (
        lambda out: next((out / "sub-0000/figures").glob("*.svg")).unlink(),
        ONE_PARTICIPANT,
    ),
    "damaged figure": (
        lambda out: flip(next((out / "sub-0000/figures").glob("*.png"))),
        ONE_PARTICIPANT,
    ),
    "deleted page": (lambda out: (out / "sub-0000.html").unlink(), ONE_PARTICIPANT),
    "edited record": (
        lambda out: set_field(out / f"logs/{FIRST}.json", seconds=7.0),
        {"sub-0000.html", "CITATION.html", "group_condmap.html"},
    ),
    "deleted methods text": (lambda out: (out / "logs/CITATION.md").unlink(), {"CITATION.html"}),
    "edited group table": (lambda out: flip(out / "group_qc.tsv"), {"group_condmap.html"}),
}


@pytest.mark.parametrize("change", REPORT_CHANGES)
def test_only_reports_that_show_a_change_are_written(drawn, reports, change):
    make, expected = REPORT_CHANGES[change]
    reports()
    make(drawn.out)
    assert reports() == expected
    assert reports() == set()


@pytest.mark.slow
def test_a_change_of_the_sources_rewrites_all_reports(reports, monkeypatch):
    reports()
    monkeypatch.setattr(fingerprints, "_sources", lambda: "other")
    made = reports()
    assert made == {"sub-0000.html", "sub-0001.html", "CITATION.html", "group_condmap.html"}


@pytest.mark.slow
def test_a_page_without_a_damaged_file_is_written_again(drawn):
    path = drawn.out / "logs/sub-0000_other.json"
    path.write_text("[")
    try:
        for _ in range(2):
            drawn(status=2)
    finally:
        path.unlink()
