"""Tests that run the commands on phantoms, as a user would."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_qcm.cli.run import main
from bids_qcm.recon import METHODS
from bids_qcm.recon.methods import PUBLISHED

SCALINGS = ("rad", "unsigned12", "siemens", "milliradian")
ECHO_TIMES = ("0.004", "0.010", "0.018")
# the equation that the methods invert; with the other model, maps differ from the truth at borders
MODEL = ("--forward-model", "laplacian")
RADII = ("--fit-radius", "9", "--integral-radius", "9")


def load(path):
    return nib.load(path).get_fdata(dtype=np.float32)


def condmap(out, label, desc):
    return load(out / f"sub-{label}/anat/sub-{label}_desc-{desc}_condmap.nii.gz")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return tmp_path_factory.mktemp("end-to-end")


@pytest.fixture(scope="module")
def phantoms(workspace, add_phantom):
    """A dataset with the same head in the formats of different scanners."""
    dataset = workspace / "phantoms"
    for scaling in SCALINGS:
        add_phantom(dataset, scaling, workspace / "made", *MODEL, "--phase-scaling", scaling)
    add_phantom(dataset, "negative", workspace / "made", *MODEL, "--phase-sign", "-")
    add_phantom(dataset, "quiet", workspace / "made", *MODEL, "--snr", "inf")
    multi = (*MODEL, "--echo-times", *ECHO_TIMES, "--off-resonance", "60")
    add_phantom(dataset, "multi", workspace / "made", *multi)
    add_phantom(dataset, "multiquiet", workspace / "made", *multi, "--snr", "inf")
    return dataset


@pytest.fixture(scope="module")
def maps(workspace, phantoms, in_process, without_pages):
    out = workspace / "maps"
    options = ["--method", "laplacian", "-w", str(workspace / "work"), *in_process]
    with without_pages():
        assert main([str(phantoms), str(out), "participant", *options]) == 0
    return out


@pytest.fixture(scope="module")
def brain(phantoms):
    path = phantoms / "derivatives/phantom/sub-rad/anat/sub-rad_desc-brain_mask.nii.gz"
    return load(path) > 0


@pytest.fixture(scope="module")
def noise_sd(maps, brain):
    """Noise standard deviation of the single-echo map."""
    return (condmap(maps, "rad", "laplacian") - condmap(maps, "quiet", "laplacian"))[brain].std()


@pytest.mark.parametrize("scaling", SCALINGS[1:])
def test_vendor_scalings_lead_to_the_same_map(maps, brain, noise_sd, scaling):
    difference = condmap(maps, scaling, "laplacian") - condmap(maps, "rad", "laplacian")
    # At this SNR, rounding to 4096 levels adds an error of 2 % of the phase noise.
    assert np.abs(difference[brain]).std() < 0.05 * noise_sd


def test_a_negative_phase_leads_to_the_same_map(maps, brain, noise_sd):
    difference = condmap(maps, "negative", "laplacian") - condmap(maps, "quiet", "laplacian")
    assert difference[brain].std() < 1.2 * noise_sd
    anat = maps / "sub-negative/anat"
    sidecar = json.loads((anat / "sub-negative_desc-laplacian_condmap.json").read_text())
    assert (sidecar["PhaseSign"], sidecar["PhaseSignOrigin"]) == ("-", "auto")


def test_echoes_without_noise_lead_to_the_single_echo_map(maps, brain, noise_sd):
    difference = condmap(maps, "multiquiet", "laplacian") - condmap(maps, "quiet", "laplacian")
    assert np.abs(difference[brain]).max() < 0.02 * noise_sd


def test_noisy_echoes_lead_to_the_single_echo_map_within_the_noise(maps, phantoms, brain, noise_sd):
    difference = condmap(maps, "multi", "laplacian") - condmap(maps, "quiet", "laplacian")
    # Extrapolation to echo time zero amplifies the noise by a factor from the normal equations.
    # Here, the weight of each echo is computed from its mean magnitude.
    anat = phantoms / "sub-multi/anat"
    times = np.array(ECHO_TIMES, float)
    echo = [load(anat / f"sub-multi_echo-{n}_part-mag_MEGRE.nii.gz")[brain] for n in (1, 2, 3)]
    weights = np.square([e.mean() / echo[0].mean() for e in echo])
    design = np.stack([np.ones_like(times), times])
    amplification = np.sqrt(np.linalg.inv((design * weights) @ design.T)[0, 0])
    assert amplification > 1.2
    assert difference[brain].std() == pytest.approx(amplification * noise_sd, rel=0.25)
    standard_error = difference[brain].std() / np.sqrt(100)
    assert abs(difference[brain].mean()) < 3 * standard_error


def test_off_resonance_biases_a_single_gradient_echo(
    maps, phantoms, workspace, brain, noise_sd, in_process, without_pages
):
    """Off-resonance remains in the phase of a single gradient echo, and a warning says so."""
    dataset = workspace / "one-echo"
    anat = dataset / "sub-01/anat"
    anat.mkdir(parents=True)
    (dataset / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    for path in (phantoms / "sub-multiquiet/anat").glob("*_echo-3_*"):
        (anat / path.name.replace("multiquiet", "01")).write_bytes(path.read_bytes())
    out = workspace / "one-echo-maps"
    options = ["--method", "laplacian", "-w", str(workspace / "work2"), *in_process]
    with without_pages():
        assert main([str(dataset), str(out), "participant", *options]) == 0
    path = out / "sub-01/anat/sub-01_desc-laplacian_condmap.nii.gz"
    difference = (load(path) - condmap(maps, "quiet", "laplacian"))[brain]
    assert np.nanstd(difference) > 3 * noise_sd
    sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    assert "off-resonance" in sidecar["Warnings"][0]


@pytest.fixture(scope="module")
def all_methods(workspace, phantoms, without_pages):
    """Maps of one participant by all ten methods, with the output inside the raw dataset.

    The page of ten methods is validated in ``test_demo.py``.
    """
    out = phantoms / "derivatives" / "qcm"
    options = ["--participant-label", "rad", "--method", "all", *RADII, "--nprocs", "2"]
    options += ["-w", str(workspace / "w3")]
    with without_pages():
        assert main([str(phantoms), str(out), "participant", *options]) == 0
    return out


@pytest.mark.parametrize("label", ["rad", "multi"])
def test_noise_of_the_map_agrees_with_the_prediction(maps, brain, label):
    """Test one echo, and three echoes whose phase at echo time zero is noisier."""
    difference = condmap(maps, label, "laplacian") - condmap(maps, "quiet", "laplacian")
    path = maps / f"sub-{label}/anat/sub-{label}_desc-laplacian_condstd.nii.gz"
    standardised = difference[brain] / load(path)[brain]
    standardised = standardised[np.isfinite(standardised)]
    middle = np.percentile(np.abs(standardised), 68.3)
    assert middle == pytest.approx(1, abs=0.15)


def test_all_ten_methods_write_their_map(all_methods, phantoms, brain):
    anat = phantoms / "derivatives/phantom/sub-rad/anat"
    truth = load(anat / "sub-rad_desc-truth_condmap.nii.gz")
    gray, white, fluid = (load(anat / "sub-rad_dseg.nii.gz") == index for index in (1, 2, 3))
    for method in (METHODS[name] for name in PUBLISHED):
        found = condmap(all_methods, "rad", method.desc)
        assert not found[~brain].any()
        assert np.isfinite(found[brain]).mean() > 0.7
        assert abs(np.nanmedian((found - truth)[brain])) < 0.06
        assert np.nanmedian(found[white]) < np.nanmedian(found[gray]) < np.nanmedian(found[fluid])


def test_segmentation_and_mask_of_the_derivative_are_used(all_methods, phantoms):
    anat = all_methods / "sub-rad/anat"
    truth = phantoms / "derivatives/phantom/sub-rad/anat"
    for ours, theirs in (("seg-tissue_dseg", "dseg"), ("desc-brain_mask", "desc-brain_mask")):
        found = load(anat / f"sub-rad_{ours}.nii.gz")
        np.testing.assert_array_equal(found, load(truth / f"sub-rad_{theirs}.nii.gz"))
    table = (anat / "sub-rad_seg-tissue_dseg.tsv").read_text().splitlines()
    assert table == [
        "index\tname",
        "1\tGray Matter",
        "2\tWhite Matter",
        "3\tCerebrospinal Fluid",
        "4\tBone",
        "5\tSoft Tissue",
    ]
    sidecar = json.loads((anat / "sub-rad_desc-integralMagSeg_condmap.json").read_text())
    assert "bids:phantom:sub-rad/anat/sub-rad_dseg.nii.gz" in sidecar["Sources"]
    assert sidecar["MaskType"] == "brain"
    assert sidecar["IntegralRadius"] == [9.0, 9.0, 9.0]
    description = json.loads((all_methods / "dataset_description.json").read_text())
    assert description["DatasetLinks"] == {"raw": "../..", "phantom": "../phantom"}


def test_phi0_agrees_with_the_phantom(all_methods, phantoms):
    """Compare up to a constant phase, which has no effect on the map."""
    from bids_qcm.phantom.make import make_phantom
    from bids_qcm.phantom.parameters import PhantomParameters

    phantom = make_phantom(PhantomParameters(resolution=4.0, forward_model="laplacian"))
    found = load(all_methods / "sub-rad/anat/sub-rad_phi0map.nii.gz")
    difference = (found - phantom.phi0)[phantom.mask]
    assert np.std(difference) < 2 / 50  # SNR 50


def test_the_official_validator_finds_no_error(all_methods, phantoms, maps, validate):
    for dataset in (phantoms, phantoms / "derivatives/phantom", all_methods, maps):
        status, said = validate(dataset)
        assert status == 0, said


REAL_HEAD = Path(__file__).parents[2] / "shared" / "data" / "real-head"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not REAL_HEAD.is_dir(), reason="the real head is not next to the checkout")
def test_maps_of_a_real_head_have_plausible_conductivities(tmp_path):
    options = ["--method", "laplacian-mag", "integral-mag", "-w", str(tmp_path / "work")]
    assert main([str(REAL_HEAD), str(tmp_path / "out"), "participant", *options]) == 0
    magnitude = load(REAL_HEAD / "sub-01/anat/sub-01_echo-1_part-mag_MEGRE.nii.gz")
    centre = np.array([39, 38, 32])[:, None, None, None]
    central = ((np.indices(magnitude.shape) - centre) ** 2).sum(axis=0) < 12**2
    dark = central & (magnitude < 0.75 * np.median(magnitude[central]))
    assert 100 < dark.sum() < 1000, "the ventricles are dark in this scan"
    for desc in ("laplacianMag", "integralMag"):
        found = condmap(tmp_path / "out", "01", desc)
        # a prototype found medians of 0.64 and 0.67 S/m
        assert 0.55 < np.nanmedian(found[central]) < 0.75
        assert np.nanmedian(found[dark]) > 1.5 * np.nanmedian(found[central & ~dark])
    low, high = np.nanpercentile(found[central], [10, 90])
    assert low > 0.4
    assert high < 1.1
    sidecar = json.loads(
        (tmp_path / "out/sub-01/anat/sub-01_desc-integralMag_condmap.json").read_text()
    )
    assert (sidecar["MaskType"], sidecar["MaskOrigin"]) == ("brain", "T1w")
    assert sidecar["ImplausibleFraction"] < 0.03
    assert sidecar["Warnings"] == []
    assert sidecar["Verdict"] != "red"
