"""Contradictory inputs cause messages, and consistent inputs do not."""

import gzip
import json
import shutil
from itertools import product
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from bids_qcm.bids.anatomy.datasets import SearchedDatasets, derivative_datasets
from bids_qcm.bids.dataset import find_acquisitions
from bids_qcm.bids.images import read_integers, read_values, save_array
from bids_qcm.bids.results import find_results, map_warnings
from bids_qcm.cli.phantom import main as phantom_main
from bids_qcm.physics import conductivity_factor
from bids_qcm.settings import Settings
from bids_qcm.workflows.base import init_bids_qcm_wf
from bids_qcm.workflows.preflight import Preflight
from tests.phase.test_balanced import ellipse
from tests.synthetic import FREQUENCY

METHODS = ("laplacian-mag", "integral-mag")
SPIN_ECHO = "sub-01/anat/sub-01_part-{}_T2w.nii.gz"
ECHO = "sub-01/anat/sub-01_echo-{}_part-{}_MEGRE.nii.gz"
DERIVED = "derivatives/phantom/sub-01/anat/sub-01_"


def sidecar(path, **fields):
    path = path.with_name(path.name.replace(".nii.gz", ".json"))
    content = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def change(path, function, dtype=np.float32):
    image = nib.load(path)
    values = np.asanyarray(image.dataobj).copy()
    save_array(path, np.asarray(function(values)).astype(dtype), image.affine)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory, share_heads):
    """A function that returns the folder of a phantom. Tests must copy the folder to change it."""
    made = {}

    def phantom(*options):
        if options not in made:
            made[options] = tmp_path_factory.mktemp("phantom") / "raw"
            resolution = () if "--resolution" in options else ("--resolution", "4")
            with share_heads():
                assert phantom_main(["create", str(made[options]), *resolution, *options]) == 0
        return made[options]

    return phantom


@pytest.fixture
def raw(phantoms, tmp_path):
    """A function that returns a copy of a phantom."""

    def raw(*options):
        return shutil.copytree(phantoms(*options), tmp_path / "raw")

    return raw


@pytest.fixture
def map_conductivity(tmp_path):
    """A function that maps a dataset in this process without reports."""

    def map_conductivity(raw, **options):
        given = {"methods": METHODS, "uncertainty": False, "omp_nthreads": 2} | options
        settings = Settings(
            bids_dir=raw, output_dir=tmp_path / "out", work_dir=tmp_path / "work", **given
        )
        derivatives = derivative_datasets(raw, (), settings.output_dir)
        preflight = Preflight(settings, SearchedDatasets.of(settings, derivatives))
        results = preflight.outline(find_acquisitions(settings))
        plans = [one.plan for one in results if one.plan]
        if plans:
            results = preflight.check(plans)
            plans = [one.plan for one in results if one.plan]
        errors = [failure.error for one in results for failure in one.failures]
        if plans:
            datasets = {"raw": raw, **derivatives}
            workflow = init_bids_qcm_wf(plans=plans, settings=settings, datasets=datasets)
            try:
                workflow.run(plugin="Linear")
            except Exception as error:
                errors.append(str(error))
        results = find_results(settings.output_dir, "sub-01")
        warnings = [text for result in results for text in map_warnings(result)]
        return SimpleNamespace(
            errors=errors,
            warnings=[*warnings, *(text for plan in plans for text in plan.warnings)],
            verdicts={m: v for result in results for m, v in result.verdicts.items()},
            maps={one.method: read_values(one.condmap) for r in results for one in r.maps},
            mask=read_integers(results[0].mask) != 0 if results else None,
        )

    return map_conductivity


def assert_refused(outcome, *words):
    assert outcome.maps == {}
    text = " ".join(outcome.errors)
    for word in words:
        assert word in text
    assert "Remedy: " in text


def median(outcome, method="integral-mag"):
    return float(np.nanmedian(outcome.maps[method][outcome.mask]))


@pytest.fixture(scope="session")
def usual_median(phantoms):
    """The median conductivity of the unmodified phantom's brain for integral-mag."""
    return 0.65


# -- units and ranges ---------------------------------------------------------------------------


@pytest.mark.slow
def test_a_unit_contradicted_by_a_full_cycle_is_ignored(raw, map_conductivity, usual_median):
    folder = raw()
    sidecar(folder / SPIN_ECHO.format("phase"), Units="mrad")
    found = map_conductivity(folder)
    assert median(found) == pytest.approx(usual_median, abs=0.02)
    assert any("'mrad'" in text for text in found.warnings)


