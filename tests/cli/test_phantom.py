import json
import math
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from bids_qcm.cli.phantom import main
from bids_qcm.phantom.make import make_head, make_phantom
from bids_qcm.phantom.parameters import PhantomParameters, StudyParameters
from bids_qcm.phantom.study import make_participant

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


@pytest.fixture(scope="module")
def lesions(tmp_path_factory):
    out = tmp_path_factory.mktemp("lesions") / "phantom"
    return create(out, "--lesion", "--small-lesions", "--tissue-variation", "0.15")


@pytest.fixture(scope="module")
def full_wave(tmp_path_factory):
    folder = tmp_path_factory.mktemp("full-wave")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield create(folder / "phantom", "--forward-model", "full-wave", "--resolution", "8")


@pytest.fixture(scope="module")
def array(tmp_path_factory):
    folder = tmp_path_factory.mktemp("array")
    options = ["--forward-model", "full-wave", "--receive", "array", "--resolution", "10"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield create(folder / "phantom", *options)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "phantom"
    options = ["--participants", "2", "--sessions", "2", "--lesion", "--echo-times", "0.01", "0.02"]
    return create(out, *options)


@pytest.mark.parametrize(
    "name", ["spin_echo", "gradient_echo", "lesions", "full_wave", "array", "study"]
)
@pytest.mark.parametrize("dataset", [".", "derivatives/phantom"])
def test_the_validator_accepts_the_dataset(request, name, dataset):
    # Validate the derivative separately, because `--recursive` does not read the .bidsignore of a
    # nested dataset.
    validator = Path(sys.executable).with_name("bids-validator-deno")
    folder = request.getfixturevalue(name) / dataset
    result = subprocess.run(
        [validator, folder, "--ignoreWarnings"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_files_contain_the_phantom(spin_echo):
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


def test_the_sidecar_of_a_spin_echo_is_complete(spin_echo):
    sidecar = json.loads((spin_echo / "sub-01/anat/sub-01_part-phase_T2w.json").read_text())
    assert sidecar["MagneticFieldStrength"] == 3.0
    assert sidecar["ImagingFrequency"] == pytest.approx(127.732, rel=1e-5)
    assert sidecar["Units"] == "rad"
    assert 0 < sidecar["EchoTime"] < 1


def test_full_wave_phantom_has_a_b1_map(full_wave):
    fmap = full_wave / "sub-01" / "fmap"
    image = nib.load(fmap / "sub-01_TB1map.nii.gz")
    assert image.header.get_zooms() == (8, 8, 8)
    percent = image.get_fdata()
    assert 90 < percent.max() < 120
    centre = np.linalg.inv(image.affine) @ [0, -20, 10, 1]
    assert percent[tuple(np.rint(centre[:3]).astype(int))] == pytest.approx(100, abs=10)
    sidecar = json.loads((fmap / "sub-01_TB1map.json").read_text())
    assert sidecar["Units"] == "percent"
    for uri in sidecar["IntendedFor"]:
        path = full_wave / uri.removeprefix("bids::")
        assert json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())[
            "FlipAngle"
        ] == pytest.approx(90)
    assert len(sidecar["IntendedFor"]) == 2


@pytest.mark.parametrize("name", ["spin_echo", "full_wave", "array"])
def test_sidecars_name_the_receive_coil_of_the_full_wave_model(request, name):
    dataset = request.getfixturevalue(name)
    expected = {"spin_echo": None, "full_wave": "birdcage", "array": "array"}[name]
    for part in ("mag", "phase"):
        sidecar = json.loads((dataset / f"sub-01/anat/sub-01_part-{part}_T2w.json").read_text())
        assert sidecar.get("ReceiveCoilName") == expected
    assert f"- receive: {expected or 'birdcage'}" in (dataset / "README").read_text()


def test_phantom_without_b1_effect_has_a_constant_b1_map(spin_echo):
    image = nib.load(spin_echo / "sub-01" / "fmap" / "sub-01_TB1map.nii.gz")
    percent = image.get_fdata()
    measured = percent[percent > 0]
    assert measured.size > 1000
    # the noise of the map is 2 %
    assert (measured.mean(), measured.std()) == pytest.approx((100, 2), abs=0.2)


def test_each_gradient_echo_has_a_sidecar(gradient_echo):
    anat = gradient_echo / "sub-01" / "anat"
    sidecars = [
        json.loads((anat / f"sub-01_echo-{echo}_part-phase_MEGRE.json").read_text())
        for echo in (1, 2)
    ]
    assert [sidecar["EchoTime"] for sidecar in sidecars] == [0.005, 0.015]
    assert sidecars[0]["Units"] == "arbitrary"


def test_the_phase_is_stored_in_siemens_units(gradient_echo):
    anat = gradient_echo / "sub-01" / "anat"
    image = nib.load(anat / "sub-01_echo-2_part-phase_MEGRE.nii.gz")
    assert (image.dataobj.slope, image.dataobj.inter) == (2, -4096)
    stored = image.dataobj.get_unscaled()
    assert stored.dtype == np.uint16
    assert (stored.min(), stored.max()) == (0, 4095)
    parameters = PhantomParameters(resolution=4.0, echo_times=(0.005, 0.015), phase_sign=-1)
    error = image.get_fdata() * 2 * math.pi / 8192 - make_phantom(parameters).phase[1]
    assert np.abs(np.angle(np.exp(1j * error))).max() < math.pi / 4096 + 1e-5


def test_the_label_table_names_the_tissues(spin_echo):
    lines = (spin_echo / TRUTH / "sub-01_dseg.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["index", "name", "abbreviation"]
    assert lines[2].split("\t") == ["2", "White Matter", "WM"]


def test_the_label_table_contains_the_labels_of_the_image(spin_echo, lesions):
    for dataset, expected in ((spin_echo, "12345"), (lesions, "123457")):
        lines = (dataset / TRUTH / "sub-01_dseg.tsv").read_text().splitlines()
        assert "".join(line.split("\t")[0] for line in lines[1:]) == expected
        labels = np.asarray(nib.load(dataset / TRUTH / "sub-01_dseg.nii.gz").dataobj)
        assert "".join(map(str, np.unique(labels)[1:])) == expected
    assert lines[-1].split("\t") == ["7", "Lesion", "L"]


def test_small_lesions_have_a_mask_for_each_diameter(spin_echo, lesions):
    assert not list((spin_echo / TRUTH).glob("*_label-L_*"))
    parameters = PhantomParameters(
        resolution=4.0, lesion=True, small_lesions=True, tissue_variation=0.15
    )
    head = make_head(parameters)
    truth = nib.load(lesions / TRUTH / "sub-01_desc-truth_condmap.nii.gz").get_fdata()
    np.testing.assert_array_equal(truth, np.float32(head.conductivity))
    for diameter in (4, 6, 8, 12, 16):
        path = lesions / TRUTH / f"sub-01_label-L_desc-{diameter}mm_mask.nii.gz"
        found = np.asarray(nib.load(path).dataobj)
        np.testing.assert_array_equal(found, head.anatomy.small_lesion_diameter == diameter)
        sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
        assert sidecar["Type"] == "Lesion"
        assert f"{diameter} mm" in sidecar["Description"]


def read_rows(path):
    header, *rows = (line.split("\t") for line in path.read_text().splitlines())
    assert sorted(json.loads(path.with_suffix(".json").read_text())) == sorted(header)
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_study_has_tables_of_participants_and_sessions(study):
    people = read_rows(study / "participants.tsv")
    assert [row["group"] for row in people] == ["control", "patient"]
    assert list(people[0]) == ["participant_id", "age", "sex", "group"]
    sessions = read_rows(study / "sub-02" / "sub-02_sessions.tsv")
    assert [(row["session_id"], row["days"]) for row in sessions] == [
        ("ses-01", "0"),
        ("ses-02", "180"),
    ]


def test_the_truth_of_a_study_contains_the_known_effects(study):
    truth = study / "derivatives" / "phantom"
    control, patient = read_rows(truth / "participants.tsv")
    ratio = float(patient["conductivity_WM"]) / float(control["conductivity_WM"])
    # the group effect is 0.15, and the standard deviation between participants is 3 %
    assert ratio == pytest.approx(1.15, abs=0.12)
    sessions = read_rows(truth / "sub-02" / "sub-02_sessions.tsv")
    first, second = (float(row["conductivity_L"]) for row in sessions)
    assert second == pytest.approx(1.2 * first)
    assert read_rows(truth / "sub-01" / "sub-01_sessions.tsv")[0]["conductivity_L"] == "n/a"
    for number, row in enumerate(sessions, start=1):
        anat = truth / "sub-02" / f"ses-0{number}" / "anat"
        start = f"sub-02_ses-0{number}"
        conductivity = nib.load(anat / f"{start}_desc-truth_condmap.nii.gz").get_fdata()
        labels = np.asarray(nib.load(anat / f"{start}_dseg.nii.gz").dataobj)
        lesion = float(row["conductivity_L"])
        assert conductivity[labels == 7].max() == pytest.approx(lesion, rel=1e-5)


def test_transform_of_a_study_is_the_deformation(study):
    """ITK maps points of the scan to points of the template."""
    parameters = PhantomParameters(resolution=4.0, lesion=True, echo_times=(0.01, 0.02))
    scan = make_participant(parameters, StudyParameters(2, 2), 1).scans[1]
    anat = study / "derivatives" / "phantom" / "sub-02" / "ses-02" / "anat"
    name = "sub-02_ses-02_from-MNI152NLin2009aSym_to-MEGRE_mode-image_xfm.h5"
    transform = sitk.ReadTransform(str(anat / name))
    points = np.random.default_rng(0).uniform(-60, 60, (50, 3))
    flip = np.array([-1, -1, 1])
    found = [flip * transform.TransformPoint((flip * point).tolist()) for point in points]
    np.testing.assert_allclose(found, scan.subject.warp.to_template(points), atol=1e-6)


def test_every_option_of_a_study_reaches_its_parameters(tmp_path):
    given = {
        "sessions": "1",
        "group_effect": "0.3",
        "subject_sd": "0.01",
        "lesion_change": "-0.1",
        "deformation": "1.0",
        "movement": "0.5",
    }
    words = [word for key, value in given.items() for word in (f"--{key.replace('_', '-')}", value)]
    out = create(tmp_path / "out", *words, "--resolution", "8")
    readme = (out / "README").read_text().splitlines()
    assert {f"- {key}: {value}" for key, value in given.items()} <= set(readme)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--group-effect", "0.3"], "--group-effect needs --sessions"),
        (["--movement", "1"], "--movement needs --sessions"),
        (["--sessions", "0"], "number of sessions must be from 1 to 99"),
        (["--sessions", "2", "--tissue-variation", "0.1"], "tissue variation is not available"),
        (["--sessions", "20", "--lesion"], "lesion conductivity must be from 0.01 to 10"),
    ],
)
def test_invalid_options_of_a_study_are_refused(options, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["create", str(tmp_path / "out"), *options])
    assert stopped.value.code == 64
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_every_option_reaches_the_parameters(tmp_path):
    given = {
        "--field-strength": ("1.5", "field_strength: 1.5"),
        "--forward-model": ("laplacian", "forward_model: laplacian"),
        "--lesion-diameter": ("30", "lesion_diameter: 30.0"),
        "--lesion-conductivity": ("1.1", "lesion_conductivity: 1.1"),
        "--tissue-variation": ("0.1", "tissue_variation: 0.1"),
        "--anatomy-seed": ("7", "anatomy_seed: 7"),
        "--off-resonance": ("12", "off_resonance: 12.0"),
        "--snr": ("33", "snr: 33.0"),
        "--seed": ("5", "seed: 5"),
    }
    words = [word for option, (value, _) in given.items() for word in (option, value)]
    out = tmp_path / "out"
    # the last value of --resolution has priority
    create(out, "--lesion", "--small-lesions", *words, "--resolution", "8")
    readme = (out / "README").read_text().splitlines()
    for line in (
        "lesion: True",
        "small_lesions: True",
        "resolution: 8.0",
        *dict(given.values()).values(),
    ):
        assert f"- {line}" in readme


def test_the_second_participant_has_the_next_seed(spin_echo, tmp_path):
    other = create(tmp_path / "other", "--seed", "1")
    first = other / "sub-01/anat/sub-01_part-phase_T2w.nii.gz"
    second = spin_echo / "sub-02/anat/sub-02_part-phase_T2w.nii.gz"
    assert first.read_bytes() == second.read_bytes()


def test_equal_seeds_produce_equal_bytes(spin_echo, tmp_path):
    assert contents(create(tmp_path / "elsewhere", "--participants", "2")) == contents(spin_echo)


def test_no_temporary_files_are_left(spin_echo):
    assert not [name for name in contents(spin_echo) if name.endswith(".tmp")]


def test_the_next_commands_are_printed(tmp_path, monkeypatch, capsys):
    out = (tmp_path / "a phantom").resolve()
    out.mkdir()
    monkeypatch.chdir(out)
    create(".")
    printed = capsys.readouterr().out
    assert f"bids-qcm '{out}' '{out}-maps' participant\n" in printed
    assert f"bids-qcm-phantom score '{out}' '{out}-maps'" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--echo-times", "5", "10"], "seconds"),
        (["--resolution", "0"], "resolution"),
        (["--resolution", "two"], "resolution"),
        (["--participants", "0"], "--participants"),
        (["--phase-scaling", "degrees"], "--phase-scaling"),
        (["--forward-model", "helmholtz"], "--forward-model"),
        (["--receive", "volume"], "--receive"),
        (["--receive", "array"], "receive coil 'array' requires the full-wave forward model"),
        (["--tissue-variation", "15"], "tissue variation must be from 0 to 0.3"),
        (["--lesion-diameter", "30"], "--lesion-diameter needs --lesion"),
        (["--lesion-conductivity", "1"], "--lesion-conductivity needs --lesion or --small-lesions"),
        (["--anatomy-seed", "-1"], "anatomy seed"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_invalid_options_are_usage_errors(tmp_path, capsys, options, message):
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


def test_a_folder_that_is_not_empty_is_rejected(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["create", str(tmp_path)]) == 73
    assert "not empty" in capsys.readouterr().err
    assert contents(tmp_path) == {"mine.txt": b"mine"}


def test_a_file_as_output_folder_is_rejected(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("mine")
    assert main(["create", str(file)]) == 73
    assert str(file) in capsys.readouterr().err


@pytest.mark.parametrize("command", ["create", "score"])
def test_help_does_not_load_the_numerical_libraries(command):
    code = (
        "import sys; from bids_qcm.cli.phantom import main\n"
        f"try: main(['{command}', '--help'])\n"
        "except SystemExit: sys.exit(bool({'numpy', 'scipy', 'nibabel'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
