"""The command on good and bad datasets."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_qcm.cli.run import main
from bids_qcm.phase.unwrapping import wrap
from bids_qcm.physics import conductivity_factor
from bids_qcm.workflows.progress import REPORTS, run_progress
from tests.synthetic import FREQUENCY, Dataset, squared_distance, uniform_phase

SHAPE = (14, 13, 12)
VOXEL_MM = 4.0
AFFINE = np.diag([VOXEL_MM] * 3 + [1])


def save(path, values, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)


def write_json(path, **content):
    path.write_text(json.dumps(content))


class Balls(Dataset):
    """A dataset of balls with a conductivity of 0.6 S/m."""

    def __init__(self, root):
        rng = np.random.default_rng(0)
        inside = squared_distance(SHAPE, AFFINE) < (5.5 * VOXEL_MM * 1e-3) ** 2
        noise = rng.uniform(-np.pi, np.pi, SHAPE)
        phase = np.where(inside, uniform_phase(0.6, SHAPE, AFFINE), noise).astype(np.float32)
        magnitude = (inside + 0.02 * rng.random(SHAPE)).astype(np.float32)
        self.labels = inside.astype(np.uint8)
        super().__init__(root, AFFINE, {"mag": magnitude, "phase": phase})

    def add(self, label, echoes=("",)):
        for number, echo in enumerate(echoes, start=1):
            for part, units in (("mag", None), ("phase", "rad")):
                fields = {"EchoTime": 0.005 * number, "Units": units}
                (image,) = self.pair(f"sub-{label}{echo}_{{}}_T2w", parts=(part,), **fields)
        return image

    def segment(self, label):
        self.derivative()
        self.image(f"derivatives/seg/sub-{label}/anat/sub-{label}_dseg.nii.gz", self.labels)


@pytest.fixture
def dataset(tmp_path):
    return Balls(tmp_path / "raw")


@pytest.fixture(autouse=True)
def no_pages(without_pages):
    """Skip the pages, which have their own tests; records are still written."""
    with without_pages():
        yield


@pytest.fixture
def run_with_workers(tmp_path, dataset):
    """A function that runs the command on the dataset and returns its exit status."""

    def call(*options, method=("laplacian",)):
        return main(
            [
                str(dataset.root), str(tmp_path / "out"), "participant",
                "--work-dir", str(tmp_path / "work"), "--method", *method, *options,
            ]
        )  # fmt: skip

    return call


@pytest.fixture
def run(run_with_workers, in_process):
    """The same function as `run_with_workers`, but without worker processes."""

    def call(*options, **method):
        return run_with_workers(*in_process, *options, **method)

    return call


def maps(tmp_path):
    return sorted(path.name for path in (tmp_path / "out").rglob("*_condmap.nii.gz"))


def sidecar_of(image):
    return image.with_name(image.name.replace(".nii.gz", ".json"))


def edit_sidecar(image, **changes):
    path = sidecar_of(image)
    content = json.loads(path.read_text()) | changes
    write_json(path, **{key: value for key, value in content.items() if value is not None})


def break_everything(dataset):
    """Add one participant for each type of error; return the required words of each message."""
    other_affine = AFFINE.copy()
    other_affine[0, 3] = 5
    expected = {}

    image = dataset.add("nomag")
    (image.parent / "sub-nomag_part-mag_T2w.nii.gz").unlink()
    expected["nomag"] = [image.name, "part-mag"]

    image = dataset.add("shape")
    save(image, dataset.volumes["phase"][:-1])
    expected["shape"] = [image.name, "shape"]

    image = dataset.add("affine")
    save(image, dataset.volumes["phase"], other_affine)
    expected["affine"] = [image.name, "affine"]

    image = dataset.add("echotime", echoes=("_echo-1", "_echo-2"))
    edit_sidecar(image, EchoTime=None)
    (image.parent / "sub-echotime_echo-2_part-mag_T2w.json").write_text("{}")
    expected["echotime"] = [image.name, "EchoTime"]

    image = dataset.add("frequency")
    for part in ("mag", "phase"):
        edit_sidecar(
            image.with_name(f"sub-frequency_part-{part}_T2w.nii.gz"), ImagingFrequency=None
        )
    expected["frequency"] = [image.name, "MagneticFieldStrength"]

    image = dataset.add("units")
    save(image, 100 * dataset.volumes["phase"])
    edit_sidecar(image, Units=None)
    expected["units"] = [image.name, "--phase-units"]

    image = dataset.add("zero")
    save(image, 0 * dataset.volumes["phase"])
    expected["zero"] = [image.name, "zero"]

    image = dataset.add("nan")
    save(image, np.nan * dataset.volumes["phase"])
    expected["nan"] = [image.name, "non-finite"]

    image = dataset.add("truncated")
    image.write_bytes(image.read_bytes()[:-500])
    expected["truncated"] = [image.name, "copy the file again"]

    image = dataset.add("fourd")
    save(image, np.stack([dataset.volumes["phase"]] * 2, axis=-1))
    expected["fourd"] = [image.name, "has 2 volumes"]

    image = dataset.add("json")
    sidecar_of(image).write_text('{"EchoTime": 0.005,')
    expected["json"] = [sidecar_of(image).name, "JSON"]

    image = dataset.add("notnifti")
    image.write_bytes(gzip.compress(b"not an image"))
    expected["notnifti"] = [image.name, "NIfTI"]
    return expected


@pytest.mark.slow
def test_errors_of_some_participants_do_not_stop_the_others(
    dataset, run_with_workers, tmp_path, capsys
):
    dataset.add("good")
    dataset.segment("good")
    dataset.add("noseg")
    expected = break_everything(dataset)
    assert run_with_workers("-v", method=("laplacian", "laplacian-seg")) == 1
    table, log = (text.splitlines() for text in capsys.readouterr())
    first_node = next(i for i, line in enumerate(log) if line.endswith(": started"))
    before = [line for line in [*table, *log[:first_node]] if "skipped: " in line]
    for label, words in expected.items():
        said = [line for line in before if f"sub-{label}_" in line]
        assert said, f"nothing was said of sub-{label} before computing"
        assert any(all(word in line for word in (*words, "Remedy")) for line in said)
        assert not (tmp_path / "out" / f"sub-{label}").exists()
    assert maps(tmp_path) == [
        "sub-good_desc-laplacianSeg_condmap.nii.gz",
        "sub-good_desc-laplacian_condmap.nii.gz",
        "sub-noseg_desc-laplacian_condmap.nii.gz",
    ]
    refused = [line for line in table if "sub-noseg" in line and "laplacian-seg" in line]
    assert "no segmentation" in refused[0]
    assert "--derivatives" in refused[0]
    # the summary at the end lists every failure again
    assert log[-1].endswith(f"1 acquisition(s) complete, {len(expected) + 1} incomplete")


def test_the_map_has_the_conductivity_of_the_ball(dataset, run, tmp_path):
    dataset.add("01")
    assert run() == 0
    path = tmp_path / "out/sub-01/anat/sub-01_desc-laplacian_condmap.nii.gz"
    values = nib.load(path).get_fdata()[5:9, 5:9, 5:9]
    np.testing.assert_allclose(values, 0.6, rtol=1e-3)
    sidecar = json.loads(sidecar_of(path).read_text())
    assert sidecar["Units"] == "S/m"
    assert sidecar["Method"] == "laplacian"
    assert sidecar["FitRadius"] == [9.0, 9.0, 9.0]
    assert (sidecar["PhaseType"], sidecar["PhaseSign"]) == ("transceive", "+")
    assert sidecar["ImagingFrequency"] == 127.74
    assert sidecar["ImagingFrequencySource"] == "ImagingFrequency"
    assert "bids:raw:sub-01/anat/sub-01_part-phase_T2w.nii.gz" in sidecar["Sources"]
    assert 0 <= sidecar["InvalidFraction"] < 0.5


def test_options_reach_the_map(dataset, run, tmp_path):
    dataset.add("01")
    assert run("--phase-type", "transmit", "--sign", "-", "--fit-radius", "8", "12", "12") == 0
    path = tmp_path / "out/sub-01/anat/sub-01_desc-laplacian_condmap.nii.gz"
    np.testing.assert_allclose(nib.load(path).get_fdata()[5:9, 5:9, 5:9], -1.2, rtol=1e-3)
    sidecar = json.loads(sidecar_of(path).read_text())
    assert sidecar["FitRadius"] == [8.0, 12.0, 12.0]
    assert (sidecar["PhaseSign"], sidecar["PhaseSignOrigin"]) == ("-", "given")


def test_a_second_run_does_not_change_finished_files(dataset, run, tmp_path):
    dataset.add("01")
    assert run() == 0
    images = sorted((tmp_path / "out").rglob("*.nii.gz"))
    before = [path.stat().st_mtime_ns for path in images]
    assert run() == 0
    assert [path.stat().st_mtime_ns for path in images] == before
    assert not [path for path in (tmp_path / "out").rglob(".*.nii.gz")]


def test_a_deleted_map_is_written_again(dataset, run, tmp_path):
    dataset.add("01")
    assert run() == 0
    path = tmp_path / "out/sub-01/anat/sub-01_desc-laplacian_condmap.nii.gz"
    content = path.read_bytes()
    path.unlink()
    assert run() == 0
    assert path.read_bytes() == content


def test_a_changed_image_is_computed_again(dataset, run, tmp_path):
    image = dataset.add("01")
    assert run() == 0
    phase = dataset.volumes["phase"]
    save(image, np.where(dataset.labels, 2 * phase, phase))
    assert run() == 0
    path = tmp_path / "out/sub-01/anat/sub-01_desc-laplacian_condmap.nii.gz"
    np.testing.assert_allclose(nib.load(path).get_fdata()[5:9, 5:9, 5:9], 1.2, rtol=1e-3)


def test_acquisitions_that_differ_only_in_suffix_get_different_files(dataset, run, tmp_path):
    image = dataset.add("01")
    for path in list(image.parent.iterdir()):
        other = path.with_name(path.name.replace("T2w", "PDw"))
        other.write_bytes(path.read_bytes())
    assert run() == 0
    assert maps(tmp_path) == [
        "sub-01_acq-PDw_desc-laplacian_condmap.nii.gz",
        "sub-01_acq-T2w_desc-laplacian_condmap.nii.gz",
    ]


def test_a_failing_node_does_not_stop_the_run(dataset, run_with_workers, tmp_path, capsys):
    dataset.add("bad")
    dataset.add("good")
    anat = dataset.root / "derivatives/seg/sub-bad/anat"
    # a brain mask outside the signal passes the header checks, but fails in the computation
    far = np.zeros(SHAPE, np.uint8)
    far[0, 0, 0] = 1
    dataset.segment("good")
    save(anat / "sub-bad_desc-brain_mask.nii.gz", far)
    assert run_with_workers() == 1
    assert maps(tmp_path) == ["sub-good_desc-laplacian_condmap.nii.gz"]
    said = capsys.readouterr().err
    assert "sub-bad" in said.splitlines()[-2]
    assert list((tmp_path / "out/logs").glob("crash-*.txt"))


@pytest.mark.parametrize("options", [(), ("--stop-on-first-crash",)])
def test_the_progress_does_not_wait_for_steps_that_will_not_run(dataset, run, monkeypatch, options):
    noted = []

    def note(plans, settings):
        assert len(plans) == 3
        noted.append(run_progress(plans, settings))
        return noted[0]

    monkeypatch.setattr("bids_qcm.cli.run.run_progress", note)
    for label in ("bad", "empty", "good"):
        image = dataset.add(label)
        if label == "empty":  # the values are read after the plan
            save(image, np.zeros(SHAPE, np.float32))
    # this mask outside the signal fails in the computation
    far = np.zeros(SHAPE, np.uint8)
    far[0, 0, 0] = 1
    dataset.segment("good")
    save(dataset.root / "derivatives/seg/sub-bad/anat/sub-bad_desc-brain_mask.nii.gz", far)
    assert run(*options) == 1
    (progress,) = noted
    progress.skip([REPORTS])
    assert progress.fraction == 1
    assert progress.seconds_left == 0


def test_runs_with_different_data_can_share_the_work_directory(dataset, run, tmp_path, in_process):
    dataset.add("01")
    assert run() == 0
    other = Balls(tmp_path / "other")
    phase = other.volumes["phase"]
    other.volumes["phase"] = np.where(other.labels, 2 * phase, phase)
    other.add("01")
    command = [str(other.root), str(tmp_path / "out2"), "participant", "--method", "laplacian"]
    assert main([*command, "-w", str(tmp_path / "work"), *in_process]) == 0
    assert len(list((tmp_path / "work").glob("bids_qcm_*"))) == 2
    for out, sigma in (("out", 0.6), ("out2", 1.2)):
        path = tmp_path / out / "sub-01/anat/sub-01_desc-laplacian_condmap.nii.gz"
        np.testing.assert_allclose(nib.load(path).get_fdata()[5:9, 5:9, 5:9], sigma, rtol=1e-3)


def test_another_dataset_is_not_overwritten(dataset, tmp_path, capsys):
    dataset.add("01")
    dataset.segment("01")
    out = dataset.root / "derivatives/seg"
    before = (out / "dataset_description.json").read_bytes()
    assert main([str(dataset.root), str(out), "participant", "-w", str(tmp_path / "w")]) == 73
    assert "another dataset" in capsys.readouterr().err
    assert (out / "dataset_description.json").read_bytes() == before
    assert not list(out.rglob("*_condmap*"))


def test_a_map_without_a_valid_voxel_is_a_failure(dataset, run, tmp_path, capsys):
    dataset.add("01")
    mask = np.zeros(SHAPE, np.uint8)
    # with only two slices, the curvature is underdetermined
    mask[:, :, 6:8] = dataset.labels[:, :, 6:8]
    anat = dataset.root / "derivatives/seg/sub-01/anat"
    dataset.segment("02")
    save(anat / "sub-01_desc-brain_mask.nii.gz", mask)
    assert run("--sign", "+", method=("laplacian", "laplacian-fd")) == 1
    assert maps(tmp_path) == []
    assert "could not be computed in any voxel" in capsys.readouterr().err


def test_the_error_for_a_thin_volume_suggests_an_in_plane_kernel(dataset, run, tmp_path, capsys):
    image = dataset.add("01")
    for part, values in dataset.volumes.items():
        save(image.with_name(f"sub-01_part-{part}_T2w.nii.gz"), values[:, :, 5:7])
    assert run() == 1
    assert "2 voxel(s) along z" in capsys.readouterr().err
    assert run("--fit-radius", "9", "9", "0") == 0
    assert maps(tmp_path) == ["sub-01_desc-laplacian_condmap.nii.gz"]


def test_incoherent_slices_of_a_2d_acquisition_require_an_in_plane_map(
    dataset, run, tmp_path, capsys
):
    """A phase that does not change across slices has its whole curvature within the slices."""
    image = dataset.add("01")
    x, y, _ = np.indices(SHAPE) * VOXEL_MM * 1e-3
    centre = (np.array(SHAPE) - 1) / 2 * VOXEL_MM * 1e-3
    laplacian = 0.6 / conductivity_factor(FREQUENCY)
    phase = laplacian * ((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / 4
    rng = np.random.default_rng(0)
    offsets = rng.uniform(-np.pi, np.pi, SHAPE[2]) + 1e-3 * rng.standard_normal(SHAPE)
    phase = np.where(dataset.labels, wrap(phase + offsets), dataset.volumes["phase"])
    save(image, phase.astype(np.float32))
    edit_sidecar(image, MRAcquisitionType="2D")
    assert run() == 1
    said = capsys.readouterr().err
    assert "has phase jumps along axis k" in said
    assert "differentiate the phase only within slices (--in-plane k)" in said
    assert run("--in-plane", "k", "--fit-radius", "12", "--sign", "+") == 0
    assert "conductivity is too low: by about 43% in axial slices" in capsys.readouterr().err
    (path,) = (tmp_path / "out").rglob("*_condmap.nii.gz")
    assert np.median(nib.load(path).get_fdata()[5:9, 5:8, 4:8]) == pytest.approx(0.6, rel=0.05)
    content = json.loads(sidecar_of(path).read_text())
    assert content["SlicesAlignedAlong"] == "k"
    assert content["Verdict"] != "green"


def test_inconsistent_maps_are_logged(dataset, run, capsys):
    dataset.add("01")
    assert run(method=("laplacian", "laplacian-fd")) == 0
    assert "earlier run" not in capsys.readouterr().err
    assert run("--sign", "-") == 0
    said = capsys.readouterr().err
    assert "sub-01_desc-laplacianFD_condmap.nii.gz is from an earlier run" in said
    assert "differs from phi0 in PhaseSign" in said


def test_a_weak_sign_is_logged(dataset, run, capsys):
    # a Laplacian that is positive in one half and negative in the other
    x = np.arange(SHAPE[0])[:, None, None] - (SHAPE[0] - 1) / 2
    phase = np.where(dataset.labels, 0.004 * x**3, dataset.volumes["phase"])
    dataset.volumes["phase"] = phase.astype(np.float32)
    dataset.add("01")
    assert run() == 0
    said = capsys.readouterr().err
    assert "sub-01_T2w: the evidence for the sign" in said
    assert "--sign" in said


def test_a_red_verdict_is_logged_as_a_warning_and_others_as_info(dataset, run, capsys):
    dataset.add("01")
    assert run("--sign", "+", method=("laplacian",)) == 0
    said = capsys.readouterr().err
    assert re.search(r"INFO sub-01_T2w, laplacian: verdict (green|amber)", said)
    assert "verdict red" not in said
    assert run("--sign", "-", method=("laplacian",)) == 0
    said = capsys.readouterr().err
    assert re.search(r"WARNING sub-01_T2w, laplacian: verdict red: .*the sign may be wrong", said)


def test_a_target_std_that_cannot_be_reached_is_logged(dataset, run, capsys):
    dataset.add("01")
    assert run("--fit-radius", "auto", "--target-std", "1e-9", method=("laplacian",)) == 0
    said = capsys.readouterr().err
    assert "with twice the published radii, the predicted noise standard deviation is" in said
    assert "target of 1e-09 S/m" in said


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--participant-label", "02"], 18, ["no participant 02", "choose from 01"]),
        (["--session-label", "x"], 18, ["--session-label"]),
    ],
)
def test_filters_that_match_nothing_are_an_error(dataset, run, capsys, options, status, words):
    dataset.add("01")
    assert run(*options) == status
    said = capsys.readouterr().err
    assert all(word in said for word in words)


def test_participants_are_selected(dataset, run, tmp_path):
    for label in ("01", "02", "011"):
        dataset.add(label)
    assert run("--participant-label", "sub-01") == 0
    assert maps(tmp_path) == ["sub-01_desc-laplacian_condmap.nii.gz"]


def test_a_dataset_without_a_phase_is_an_error(dataset, run, capsys):
    dataset.add("01").unlink()
    assert run() == 66
    said = capsys.readouterr().err
    assert str(dataset.root) in said
    assert "part-phase" in said


def test_a_dataset_without_participants_is_an_error(run):
    assert run() == 66


@pytest.mark.parametrize("content", [None, "{", "[]", '{"Name": "x"}'])
def test_a_dataset_without_a_valid_description_is_an_error(dataset, run, capsys, content):
    dataset.add("01")
    path = dataset.root / "dataset_description.json"
    path.unlink() if content is None else path.write_text(content)
    assert run() == 16
    assert "dataset_description.json" in capsys.readouterr().err
    assert run("--skip-bids-validation") == 0


def test_an_output_folder_that_cannot_be_created_is_an_error(dataset, tmp_path, capsys):
    dataset.add("01")
    (tmp_path / "file").write_text("")
    status = main(
        [str(dataset.root), str(tmp_path / "file/out"), "participant", "-w", str(tmp_path / "w")]
    )
    assert status == 73
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.slow
def test_nothing_is_written_outside_the_output_and_work_directories(dataset, tmp_path):
    dataset.add("01")
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(
        [
            sys.executable, "-m", "bids_qcm.cli.run", str(dataset.root), str(tmp_path / "out"),
            "participant", "--work-dir", str(tmp_path / "work"), "--method", "laplacian",
        ],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        cwd=home,
        check=True,
        capture_output=True,
    )  # fmt: skip
    assert not list(home.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "out", "raw", "work"]


@pytest.mark.parametrize(
    "content", ["- MultiProc", "plugin: Liner", "plugin: [", "{}", "plugin_args: {n_procs: 1}"]
)
def test_an_invalid_plugin_file_is_an_error(dataset, run, tmp_path, capsys, content):
    dataset.add("01")
    path = tmp_path / "plugin.yml"
    path.write_text(content)
    assert run("--use-plugin", str(path)) == 65
    assert str(path) in capsys.readouterr().err


def test_a_plugin_file_chooses_the_plugin(dataset, run_with_workers, in_process, tmp_path):
    dataset.add("01")
    assert run_with_workers(*in_process) == 0
    assert len(maps(tmp_path)) == 1


def test_the_resources_of_all_steps_are_written(dataset, run_with_workers, tmp_path):
    dataset.add("01")
    assert run_with_workers("--resource-monitor") == 0
    path = tmp_path / "out/logs/resources-sub-01_T2w.tsv"
    table = pd.read_csv(path, sep="\t", index_col="step")
    assert {"check_images", "phi0", "sign", "reconstruct_laplacian", "write_phi0"} <= set(
        table.index
    )
    assert set(json.loads(path.with_suffix(".json").read_text())) == {"step", *table.columns}
    # tiny images need hardly more memory than the process itself
    assert (table.peak_memory.between(0.05, 1) & (table.processor_time < 30)).all()
    known = table.estimated_processor_time.notna()
    assert list(table.index[~known]) == [one for one in table.index if one.startswith("write_")]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_leaves_no_process_and_no_incomplete_file(dataset, tmp_path, number):
    dataset.add("01")
    command = [
        sys.executable, "-m", "bids_qcm.cli.run", str(dataset.root), str(tmp_path / "out"),
        "participant", "--work-dir", str(tmp_path / "work"), "--method", "all", "-v",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    for line in process.stderr:
        if line.endswith(": started\n"):
            break
    process.send_signal(number)
    said = process.stderr.read()
    assert process.wait(timeout=30) == 130, said
    assert "interrupted" in said
    assert re.search(r"\d+ of \d+ map\(s\) are in OUTPUT_DIR", said)
    assert "Traceback" not in said
    for _ in range(100):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("processes are left")
    assert not [path for path in (tmp_path / "out").rglob(".*") if path.name != ".bidsignore"]


def test_an_interruption_lists_the_maps_that_exist(dataset, run, caplog, monkeypatch):
    dataset.add("01")
    assert run("--method", "laplacian") == 0
    monkeypatch.setattr("bids_qcm.cli.run._compute_all", interrupt)
    with caplog.at_level("INFO", "bids_qcm"):
        assert run("--method", "laplacian", "laplacian-mag") == 130
    (listed,) = (one for one in caplog.messages if one.startswith("there: "))
    assert "desc-laplacian_condmap" in listed
    assert "1 of 2 map(s) are in OUTPUT_DIR" in caplog.messages


def interrupt(*_, **__):
    raise KeyboardInterrupt