def test_voxels_in_air_do_not_change_the_unit(raw, map_conductivity, usual_median):
    folder = raw()
    magnitude = read_values(folder / SPIN_ECHO.format("mag"))
    rng = np.random.default_rng(1)

    def overshoot(values):
        x, _, z = np.indices(values.shape)
        values = np.angle(np.exp(1j * (values + 0.5 * x + 0.3 * z)))
        air = rng.choice(np.flatnonzero(magnitude < 0.05), 60, replace=False)
        values.flat[air] = np.sign(values.flat[air]) * rng.uniform(3.2, 3.9, 60)
        return np.rint(values / np.pi * 4096)

    change(folder / SPIN_ECHO.format("phase"), overshoot, np.int16)
    sidecar(folder / SPIN_ECHO.format("phase"), Units=None)
    found = map_conductivity(folder)
    assert median(found) == pytest.approx(usual_median, abs=0.02)


def test_a_halved_phase_is_detected(raw, map_conductivity):
    folder = raw()
    change(folder / SPIN_ECHO.format("phase"), lambda values: values / 2)
    found = map_conductivity(folder)
    assert any("0.5 of a cycle" in text for text in found.warnings)
    assert {verdict.colour for verdict in found.verdicts.values()} == {"red"}


# -- roles --------------------------------------------------------------------------------------


def test_a_magnitude_with_integer_overflow_is_refused(raw, map_conductivity):
    folder = raw()

    def overflow(values):
        return (values / values.max() * 40000).astype(np.uint16).view(np.int16)

    change(folder / SPIN_ECHO.format("mag"), overflow, np.int16)
    assert_refused(map_conductivity(folder), "part-mag_T2w.nii.gz", "negative")


def test_the_user_can_overrule_a_check(raw, map_conductivity):
    folder = raw()
    change(folder / SPIN_ECHO.format("mag"), lambda values: np.where(values < 0.05, -1, values))
    found = map_conductivity(folder, image_checks="warn")
    assert found.errors == []
    assert set(found.maps) == set(METHODS)
    assert any("negative" in text for text in found.warnings)
    assert {verdict.colour for verdict in found.verdicts.values()} == {"red"}
    assert all("--image-checks warn" in v.reasons[0] for v in found.verdicts.values())


def test_swapped_magnitude_and_phase_are_refused(raw, map_conductivity):
    folder = raw()
    one, other = (folder / SPIN_ECHO.format(part) for part in ("mag", "phase"))
    one.rename(folder / "x.nii.gz")
    other.rename(one)
    (folder / "x.nii.gz").rename(other)
    assert_refused(map_conductivity(folder))


@pytest.mark.parametrize("spoil", ["intercept", "slope", None])
def test_lost_scaling_of_real_and_imaginary_parts_is_detected(
    raw, map_conductivity, usual_median, spoil
):
    folder = raw()
    paths = [folder / SPIN_ECHO.format(part) for part in ("mag", "phase")]
    affine = nib.load(paths[0]).affine
    signal = read_values(paths[0]) * np.exp(1j * read_values(paths[1]))
    shift = np.abs(signal).max() if spoil == "intercept" else 0
    factor = 3 if spoil == "slope" else 1
    for part, values in (("real", signal.real + shift), ("imag", factor * signal.imag + shift)):
        save_array(folder / SPIN_ECHO.format(part), values.astype(np.float32), affine)
        json_of_mag = paths[0].with_name(paths[0].name.replace(".nii.gz", ".json"))
        shutil.copy(json_of_mag, json_of_mag.with_name(json_of_mag.name.replace("mag", part)))
    for path in paths:
        path.unlink()
    found = map_conductivity(folder)
    if spoil:
        assert_refused(found, {"intercept": "intercept", "slope": "scaled differently"}[spoil])
    else:
        assert median(found) == pytest.approx(usual_median, abs=0.02)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ImagedNucleus": "23Na", "ImagingFrequency": 33.8}, "23Na"),
        ({"EchoTime1": 0.005, "EchoTime2": 0.0075}, "phase difference"),
        ({"Units": "Hz"}, "field map"),
    ],
)
def test_sidecars_that_exclude_a_map(raw, map_conductivity, fields, words):
    folder = raw()
    sidecar(folder / SPIN_ECHO.format("phase"), **fields)
    assert_refused(map_conductivity(folder), words)


# -- geometry and bytes -------------------------------------------------------------------------


