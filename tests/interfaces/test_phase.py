import logging
from pathlib import Path

import numpy as np
import pytest

from bids_qcm.bids.images import read_grid, read_integers, read_values, save_array
from bids_qcm.interfaces.phase import ApplySign, PreparePhi0
from bids_qcm.phase import PhaseUnits


@pytest.fixture
def prepare(ball):
    def prepare(**inputs):
        given = {
            "first_files": [ball.files["magnitude"]],
            "second_files": [ball.files["phi0"]],
            "phase_units": [PhaseUnits("rad")],
            "echo_times": [None],
            "mask_file": ball.files["mask"],
        }
        return PreparePhi0(**given | inputs)

    return prepare


def test_phi0_is_computed_in_the_mask(tmp_path, ball, prepare, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outputs = prepare(provenance={"SignalToNoiseRatio": 20, "Warnings": ["a"]}).run().outputs
    np.testing.assert_array_equal(read_integers(Path(outputs.mask_file)), ball.mask)
    difference = (read_values(Path(outputs.phi0_file)) - ball.phi0)[ball.mask]
    assert np.ptp(difference) < 1e-5
    np.testing.assert_allclose(read_values(Path(outputs.magnitude_file)), ball.magnitude, rtol=1e-6)
    noise = read_values(Path(outputs.noise_file))
    assert (noise[~ball.mask] == 0).all()
    np.testing.assert_allclose(
        (noise * ball.magnitude)[ball.mask], outputs.magnitude_noise, rtol=1e-4
    )
    assert outputs.provenance == {
        "SignalToNoiseRatio": 20,
        "AlternateSlicesFlipped": [],
        "Warnings": ["a"],
        "MagnitudeNoise": outputs.magnitude_noise,
        "MedianPhaseNoise": pytest.approx(np.median(noise[ball.mask])),
    }
    assert read_grid(Path(outputs.phi0_file)).matches(read_grid(Path(ball.files["phi0"])))


def test_phi0_is_extrapolated_from_several_echoes(tmp_path, ball, prepare, monkeypatch):
    monkeypatch.chdir(tmp_path)
    times = [0.004, 0.009]
    phases = []
    for time in times:
        phases.append(str(ball.folder / f"{time}.nii.gz"))
        save_array(ball.folder / f"{time}.nii.gz", ball.phi0 + np.float32(100 * time), np.eye(4))
    outputs = (
        prepare(
            first_files=[ball.files["magnitude"]] * 2,
            second_files=phases,
            phase_units=[PhaseUnits("rad")] * 2,
            echo_times=times,
        )
        .run()
        .outputs
    )
    difference = (read_values(Path(outputs.phi0_file)) - ball.phi0)[ball.mask]
    np.testing.assert_allclose(difference - difference.mean(), 0, atol=1e-4)
    assert "EchoMisfit" not in outputs.provenance
    root = np.sqrt(2) * ball.magnitude
    np.testing.assert_allclose(read_values(Path(outputs.magnitude_file)), root, rtol=1e-5)


def test_phi0_is_computed_from_real_and_imaginary_parts(tmp_path, ball, prepare, monkeypatch):
    monkeypatch.chdir(tmp_path)
    signal = ball.magnitude * np.exp(1j * ball.phi0)
    for part in ("real", "imag"):
        save_array(ball.folder / f"{part}.nii.gz", getattr(signal, part), np.eye(4))
    outputs = (
        prepare(
            first_files=[str(ball.folder / "real.nii.gz")],
            second_files=[str(ball.folder / "imag.nii.gz")],
            phase_units=[None],
        )
        .run()
        .outputs
    )
    difference = (read_values(Path(outputs.phi0_file)) - ball.phi0)[ball.mask]
    assert np.ptp(difference) < 1e-4


def test_the_phase_of_an_alternating_readout_is_corrected_and_recorded(
    tmp_path, ball, prepare, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    times = [0.004, 0.009, 0.014, 0.019]
    ramp = 0.4 * np.arange(ball.phi0.shape[0], dtype=np.float32)[:, None, None]
    phases = []
    for k, time in enumerate(times):
        phase = ball.phi0 + np.float32(100 * time) + (-1) ** k * ramp
        phases.append(str(ball.folder / f"{time}.nii.gz"))
        save_array(ball.folder / f"{time}.nii.gz", phase, np.eye(4))
    interface = prepare(
        first_files=[ball.files["magnitude"]] * 4,
        second_files=phases,
        phase_units=[PhaseUnits("rad")] * 4,
        echo_times=times,
    )
    outputs = interface.run().outputs
    difference = (read_values(Path(outputs.phi0_file)) - ball.phi0 - ramp)[ball.mask]
    np.testing.assert_allclose(difference - difference.mean(), 0, atol=1e-4)
    assert outputs.provenance["AlternatingPhase"]["Gradient"] == pytest.approx([-0.8, 0, 0])
    assert outputs.provenance["EchoMisfit"] == max(outputs.provenance["EchoMisfitOfEach"]) < 1e-3


@pytest.mark.parametrize("output", ["phi0_file", "magnitude_file", "mask_file"])
def test_phi0_is_computed_again_after_an_output_was_deleted(prepare, check_rerun, output):
    check_rerun(prepare, output)


@pytest.mark.parametrize(("sign", "factor"), [("+", 1), ("-", -1)])
def test_the_given_sign_is_applied(tmp_path, ball, monkeypatch, sign, factor):
    monkeypatch.chdir(tmp_path)
    files = {"phi0_file": ball.files["phi0"], "mask_file": ball.files["mask"]}
    outputs = ApplySign(**files, sign=sign, provenance={"a": 1}).run().outputs
    np.testing.assert_array_equal(read_values(Path(outputs.phi0_file)), factor * ball.phi0)
    assert outputs.provenance == {"a": 1, "PhaseSign": sign, "PhaseSignOrigin": "given"}


@pytest.mark.parametrize(("stored", "sign"), [(1, "+"), (-1, "-")])
def test_the_sign_is_determined(tmp_path, ball, monkeypatch, caplog, stored, sign):
    monkeypatch.chdir(tmp_path)
    shape = (25, 25, 25)
    squares = sum(np.square(a) for a in np.meshgrid(*[np.arange(25) - 12] * 3))
    phi0 = (stored * 0.004 * squares).astype(np.float32)
    save_array(tmp_path / "p.nii.gz", phi0, np.eye(4))
    save_array(tmp_path / "m.nii.gz", np.ones(shape, bool), np.eye(4))
    with caplog.at_level(logging.WARNING):
        interface = ApplySign(
            phi0_file=str(tmp_path / "p.nii.gz"), mask_file=str(tmp_path / "m.nii.gz")
        )
        outputs = interface.run().outputs
    np.testing.assert_allclose(read_values(Path(outputs.phi0_file)), stored * phi0)
    assert outputs.provenance["PhaseSign"] == sign
    assert outputs.provenance["PhaseSignOrigin"] == "auto"
    assert not outputs.provenance["PhaseSignWeak"]
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("manufacturer", "sign", "origin"),
    [("GE MEDICAL SYSTEMS", "-", "Manufacturer"), ("SIEMENS", "+", "Manufacturer")],
)
def test_weak_evidence_for_the_sign_is_recorded(tmp_path, monkeypatch, manufacturer, sign, origin):
    monkeypatch.chdir(tmp_path)
    # a Laplacian that is positive in one half and negative in the other
    phi0 = np.broadcast_to((np.arange(25) - 12) ** 3 * 1e-3, (25, 25, 25)).astype(np.float32)
    save_array(tmp_path / "p.nii.gz", phi0, np.eye(4))
    save_array(tmp_path / "m.nii.gz", np.ones(phi0.shape, bool), np.eye(4))
    files = {"phi0_file": str(tmp_path / "p.nii.gz"), "mask_file": str(tmp_path / "m.nii.gz")}
    found = ApplySign(**files, manufacturer=manufacturer).run().outputs.provenance
    assert found["PhaseSignWeak"]
    assert (found["PhaseSign"], found["PhaseSignOrigin"]) == (sign, origin)
    assert found["PhaseSignOfManufacturer"] == sign
    assert ApplySign(**files).run().outputs.provenance["PhaseSignOrigin"] == "auto"


def test_the_sign_is_applied_again_after_its_output_was_deleted(ball, check_rerun):
    files = {"phi0_file": ball.files["phi0"], "mask_file": ball.files["mask"]}
    check_rerun(lambda: ApplySign(**files, sign="-"), "phi0_file")
