"""Runs that are killed and started again, and the nodes that the second run computes.

``FAULT_TRIES=10`` kills runs at ten moments instead of two.
"""

import json
import os
import random
import shutil
import signal
import time

import nibabel as nib
import numpy as np
import pytest

from bids_qcm.bids.provenance import software_versions
from bids_qcm.cli.run import main
from tests.commands import alive, descendants, kill_group, run, start, wait_until, workers
from tests.synthetic import write_subjects

TRIES = int(os.environ.get("FAULT_TRIES", "2"))
METHODS = ("--method", "laplacian", "integral", "integral-seg", "--fit-radius", "3")
SHAPE = (14, 15, 13)


def results(work):
    """Return the times of complete node results, except for nodes that always run."""
    return {
        str(path.parent.relative_to(work)): path.stat().st_mtime_ns
        for path in work.rglob("result_*.pklz")
        if (path.parent / "checksums.json").exists() and "/write_" not in str(path)
    }


def outputs(out):
    """Return the contents of all outputs except logs and pages, which differ between runs."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.parent.name != "logs" and path.suffix != ".html"
    }


def times(out):
    return {path: path.stat().st_mtime_ns for path in out.rglob("anat/sub-*")}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return write_subjects(tmp_path_factory.mktemp("resume") / "raw", 2, SHAPE)


@pytest.fixture(scope="module")
def undisturbed(raw):
    """Return the outputs and the duration of an uninterrupted run."""
    folder = raw.parent
    arguments = (raw, folder / "out", "participant", "-w", folder / "work", *METHODS)
    assert run(*arguments)[0] == 0  # the first run compiles functions
    begin = time.monotonic()
    arguments = (raw, folder / "out2", "participant", "-w", folder / "w2", *METHODS)
    status, said = run(*arguments)
    assert status == 0, said
    return outputs(folder / "out2"), time.monotonic() - begin


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_killed_run_is_resumed(raw, undisturbed):
    expected, seconds = undisturbed
    rng = random.Random(7)
    n_resumed = 0
    for number in range(TRIES):
        out, work = (raw.parent / f"{name}-{number}" for name in ("out", "work"))
        arguments = (raw, out, "participant", "-w", work, *METHODS)
        process = start(*arguments)
        time.sleep(seconds * (number + rng.random()) / TRIES)
        kill_group(process)
        computed, written = results(work), times(out)
        n_resumed += bool(computed)
        for path in written:
            if path.name.endswith(".nii.gz") and not path.name.startswith("."):
                nib.load(path).get_fdata()
                assert path.with_name(path.name.replace(".nii.gz", ".json")).exists()
        time.sleep(1.1)  # remaining files are then too old to belong to a running process
        status, said = run(*arguments)
        assert status == 0, said
        assert outputs(out) == expected
        after = results(work)
        assert {name: after[name] for name in computed} == computed
        assert {path: time for path, time in times(out).items() if path in written} == written
    assert n_resumed


def damage(path, rng):
    """Empty, truncate, delete or overwrite a file, or change one of its bits."""
    content = bytearray(path.read_bytes())
    place = rng.randrange(len(content))
    kind = rng.randrange(6)
    if kind == 0:
        path.unlink()
    elif kind < 3:
        path.write_bytes(content[: place * (kind - 1)])
    elif kind == 3:
        path.write_bytes(rng.randbytes(len(content)))
    else:
        content[place] ^= 1 << rng.randrange(8)
        path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_damaged_work_folder_does_not_change_the_outputs(tmp_path, in_process, without_pages):
    """Before each run, one random file is damaged."""
    raw, out, work = write_subjects(tmp_path / "raw", 1), tmp_path / "out", tmp_path / "work"
    arguments = [str(raw), str(out), "participant", "-w", str(work), *in_process]
    arguments += ["--method", "laplacian-seg", "--fit-radius", "3"]
    rng = random.Random(11)
    with without_pages():
        assert main(arguments) == 0
        expected = outputs(out)
        for _ in range(50 * TRIES):
            files = sorted(path for path in work.glob("bids_qcm_*/*/*/*") if path.stat().st_size)
            damage(rng.choice(files), rng)
            if rng.random() < 0.5:
                shutil.rmtree(out)
            assert main(arguments) == 0
            assert outputs(out) == expected


@pytest.mark.slow
def test_workers_end_when_the_command_alone_is_killed(raw, tmp_path):
    process = start(raw, tmp_path / "out", "participant", "-w", tmp_path / "work", *METHODS, "-v")
    try:
        for line in process.stderr:
            if line.endswith(": started\n"):
                break
        assert wait_until(lambda: workers(process.pid))
        children = descendants(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert wait_until(lambda: not any(alive(pid) for pid in children))
    finally:
        kill_group(process)


class Again:
    """A dataset that is mapped repeatedly in this process."""

    def __init__(self, root, in_process):
        self.root = root
        self.raw = write_subjects(root / "raw", 2)
        self.in_process = in_process
        self.seg = self.raw / "derivatives/seg"

    def __call__(self, *options):
        """Map the dataset, and return the nodes that were computed."""
        before = results(self.root / "work") if (self.root / "work").exists() else {}
        methods = ("--method", "laplacian", "laplacian-mag", "laplacian-seg", "--fit-radius", "3")
        status = main(
            [
                *(str(self.raw), str(self.root / "out"), "participant", *methods, *options),
                *("-w", str(self.root / "work"), *self.in_process),
            ]
        )
        assert status == 0
        after = results(self.root / "work")
        changed = {name for name, time in after.items() if before.get(name) != time}
        return {name.partition("/")[2].replace("_MEGRE_wf/", ":") for name in changed}


@pytest.fixture(scope="module")
def again(tmp_path_factory, in_process, without_pages):
    # pages are not nodes
    with without_pages():
        again = Again(tmp_path_factory.mktemp("again"), in_process)
        again()
        yield again


USED = ("laplacian", "laplacian_mag", "laplacian_seg")
STATISTICS = {f"{of}statistics_{method}" for of in ("", "region_") for method in USED}
JUDGED = {f"judge_{method}" for method in USED}
MAPS = {f"reconstruct_{method}" for method in USED} | STATISTICS | JUDGED
ALL = {"check_images", "mask", "phi0", "sign", "segmentation", *MAPS}


def nodes(names, subjects=("sub_0000", "sub_0001")):
    return {f"{subject}:{name}" for subject in subjects for name in names}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "names"),
    [
        ((), set()),
        (("--nprocs", "1", "--omp-nthreads", "1", "--mem", "3G", "-v"), set()),
        (("--phase-type", "transmit"), {"check_images", *MAPS}),
        (("--sign", "-"), {"sign", *MAPS}),
        (("--fit-radius", "3.5"), MAPS),
        (
            ("--method", "laplacian", "laplacian-fd"),
            # nipype also computes a node again if other outputs of the node are needed
            {
                "segmentation",
                "reconstruct_laplacian_fd",
                "statistics_laplacian_fd",
                "region_statistics_laplacian_fd",
                "judge_laplacian_fd",
            },
        ),
        (("--phase-units", "rad"), set()),
        (
            ("--segmentation", "none", "--method", "laplacian"),
            # without regions, the reconstruction computes no noise maps
            {"mask", "reconstruct_laplacian", "statistics_laplacian", "judge_laplacian"},
        ),
    ],
)
def test_a_changed_option_recomputes_dependent_nodes(again, options, names):
    again()
    assert again(*options) == nodes(names)
    assert again(*options) == set()


def edit(path, **fields):
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def change_image(path, function):
    image = nib.load(path)
    nib.save(nib.Nifti1Image(function(np.asanyarray(image.dataobj)), image.affine), path)


def touch(again):
    for path in again.raw.rglob("*.nii.gz"):
        path.write_bytes(path.read_bytes())


def change_phase(again):
    path = again.raw / "sub-0000/anat/sub-0000_echo-2_part-phase_MEGRE.nii.gz"
    change_image(path, lambda phase: (phase * 1.01).astype(np.float32))


def change_segmentation(again):
    change_image(again.seg / "sub-0000/anat/sub-0000_dseg.nii.gz", lambda labels: 3 - labels)


def change_mask(again):
    def smaller(mask):
        mask[0] = 0
        return mask

    change_image(again.seg / "sub-0000/anat/sub-0000_desc-brain_mask.nii.gz", smaller)


def change_echo_time(again):
    for part in ("mag", "phase"):
        edit(again.raw / f"sub-0000/anat/sub-0000_echo-3_part-{part}_MEGRE.json", EchoTime=0.016)


def change_frequency(again):
    for path in again.raw.glob("sub-0000/anat/*.json"):
        edit(path, ImagingFrequency=123.2)


def change_what_is_not_used(again):
    for path in again.raw.glob("sub-0000/anat/*.json"):
        edit(path, PatientPosition="HFS")


def add_label_table(again):
    table = again.seg / "dseg.tsv"
    table.write_text("index\tname\tabbreviation\n1\tWhite Matter\tWM\n2\tGray Matter\tGM\n")


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (touch, set()),
        (change_what_is_not_used, set()),
        # magnitude, mask and the resampled segmentation do not change
        (change_phase, ALL - {"mask", "segmentation"}),
        (change_mask, ALL - {"check_images"}),
        (
            change_segmentation,
            {"segmentation", "reconstruct_laplacian_seg", *STATISTICS, *JUDGED},
        ),
        # the image check compares phi0 with the phase of a head at this frequency
        (change_frequency, {"check_images", *MAPS}),
    ],
)
def test_a_changed_input_recomputes_dependent_nodes(again, change, names):
    again()
    change(again)
    assert again() == nodes(names, ["sub_0000"])


def test_a_changed_echo_time_recomputes_the_maps(again):
    again()
    change_echo_time(again)
    # Without off-resonance, the inputs of the mask and the statistics change at most by rounding.
    computed = again() | nodes({"mask", *STATISTICS}, ["sub_0000"])
    assert computed == nodes(ALL - {"segmentation"}, ["sub_0000"])


def test_a_changed_label_table_recomputes_dependent_nodes(again):
    again()
    add_label_table(again)
    assert {name.partition(":")[2] for name in again()} <= {
        "segmentation",
        "reconstruct_laplacian_seg",
        *STATISTICS,
        *JUDGED,
    }


@pytest.mark.parametrize("changed", ["bids_qcm", "scipy"])
def test_another_version_of_the_app_or_a_library_recomputes_everything(again, monkeypatch, changed):
    again()
    versions = software_versions() | {changed: "99.0"}
    monkeypatch.setattr("bids_qcm.workflows.names.software_versions", lambda: versions)
    assert again() == nodes(ALL)
