from pathlib import Path

import numpy as np
import pytest
from nipype.interfaces.base import isdefined

from bids_qcm.bids.images import read_grid, read_values, save_array
from bids_qcm.interfaces.reconstruction import Reconstruct
from tests.synthetic import AFFINE


@pytest.fixture
def interface(ball):
    def make(method="laplacian", **inputs):
        files = {f"{name}_file": ball.files[name] for name in ("phi0", "mask", "magnitude")}
        given = {"frequency": ball.frequency, "fit_radius": (4, 4, 4), "provenance": {"a": 1}}
        return Reconstruct(method=method, **files | given | inputs)

    return make


def test_the_map_has_the_conductivity_of_the_ball(tmp_path, ball, interface, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outputs = interface().run().outputs
    conductivity = read_values(Path(outputs.condmap_file))
    assert np.nanmedian(conductivity[ball.mask]) == pytest.approx(0.5, rel=1e-3)
    assert np.all(conductivity[~ball.mask] == 0)
    assert read_grid(Path(outputs.condmap_file)).matches(read_grid(Path(ball.files["phi0"])))
    invalid = np.isnan(conductivity[ball.mask]).mean()
    assert outputs.provenance == {
        "a": 1,
        "FitRadius": [4, 4, 4],
        "InvalidFraction": pytest.approx(invalid),
    }


def test_the_standard_deviation_is_computed_if_noise_is_given(
    tmp_path, ball, interface, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert not isdefined(interface().run().outputs.condstd_file)
    noise = {"noise_file": ball.files["magnitude"]}
    outputs = interface("laplacian-mag", **noise).run().outputs
    std = read_values(Path(outputs.condstd_file))
    valid = np.isfinite(read_values(Path(outputs.condmap_file))) & ball.mask
    assert (std[valid] > 0).all()
    assert not isdefined(outputs.noise_maps_file)
    outputs = interface("laplacian-mag", noise_maps=True, **noise).run().outputs
    np.testing.assert_array_equal(read_values(Path(outputs.condstd_file)), std)
    maps = np.load(outputs.noise_maps_file)
    assert maps.shape == (16, ball.mask.sum())
    with pytest.raises(ValueError, match="magnitude noise"):
        interface("laplacian-mag", magnitude_noise=-1.0, **noise).run()


def test_both_radii_of_an_integral_method_are_recorded(tmp_path, interface, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outputs = interface("integral-mag", integral_radius=(3, 3, 4)).run().outputs
    assert outputs.provenance["FitRadius"] == [4, 4, 4]
    assert outputs.provenance["IntegralRadius"] == [3, 3, 4]


def test_an_automatic_radius_meets_the_target(tmp_path, ball, interface, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise = {"noise_file": ball.files["magnitude"], "uncertainty": False}
    target = 1e4
    outputs = interface(fit_radius="auto", target_std=target, **noise).run().outputs
    assert 0 < outputs.provenance["PredictedStd"] <= target
    assert outputs.provenance["TargetStd"] == target
    assert outputs.provenance["FitRadius"][0] < 9
    assert not isdefined(outputs.condstd_file)


def test_the_published_radius_is_the_default(tmp_path, interface, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outputs = interface(fit_radius=None).run().outputs
    assert outputs.provenance["FitRadius"] == [9, 9, 9]
    assert "IntegralRadius" not in outputs.provenance


def test_labels_and_phase_type_reach_the_reconstruction(tmp_path, ball, interface, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs = {"labels_file": ball.files["labels"], "phase_type": "transmit"}
    outputs = interface("laplacian-seg", **inputs).run().outputs
    conductivity = read_values(Path(outputs.condmap_file))
    assert np.nanmedian(conductivity[ball.mask]) == pytest.approx(1.0, rel=1e-3)


def test_a_method_without_its_labels_fails(tmp_path, interface, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="labels"):
        interface("laplacian-seg").run()


def test_the_number_of_threads_does_not_change_the_hash(interface):
    hashes = [interface(n_threads=n).inputs.get_hashval()[1] for n in (1, 2)]
    assert hashes[0] == hashes[1]
    assert interface(fit_radius=(5, 5, 5)).inputs.get_hashval()[1] != hashes[0]


def test_b1_reaches_the_reconstruction(tmp_path, ball, interface, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = ball.folder / "b1.nii.gz"
    save_array(ball.folder / "noise.nii.gz", 0 * ball.phi0 + np.float32(1e-4), AFFINE)
    noise = {"noise_file": str(ball.folder / "noise.nii.gz"), "uncertainty": False}
    maps = {}
    dome = 1 - 20 * ball.phi0
    for name, b1 in {"none": None, "constant": 0 * dome + 1, "dome": dome}.items():
        given = {}
        if b1 is not None:
            save_array(path, b1, AFFINE)
            given = {"b1_file": str(path), "b1_provenance": {"B1Map": "model"}}
        outputs = interface("inversion", fit_radius=None, **noise, **given).run().outputs
        maps[name] = Path(outputs.condmap_file).read_bytes()
        assert outputs.provenance.get("B1Map") == (None if b1 is None else "model")
    assert maps["none"] == maps["constant"]
    assert maps["none"] != maps["dome"]


def test_b1_changes_the_hash(ball, interface):
    given = interface("inversion", b1_file=ball.files["magnitude"])
    assert given.inputs.get_hashval()[1] != interface("inversion").inputs.get_hashval()[1]


def test_the_map_is_computed_again_after_it_was_deleted(interface, check_rerun):
    check_rerun(interface, "condmap_file")