def test_an_sform_that_contradicts_the_voxel_size_is_refused(raw, map_conductivity):
    folder = raw()
    for path in [*folder.glob("sub-01/anat/*.nii.gz"), *folder.glob(DERIVED + "*.nii.gz")]:
        content = bytearray(gzip.decompress(path.read_bytes()))
        header = np.frombuffer(bytes(content[:348]), nib.nifti1.header_dtype).copy()
        for row in ("srow_x", "srow_y", "srow_z"):
            header[row] *= 1.25
        path.write_bytes(gzip.compress(bytes(header.tobytes() + content[348:]), 1))
    assert_refused(map_conductivity(folder), "5 x 5 x 5 mm", "4 x 4 x 4 mm")


def test_a_flipped_bit_is_detected(raw, map_conductivity):
    folder = raw()
    path = folder / SPIN_ECHO.format("mag")
    content = bytearray(path.read_bytes())
    content[-8] ^= 4  # flip a bit of the checksum, so that the image data stay intact
    path.write_bytes(content)
    assert_refused(map_conductivity(folder), "part-mag_T2w.nii.gz", "CRC")


@pytest.mark.slow
def test_labels_with_a_slope_and_hidden_macos_files_cause_no_warning(
    raw, map_conductivity, usual_median
):
    folder = raw()
    for name in ("dseg", "desc-brain_mask"):
        path = folder / (DERIVED + name + ".nii.gz")
        image = nib.load(path)
        header = image.header.copy()
        header.set_data_dtype(np.int16)
        values = image.get_fdata() * (1 - 1e-9)
        nib.save(nib.Nifti1Image(values, image.affine, header), path)
    for path in [one for one in folder.rglob("*") if one.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X" + bytes(200))
    found = map_conductivity(folder, methods=("laplacian-seg", "integral-mag"))
    assert found.errors == []
    assert found.warnings == []
    assert median(found) == pytest.approx(usual_median, abs=0.02)


# -- consistency between files ------------------------------------------------------------------


def test_a_mirrored_phase_is_refused(raw, map_conductivity):
    folder = raw()
    change(folder / SPIN_ECHO.format("phase"), lambda values: values[:, ::-1])
    assert_refused(map_conductivity(folder), "does not belong to its magnitude", "along axis j")


def test_an_echo_with_the_opposite_sign_is_refused(raw, map_conductivity):
    folder = raw("--echo-times", "0.004", "0.009", "0.016")
    change(folder / ECHO.format(2, "phase"), np.negative)
    assert_refused(map_conductivity(folder), "echo-2_part-phase", "opposite sign", "misfit in rad")


def test_slices_with_the_opposite_sign_are_refused(raw, map_conductivity):
    folder = raw()

    def negate(values):
        values[:, :, 25:31] *= -1
        return values

    change(folder / SPIN_ECHO.format("phase"), negate)
    found = map_conductivity(folder)
    assert_refused(found, "24 and 25", "30 and 31", "opposite sign")


def test_a_mask_of_the_air_is_refused(raw, map_conductivity):
    folder = raw()
    change(folder / (DERIVED + "desc-brain_mask.nii.gz"), lambda values: 1 - values, np.uint8)
    found = map_conductivity(folder, segmentation="none")
    assert_refused(found, "desc-brain_mask.nii.gz", "looks inverted")


@pytest.mark.slow
def test_a_shifted_segmentation_is_detected(raw, map_conductivity):
    folder = raw()
    change(folder / (DERIVED + "dseg.nii.gz"), lambda values: np.roll(values, 3, 1), np.int16)
    found = map_conductivity(folder, methods=())
    assert any("does not match the edges" in text for text in found.warnings)


def ball(folder, n, size, signal_of, fields, name):
    """Write the echoes of an object that is not a head."""
    axes = [(np.arange(k) - (k - 1) / 2) * size * 1e-3 for k in n]
    rng = np.random.default_rng(0)
    (folder / "sub-01/anat").mkdir(parents=True)
    description = {"Name": "ball", "BIDSVersion": "1.10.0"}
    (folder / "dataset_description.json").write_text(json.dumps(description))
    for echo, time in enumerate(fields.pop("times", (None,)), start=1):
        signal, noise = signal_of(*np.meshgrid(*axes, indexing="ij"), time)
        signal = signal + noise * (rng.normal(size=n) + 1j * rng.normal(size=n))
        for part, values in (("mag", np.abs(signal)), ("phase", np.angle(signal))):
            path = folder / "sub-01/anat" / f"sub-01_{name.format(echo, part)}.nii.gz"
            save_array(path, values.astype(np.float32), np.diag([size, size, size, 1]))
            own = {"ImagingFrequency": FREQUENCY / 1e6, "Units": "rad", **fields}
            own |= {} if time is None else {"EchoTime": time}
            text = json.dumps(own)
            path.with_name(path.name.replace(".nii.gz", ".json")).write_text(text)
    return folder


@pytest.mark.parametrize(("rim", "constant"), [(0.2, 0.5), (1.5, 0), (4.0, 2)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_bipolar_readout_has_little_effect_on_the_map(
    tmp_path, map_conductivity, rim, constant, axis
):
    """A constant and a linear phase (`rim` rad at the surface) alternate between the echoes."""
    truth, radius = 0.6, 0.045

    def signal(x, y, z, time):
        r2 = x**2 + y**2 + z**2
        phase = truth / conductivity_factor(FREQUENCY) * r2 / 6
        phase = phase + 2 * np.pi * 20 * time * (x**2 - z**2) / 2 / radius**2
        polarity = 1 if round(time / 4.6e-3) % 2 else -1
        phase = phase + polarity * (rim * (x, y, z)[axis] / radius + constant)
        return 1000 * (r2 < radius**2) * np.exp(-time / 0.03) * np.exp(1j * phase), 10

    fields = {"times": [4.6e-3 * (k + 1) for k in range(6)]}
    folder = ball(tmp_path / "raw", (34,) * 3, 3, signal, fields, "echo-{}_part-{}_MEGRE")
    found = map_conductivity(folder, methods=("laplacian",), mask="signal")
    assert found.errors == []
    assert median(found, "laplacian") == pytest.approx(truth, rel=0.05)


def moving(folder):
    """Write eight echoes of a ball. The last two echoes deviate from the line."""
    truth, radius = 0.6, 0.045

    def signal(x, y, z, time):
        r2 = x**2 + y**2 + z**2
        phase = truth / conductivity_factor(FREQUENCY) * r2 / 6
        phase = phase + 2 * np.pi * 20 * time * (x**2 - z**2) / 2 / radius**2
        phase = phase + 600 * (time > 0.0145) * (x**2 + y**2)
        return 1000 * (r2 < radius**2) * np.exp(-time / 0.02) * np.exp(1j * phase), 10

    fields = {"times": [2.3e-3 * (k + 1) for k in range(8)]}
    return ball(folder, (34,) * 3, 3, signal, fields, "echo-{}_part-{}_MEGRE")


def test_echoes_that_deviate_from_the_line_are_left_out(tmp_path, map_conductivity):
    folder = moving(tmp_path / "raw")
    assert_refused(map_conductivity(folder), "is inconsistent with the other echoes", "--echoes")
    for echoes in ("auto", (1, 2, 3, 4, 5, 6)):
        found = map_conductivity(folder, methods=("laplacian",), mask="signal", echoes=echoes)
        assert found.errors == []
        assert median(found, "laplacian") == pytest.approx(0.6, rel=0.03)
        left_out = [text for text in found.warnings if "is left out" in text]
        assert [text.split("_")[1] for text in left_out] == (
            ["echo-7", "echo-8"] if echoes == "auto" else []
        )
        (path,) = (tmp_path / "out").rglob("*_phi0map.json")
        phi0 = json.loads(path.read_text())
        assert phi0["EchoesUsed"] == [1, 2, 3, 4, 5, 6]
        assert phi0["EchoTime"] == pytest.approx([2.3e-3 * (k + 1) for k in range(6)])
        assert len(phi0["PhaseUnits"]) == len(phi0["EchoMisfitOfEach"]) == 6
        shutil.rmtree(tmp_path / "out")


def in_one_file(folder, times, name):
    """Store the echoes of a dataset in one 4-D file for each part."""
    anat = folder / "sub-01/anat"
    for part in ("mag", "phase"):
        paths = [anat / name.format(echo, part) for echo in range(1, len(times) + 1)]
        fields = json.loads(
            paths[0].with_name(paths[0].name.replace(".nii.gz", ".json")).read_text()
        )
        volumes = np.stack([read_values(path) for path in paths], axis=-1)
        affine = nib.load(paths[0]).affine
        for path in paths:
            path.unlink()
            path.with_name(path.name.replace(".nii.gz", ".json")).unlink()
        joined = anat / name.format(0, part).replace("_echo-0", "")
        nib.save(nib.Nifti1Image(volumes, affine), joined)
        text = json.dumps(fields | {"EchoTime": times})
        joined.with_name(joined.name.replace(".nii.gz", ".json")).write_text(text)


def test_echoes_in_one_file_lead_to_the_same_map(tmp_path, map_conductivity):
    folder = moving(tmp_path / "raw")
    options = {"methods": ("laplacian",), "mask": "signal", "echoes": "auto"}
    expected = map_conductivity(folder, **options)
    shutil.rmtree(tmp_path / "out")
    in_one_file(folder, [2.3e-3 * (k + 1) for k in range(8)], "sub-01_echo-{}_part-{}_MEGRE.nii.gz")
    assert len(list((folder / "sub-01/anat").iterdir())) == 4
    found = map_conductivity(folder, **options)
    np.testing.assert_array_equal(found.maps["laplacian"], expected.maps["laplacian"])
    assert any(
        "_part-phase_MEGRE.nii.gz (volume 6, counted from 0) is left out" in text
        for text in found.warnings
    )
    shutil.rmtree(tmp_path / "out")
    refused = map_conductivity(folder, methods=("laplacian",), mask="signal")
    assert_refused(refused, "(volume ", "is inconsistent with the other echoes")


def test_an_echo_whose_phase_is_empty_can_be_left_out(tmp_path, map_conductivity):
    folder = moving(tmp_path / "raw")
    change(folder / ECHO.format(3, "phase"), np.zeros_like)
    refused = map_conductivity(folder)
    assert_refused(
        refused, "contains only zeros", "or leave this echo out with --echoes 1 2 4 5 6 7 8"
    )
    found = map_conductivity(folder, methods=("laplacian",), mask="signal", echoes=(1, 2, 4, 5, 6))
    assert median(found, "laplacian") == pytest.approx(0.6, rel=0.03)


def repeated(folder, names, seeds, eddies, sign_of_last=1):
    """Write repetitions of a ball with eddy-current phase."""
    truth, radius = 0.6, 0.045
    for name, seed, eddy in zip(names, seeds, eddies, strict=True):
        last = name == names[-1]

        def signal(x, y, z, time, eddy=eddy, seed=seed, last=last):
            r2 = x**2 + y**2 + z**2
            phase = truth / conductivity_factor(FREQUENCY) * r2 / 6
            phase = phase + eddy * (2 * y / radius + 0.25 * (x / radius) ** 2) + seed
            rng = np.random.default_rng(seed)
            noise = 20 * (rng.normal(size=x.shape) + 1j * rng.normal(size=x.shape))
            phase = phase * (sign_of_last if last else 1)
            return 1000 * (r2 < radius**2) * np.exp(1j * phase) + noise, 0

        part = folder.with_name(f"part{seed}")
        ball(
            part, (34,) * 3, 3, signal, {"PulseSequenceDetails": "trufi"}, f"{name}_part-{{1}}_T2w"
        )
        shutil.copytree(part, folder, dirs_exist_ok=True)
        shutil.rmtree(part)
    return folder


def test_opposite_polarities_are_averaged(tmp_path, map_conductivity):
    folder = repeated(tmp_path / "raw", ["dir-a", "dir-b"], [1, 2], [1, -1])
    options = {"methods": ("laplacian",), "mask": "signal"}
    found = map_conductivity(folder, average_runs=("dir",), **options)
    assert found.errors == []
    assert not any("one readout polarity" in text for text in found.warnings)
    assert median(found, "laplacian") == pytest.approx(0.6, rel=0.03)
    (path,) = (tmp_path / "out").rglob("sub-01_phi0map.json")
    phi0 = json.loads(path.read_text())
    assert phi0["AveragedAcquisitions"] == ["sub-01_dir-a_T2w", "sub-01_dir-b_T2w"]
    assert 0 < phi0["AveragingRemainder"][0] < 0.3
    assert len(phi0["Sources"]) == 4
    # eddy currents bias a map from one polarity
    shutil.rmtree(folder / "sub-01")
    repeated(folder, ["dir-a"], [1], [1])
    shutil.rmtree(tmp_path / "out")
    alone = map_conductivity(folder, **options)
    assert median(alone, "laplacian") > 1.1 * median(found, "laplacian")
    assert any("one readout polarity" in text for text in alone.warnings)


def test_averaging_runs_reduces_the_noise(tmp_path, map_conductivity):
    names = [f"run-{n}" for n in (1, 2, 3, 4)]
    folder = repeated(tmp_path / "raw", names, [1, 2, 3, 4], [0] * 4)
    noise = []
    for runs in (("run",), ()):
        options = {"methods": ("laplacian",), "mask": "signal", "average_runs": runs}
        assert map_conductivity(folder, **options).errors == []
        paths = sorted((tmp_path / "out").rglob("*_phi0map.json"))
        noise.append(json.loads(paths[0].read_text())["MedianPhaseNoise"])
        shutil.rmtree(tmp_path / "out")
    assert noise[1] / noise[0] == pytest.approx(2, rel=0.1)


def test_a_repetition_with_the_opposite_sign_is_refused(tmp_path, map_conductivity):
    folder = repeated(tmp_path / "raw", ["run-1", "run-2"], [1, 2], [0, 0], sign_of_last=-1)
    found = map_conductivity(folder, average_runs=("run",))
    assert_refused(found, "sub-01_run-2_part-phase_T2w.nii.gz", "opposite sign")


def of_coils(folder, echo_times, combined=False):
    """Write a ball as images of four coils with phase offsets, or as a combination without phi0."""
    truth, radius = 0.6, 0.045
    for coil, azimuth in enumerate(np.arange(4) * np.pi / 2, start=1):

        def signal(x, y, z, time, coil=coil, azimuth=azimuth):
            r2 = x**2 + y**2 + z**2
            phase = truth / conductivity_factor(FREQUENCY) * r2 / 6
            phase = 0 if combined else phase + 1.7 * coil
            phase = phase + 2 * np.pi * 30 * time * x / radius
            near = np.exp(0.5 * (x * np.cos(azimuth) + y * np.sin(azimuth)) / radius)
            near = near * (r2 < radius**2)
            rng = np.random.default_rng(int(coil + 1e5 * time))
            noise = 5 * (rng.normal(size=x.shape) + 1j * rng.normal(size=x.shape))
            return 1000 * near * np.exp(1j * phase) + noise, 0

        part = folder.with_name(f"part{coil}")
        name = "" if combined else f"coil-{coil}_"
        ball(part, (34,) * 3, 3, signal, {"times": echo_times}, name + "echo-{}_part-{}_MEGRE")
        shutil.copytree(part, folder, dirs_exist_ok=True)
        shutil.rmtree(part)
        if combined:
            break
    return folder


def stack_volumes(folder, names, stacked, **lists):
    """Replace images by one 4-D image, whose sidecar has lists for the fourth axis."""
    paths = [folder / "sub-01/anat" / f"sub-01_{name}.nii.gz" for name in names]
    values = np.stack([read_values(path) for path in paths], axis=-1)
    affine = nib.load(paths[0]).affine
    fields = json.loads(paths[0].with_suffix("").with_suffix(".json").read_text())
    for path in paths:
        path.unlink()
        path.with_suffix("").with_suffix(".json").unlink()
    path = folder / "sub-01/anat" / f"sub-01_{stacked}.nii.gz"
    nib.save(nib.Nifti1Image(values, affine), path)
    path.with_suffix("").with_suffix(".json").write_text(json.dumps(fields | lists))


COILS = [f"coil-{n}" for n in (1, 2, 3, 4)]


def stack_coils(folder, layout):
    """Stack the images of four coils and two echoes."""
    parts, echoes, times = ("mag", "phase"), ("echo-1", "echo-2"), (0.004, 0.008)
    if layout == "a file for each echo and part":
        for echo, part in product(echoes, parts):
            coils = COILS if echo == "echo-1" else COILS[::-1]  # the order may differ
            names = [f"{coil}_{echo}_part-{part}_MEGRE" for coil in coils]
            stack_volumes(folder, names, f"{echo}_part-{part}_MEGRE", CoilString=coils)
    elif layout == "one file":
        axis = list(product(parts, COILS, zip(echoes, times, strict=True)))
        stack_volumes(
            folder,
            [f"{coil}_{echo}_part-{part}_MEGRE" for part, coil, (echo, _) in axis],
            "MEGRE",
            ComplexImageComponent=[{"mag": "MAGNITUDE", "phase": "PHASE"}[p] for p, *_ in axis],
            CoilString=[coil for _, coil, _ in axis],
            EchoTime=[time for *_, (_, time) in axis],
        )


@pytest.mark.parametrize(
    ("layout", "n_files"),
    [("a file for each coil", 16), ("a file for each echo and part", 4), ("one file", 1)],
)
def test_uncombined_coils_are_combined(tmp_path, map_conductivity, layout, n_files):
    folder = of_coils(tmp_path / "raw", [0.004, 0.008])
    stack_coils(folder, layout)
    found = map_conductivity(folder, methods=("laplacian",), mask="signal")
    assert found.errors == []
    assert not any("flat phase" in text for text in found.warnings)
    assert median(found, "laplacian") == pytest.approx(0.6, rel=0.05)
    (path,) = (tmp_path / "out").rglob("sub-01_phi0map.json")
    phi0 = json.loads(path.read_text())
    assert phi0["CombinedCoils"] == 4
    assert len(phi0["Sources"]) == n_files
    assert phi0["EchoTime"] == [0.004, 0.008]
    # all coils are in phase except for a constant, so the true phase is the phase of each coil
    r2 = sum(((np.indices((34,) * 3) - 16.5) * 3e-3) ** 2)
    error = read_values(path.with_suffix(".nii.gz")) - 0.6 / conductivity_factor(FREQUENCY) * r2 / 6
    assert np.std(error[found.mask]) < 0.02


@pytest.mark.parametrize("components", [("MAGNITUDE", "PHASE"), ("REAL", "IMAGINARY")])
def test_parts_along_the_fourth_axis_are_read(tmp_path, map_conductivity, components):
    """Old versions of dcm2niix write such files for Philips scanners."""

    def signal(x, y, z, time):
        r2 = x**2 + y**2 + z**2
        phase = 0.6 / conductivity_factor(FREQUENCY) * r2 / 6 + 0.3
        return 1000 * (r2 < 0.045**2) * np.exp(1j * phase), 10

    folder = ball(tmp_path / "raw", (34,) * 3, 3, signal, {}, "part-{1}_T2w")
    if components[0] == "REAL":
        names = [folder / f"sub-01/anat/sub-01_part-{part}_T2w.nii.gz" for part in ("mag", "phase")]
        magnitude, phase = map(read_values, names)
        change(names[0], lambda _: magnitude * np.cos(phase))
        change(names[1], lambda _: magnitude * np.sin(phase))
    names = ["part-mag_T2w", "part-phase_T2w"]
    stack_volumes(folder, names, "T2w", ComplexImageComponent=components)
    found = map_conductivity(folder, methods=("laplacian",), mask="signal")
    assert found.errors == []
    assert median(found, "laplacian") == pytest.approx(0.6, rel=0.03)


def test_a_coil_combination_that_removes_phi0_causes_a_warning(tmp_path, map_conductivity):
    folder = of_coils(tmp_path / "raw", [0.004, 0.008, 0.012], combined=True)
    found = map_conductivity(folder, methods=("laplacian",), mask="signal")
    assert any("has a flat phase at distances of" in text for text in found.warnings)


def balanced(folder, increments):
    """Write a ball as balanced SSFP acquisitions, with bands at an off-resonance of 100 Hz.

    The sidecars are like those of Siemens, with an additional ``RfPhaseIncrement``.
    """
    for run, increment in enumerate(increments, start=1):

        def signal(x, y, z, time, increment=increment, run=run):
            r2 = x**2 + y**2 + z**2
            phi0 = 0.6 / conductivity_factor(FREQUENCY) * r2 / 6
            steady = ellipse(20 + 2500 * y, increment, flip=45, tr=0.005)
            return 8000 * (r2 < 0.045**2) * steady * np.exp(1j * (phi0 + run)), 10

        part = folder.with_name(f"part{run}")
        fields = {
            "ScanningSequence": "GR",
            "SequenceVariant": "SS",
            "PulseSequenceDetails": "%SiemensSeq%\\trufi",
            "RepetitionTime": 0.005,
            "EchoTime": 0.0025,
            "RfPhaseIncrement": increment,
        }
        name = f"run-{run}_part-{{1}}_bSSFP" if len(increments) > 1 else "part-{1}_bSSFP"
        ball(part, (34,) * 3, 3, signal, fields, name)
        shutil.copytree(part, folder, dirs_exist_ok=True)
        shutil.rmtree(part)
    return folder


def test_bands_of_balanced_ssfp_are_left_out(tmp_path, map_conductivity):
    folder = balanced(tmp_path / "raw", [180])
    found = map_conductivity(folder, methods=("laplacian",), mask="signal")
    assert found.errors == []
    assert any("balanced SSFP bands cover" in text for text in found.warnings)
    _, y, _ = (np.indices((34,) * 3) - 16.5) * 3e-3
    off_resonance = 20 + 2500 * y
    in_band = np.abs(np.abs(off_resonance) - 100) < 8
    assert not found.mask[in_band].any()
    sigma = found.maps["laplacian"]
    inside = found.mask & (np.abs(off_resonance) < 50)
    assert np.median(sigma[inside]) == pytest.approx(0.6, rel=0.05)
    (path,) = (tmp_path / "out").rglob("*_phi0map.json")
    assert 0.05 < json.loads(path.read_text())["BandFraction"] < 0.3


def test_offsets_of_slices_are_not_mistaken_for_bands(tmp_path, map_conductivity):
    def signal(x, y, z, time):
        r2 = x**2 + y**2 + z**2
        offsets = np.arange(34) % 2
        return 1000 * (r2 < 0.045**2) * np.exp(1j * (300 * r2 + offsets)), 10

    fields = {"PulseSequenceDetails": "trufi"}
    folder = ball(tmp_path / "raw", (34,) * 3, 3, signal, fields, "part-{1}_bSSFP")
    found = map_conductivity(folder, methods=("laplacian",), mask="signal")
    assert_refused(found, "part-phase_bSSFP.nii.gz", "has phase jumps along axis k")


@pytest.mark.parametrize("n", [2, 4])
def test_phase_cycles_of_balanced_ssfp_are_combined(tmp_path, map_conductivity, n):
    folder = balanced(tmp_path / "raw", [180 + 360 * k // n for k in range(n)])
    found = map_conductivity(folder, methods=("laplacian",), mask="signal", average_runs=("run",))
    assert found.errors == []
    assert not any("bands" in text for text in found.warnings)
    assert median(found, "laplacian") == pytest.approx(0.6, rel=0.05)
    (path,) = (tmp_path / "out").rglob("*_phi0map.json")
    assert json.loads(path.read_text())["PhaseCycled"]
    r2 = sum(((np.indices((34,) * 3) - 16.5) * 3e-3) ** 2)
    error = read_values(path.with_suffix(".nii.gz")) - 0.6 / conductivity_factor(FREQUENCY) * r2 / 6
    assert np.std(error[found.mask]) < {2: 0.04, 4: 0.02}[n]


def test_a_coil_sensitivity_that_decreases_inside_the_body_does_not_affect_the_mask(
    tmp_path, map_conductivity
):
    def signal(x, y, z, time):
        depth = 1 - np.sqrt((x / 0.132) ** 2 + (y / 0.096) ** 2).clip(0, 1)
        sensitivity = 0.15 + 0.85 * np.exp(-depth / 0.25)
        return 1000 * (depth > 0) * sensitivity * np.exp(200j * (x**2 + y**2 + z**2)), 10

    folder = ball(tmp_path / "raw", (96, 96, 12), 3, signal, {}, "part-{1}_T2w")
    found = map_conductivity(folder, methods=("laplacian",))
    x, y = np.mgrid[:96, :96] - 47.5
    body = np.hypot(x * 3 / 132, y * 3 / 96) < 1
    assert np.mean(found.mask[body]) > 0.99
    assert np.mean(found.mask[~body]) < 0.01


# -- no false alarm -----------------------------------------------------------------------------

GOOD = [
    (*contrast, *field, "--snr", snr)
    for contrast in [(), ("--echo-times", "0.004", "0.009", "0.016")]
    for field in [
        (),
        ("--field-strength", "1.5"),
        ("--field-strength", "7"),
        ("--lesion", "--small-lesions"),
        ("--tissue-variation", "0.15"),
    ]
    for snr in ("16", "50", "150")
]
GOOD += [
    (*resolution, *contrast, "--snr", snr)
    for resolution in [("--resolution", "3"), ("--resolution", "2")]
    for contrast in [(), ("--echo-times", "0.0023", "0.0046")]
    for snr in ("16", "150")
]
GOOD += [
    ("--phase-sign=-",),
    ("--phase-scaling", "siemens"),
    ("--phase-scaling", "milliradian"),
    ("--phase-scaling", "unsigned12"),
]


@pytest.mark.slow
@pytest.mark.parametrize("options", GOOD, ids=" ".join)
def test_good_inputs_have_neither_warning_nor_red_verdict(raw, map_conductivity, options):
    found = map_conductivity(raw(*options), methods=("integral-mag",), uncertainty=True)
    assert found.errors == []
    assert found.warnings == []
    assert {verdict.colour for verdict in found.verdicts.values()} <= {"green", "amber"}
