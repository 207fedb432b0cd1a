import json
import math
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_qcm.cli.phantom import main
from bids_qcm.phantom.make import make_phantom
from bids_qcm.phantom.parameters import PhantomParameters

SMALL = ("--resolution", "4")
TRUTH = Path("derivatives", "phantom", "sub-01", "anat")


def create(out, *options):
    assert main(["create", str(out), *SMALL, *options]) == 0
    return out


def contents(folder):
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def spin_echo(tmp_path_factory):
    return create(tmp_path_factory.mktemp("spin") / "phantom", "--participants", "2")


@pytest.fixture(scope="module")
def gradient_echo(tmp_path_factory):
    out = tmp_path_factory.mktemp("gradient") / "phantom"
    options = ["--echo-times", "0.005", "0.015", "--phase-scaling", "siemens", "--phase-sign", "-"]
    return create(out, *options)


@pytest.mark.parametrize("name", ["spin_echo", "gradient_echo"])
@pytest.mark.parametrize("dataset", [".", "derivatives/phantom"])
def test_validator_passes(request, name, dataset):
    # The derivative by itself: `--recursive` does not read a nested dataset's .bidsignore.
    validator = Path(sys.executable).with_name("bids-validator-deno")
    folder = request.getfixturevalue(name) / dataset
    result = subprocess.run(
        [validator, folder, "--ignoreWarnings"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_files_hold_the_phantom(spin_echo):
    phantom = make_phantom(PhantomParameters(resolution=4.0))
    anat = spin_echo / "sub-01" / "anat"
    expected = {
        anat / "sub-01_part-mag_T2w.nii.gz": phantom.magnitude[0],
        anat / "sub-01_part-phase_T2w.nii.gz": phantom.phase[0],
        spin_echo / TRUTH / "sub-01_dseg.nii.gz": phantom.labels,
        spin_echo / TRUTH / "sub-01_desc-brain_mask.nii.gz": phantom.mask,
        spin_echo / TRUTH / "sub-01_desc-truth_condmap.nii.gz": np.float32(phantom.conductivity),
    }
    for path, array in expected.items():
        image = nib.load(path)
        np.testing.assert_array_equal(np.asarray(image.dataobj), array)
        np.testing.assert_allclose(image.affine, phantom.affine)


def test_participants_share_the_head_and_differ_in_noise(spin_echo):
    one, two = (contents(spin_echo / name) for name in ("sub-01", "sub-02"))
    assert one["anat/sub-01_part-phase_T2w.nii.gz"] != two["anat/sub-02_part-phase_T2w.nii.gz"]
    truth = contents(spin_echo / "derivatives" / "phantom")
    assert truth["sub-01/anat/sub-01_dseg.nii.gz"] == truth["sub-02/anat/sub-02_dseg.nii.gz"]


def test_spin_echo_sidecar(spin_echo):
    sidecar = json.loads((spin_echo / "sub-01/anat/sub-01_part-phase_T2w.json").read_text())
    assert sidecar["MagneticFieldStrength"] == 3.0
    assert sidecar["ImagingFrequency"] == pytest.approx(127.732, rel=1e-5)
    assert sidecar["Units"] == "rad"
    assert 0 < sidecar["EchoTime"] < 1


def test_gradient_echoes(gradient_echo):
    anat = gradient_echo / "sub-01" / "anat"
    sidecars = [
        json.loads((anat / f"sub-01_echo-{echo}_part-phase_MEGRE.json").read_text())
        for echo in (1, 2)
    ]
    assert [sidecar["EchoTime"] for sidecar in sidecars] == [0.005, 0.015]
    assert sidecars[0]["Units"] == "arbitrary"


def test_siemens_phase_in_the_file(gradient_echo):
    anat = gradient_echo / "sub-01" / "anat"
    image = nib.load(anat / "sub-01_echo-2_part-phase_MEGRE.nii.gz")
    assert (image.dataobj.slope, image.dataobj.inter) == (2, -4096)
    stored = image.dataobj.get_unscaled()
    assert stored.dtype == np.uint16
    assert (stored.min(), stored.max()) == (0, 4095)
    parameters = PhantomParameters(resolution=4.0, echo_times=(0.005, 0.015), phase_sign=-1)
    error = image.get_fdata() * 2 * math.pi / 8192 - make_phantom(parameters).phase[1]
    assert np.abs(np.angle(np.exp(1j * error))).max() < math.pi / 4096 + 1e-5


def test_segmentation_table(spin_echo):
    lines = (spin_echo / TRUTH / "sub-01_dseg.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["index", "name", "abbreviation"]
    assert lines[2].split("\t") == ["2", "White Matter", "WM"]


def test_second_participant_is_the_next_seed(spin_echo, tmp_path):
    other = create(tmp_path / "other", "--seed", "1")
    first = other / "sub-01/anat/sub-01_part-phase_T2w.nii.gz"
    second = spin_echo / "sub-02/anat/sub-02_part-phase_T2w.nii.gz"
    assert first.read_bytes() == second.read_bytes()


def test_same_seed_same_bytes(spin_echo, tmp_path):
    assert contents(create(tmp_path / "elsewhere", "--participants", "2")) == contents(spin_echo)


def test_nothing_temporary_is_left(spin_echo):
    assert not [name for name in contents(spin_echo) if name.endswith(".tmp")]


def test_says_what_to_run_next(tmp_path, monkeypatch, capsys):
    out = (tmp_path / "a phantom").resolve()
    out.mkdir()
    monkeypatch.chdir(out)
    create(".")
    printed = capsys.readouterr().out
    assert f"bids-qcm '{out}' '{out}-qcm' participant --method all" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--echo-times", "5", "10"], "seconds"),
        (["--resolution", "0"], "resolution"),
        (["--resolution", "two"], "resolution"),
        (["--participants", "0"], "--participants"),
        (["--phase-scaling", "degrees"], "--phase-scaling"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_usage_errors(tmp_path, capsys, options, message):
    with pytest.raises(SystemExit) as error:
        main(["create", str(tmp_path / "out"), *options])
    assert error.value.code == 64
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_command_is_required(capsys):
    with pytest.raises(SystemExit) as error:
        main([])
    assert error.value.code == 64
    assert "COMMAND" in capsys.readouterr().err


def test_refuses_a_directory_with_something_in_it(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["create", str(tmp_path)]) == 73
    assert "not empty" in capsys.readouterr().err
    assert contents(tmp_path) == {"mine.txt": b"mine"}


def test_refuses_a_file(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("mine")
    assert main(["create", str(file)]) == 73
    assert str(file) in capsys.readouterr().err


def test_help_does_not_load_the_numerical_libraries():
    code = (
        "import sys; from bids_qcm.cli.phantom import main\n"
        "try: main(['create', '--help'])\n"
        "except SystemExit: sys.exit(bool({'numpy', 'scipy', 'nibabel'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
