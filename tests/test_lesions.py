"""Lesions of known conductivity, from masks to tables and pages."""

import json
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.affines import from_matvec
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_qcm.bids.anatomy.transforms import write_affine
from bids_qcm.bids.images import read_grid, read_integers, read_values, save_array
from bids_qcm.bids.results import find_results
from bids_qcm.cli.run import main
from bids_qcm.grids import Grid
from bids_qcm.phantom.make import make_head, make_phantom
from bids_qcm.phantom.parameters import PhantomParameters
from bids_qcm.phase.unwrapping import unwrap
from bids_qcm.recon import reconstruct
from bids_qcm.segmentation.lesions import separate_lesions
from bids_qcm.statistics import standard_error

pytestmark = pytest.mark.slow

TUMOUR, WHITE_MATTER = 7, 2
# phase to T1w image, in mm
POSE = from_matvec(Rotation.from_rotvec([0.1, -0.15, 0.2]).as_matrix(), [30, -10, 5])


@pytest.fixture(scope="module")
def root(tmp_path_factory, add_phantom):
    """A phantom with a tumour, whose mask is drawn on a T1w image in another pose.

    The segmentation does not contain the tumour.
    """
    root = tmp_path_factory.mktemp("lesions")
    add_phantom(root / "raw", "01", root, "--lesion", "--lesion-diameter", "32")
    path = root / "raw/derivatives/phantom/sub-01/anat/sub-01_dseg.nii.gz"
    labels, grid = read_integers(path), read_grid(path)
    save_array(path, np.where(labels == TUMOUR, WHITE_MATTER, labels).astype(np.uint8), grid.affine)
    anat = root / "raw/sub-01/anat"
    t1w = Grid((120, 130, 120), from_matvec(2 * np.eye(3), [-110, -140, -110]))
    to_phase = np.linalg.inv(grid.affine) @ np.linalg.inv(POSE) @ t1w.affine
    tumour = ndimage.affine_transform(
        (labels == TUMOUR).astype(float), to_phase, output_shape=t1w.shape, order=1
    )
    save_array(anat / "sub-01_label-lesion_roi.nii.gz", (tumour > 0.5).astype(np.uint8), t1w.affine)
    rng = np.random.default_rng(0)
    save_array(anat / "sub-01_T1w.nii.gz", rng.normal(size=t1w.shape), t1w.affine)
    # a transform file maps points in the opposite direction to the resampling of images
    transforms = root / "raw/derivatives/phantom/sub-01/anat"
    write_affine(transforms / "sub-01_from-T1w_to-T2w_mode-image_xfm.txt", POSE)
    np.save(root / "truth.npy", labels == TUMOUR)
    return root


@pytest.fixture(scope="module")
def run(root, in_process):
    def run(*options):
        arguments = [str(root / "raw"), str(root / "out"), "participant", "-w", str(root / "work")]
        methods = ["laplacian", "inversion-seg"]
        return main([*arguments, *in_process, "--method", *methods, *options])

    return run


@pytest.fixture(scope="module")
def anat(root, run):
    assert run() == 0
    return root / "out/sub-01/anat"


def test_the_lesion_is_at_the_position_of_the_known_transform(root, anat):
    found = read_integers(anat / "sub-01_seg-lesions_dseg.nii.gz")
    truth = np.load(root / "truth.npy")
    assert set(np.unique(found)) == {0, 1}
    assert 2 * np.count_nonzero(truth & (found > 0)) / (truth.sum() + found.sum()) > 0.9
    sidecar = json.loads((anat / "sub-01_seg-lesions_dseg.json").read_text())
    assert sidecar["Resampling"] == "nearest neighbour"
    assert sidecar["Sources"][0] == "bids:raw:sub-01/anat/sub-01_label-lesion_roi.nii.gz"
    assert sidecar["MirrorCorrelation"] > 0.9
    np.testing.assert_allclose(np.abs(sidecar["MirrorPlane"]), [1, 0, 0, 0], atol=0.5)


def test_the_lesion_is_a_separate_tissue(anat):
    found = read_integers(anat / "sub-01_seg-lesions_dseg.nii.gz") > 0
    labels = read_integers(anat / "sub-01_seg-tissue_dseg.nii.gz")
    np.testing.assert_array_equal(labels == TUMOUR, found)
    assert "7\tLesion" in (anat / "sub-01_seg-tissue_dseg.tsv").read_text()
    for desc, separate in (("laplacian", None), ("inversionSeg", [1])):
        sidecar = json.loads((anat / f"sub-01_desc-{desc}_condmap.json").read_text())
        assert sidecar.get("SeparateLesions") == separate
        assert sidecar["Lesions"][0].endswith("_label-lesion_roi.nii.gz")


def test_the_lesion_table_contains_the_true_conductivity(root, anat):
    table = pd.read_csv(anat / "sub-01_desc-inversionSeg_condlesions.tsv", sep="\t")
    assert table.reference.tolist() == ["mirrored", "same tissue"]
    assert set(table.reference_tissue) == {"White Matter"}
    truth = read_values(
        root / "raw/derivatives/phantom/sub-01/anat/sub-01_desc-truth_condmap.nii.gz"
    )
    expected = truth[read_integers(anat / "sub-01_seg-lesions_dseg.nii.gz") > 0].mean()
    assert table["mean"].to_list() == pytest.approx([expected] * 2, rel=0.15)
    assert (table.difference > 3 * table.difference_standard_error).all()


def test_the_page_shows_the_lesions(root, anat):
    (result,) = find_results(root / "out", "sub-01")
    assert [len(one.lesions) for one in result.maps] == [2, 2]
    page = (root / "out/sub-01.html").read_text()
    assert ">Lesions</h3>" in page
    assert "1 lesion(s)" in page
    assert "<td>1 *</td>" in page


def test_the_contrast_improves_and_without_lesions_their_files_are_removed(root, anat, run):
    truth = np.load(root / "truth.npy")
    condmap = anat / "sub-01_desc-inversionSeg_condmap.nii.gz"
    with_mask = read_values(condmap)[truth].mean()
    copy = root / "copy"
    shutil.copytree(root / "out", copy)
    assert run("--lesions", "none") == 0
    assert with_mask > read_values(condmap)[truth].mean() + 0.05
    assert not list(anat.glob("*lesions*"))
    assert ">Lesions</h3>" not in (root / "out/sub-01.html").read_text()


def test_a_damaged_mask_does_not_stop_the_computation(root, run, anat):
    path = root / "raw/sub-01/anat/sub-01_label-lesion_roi.nii.gz"
    intact = path.read_bytes()
    image = nib.load(path)
    save_array(path, np.zeros(image.shape, np.uint8), image.affine)
    try:
        assert run() == 0
    finally:
        path.write_bytes(intact)
    warnings = json.loads((anat / "sub-01_phi0map.json").read_text())["Warnings"]
    assert any("a lesion mask is not used" in one and "is empty" in one for one in warnings)


def test_the_standard_error_of_a_difference_agrees_with_the_scatter():
    parameters = PhantomParameters(resolution=4, lesion=True, lesion_diameter=40)
    head = make_head(parameters)
    labels, mask = head.anatomy.labels.astype(np.int32), head.anatomy.brain
    lesion = labels == TUMOUR
    mirrored = lesion[::-1] & mask
    regions, separate = separate_lesions(
        np.where(lesion, WHITE_MATTER, labels), lesion.astype(np.int32), (4, 4, 4), 8.0
    )
    assert separate == [1]
    differences, errors = [], []
    for seed in range(20):
        phantom = make_phantom(replace(parameters, seed=seed), head)
        magnitude = phantom.magnitude[0]
        found = reconstruct(
            unwrap(phantom.phase[0], mask),
            method="laplacian-seg",
            voxel_size=phantom.voxel_size,
            frequency=phantom.frequency,
            mask=mask,
            labels=regions,
            phase_noise=magnitude[mask].mean() / parameters.snr / np.maximum(magnitude, 0.1),
            uncertainty=seed < 2,
            noise_maps=seed < 2,
        )
        valid = np.isfinite(found.conductivity)
        inside, other = (one & valid for one in (lesion, mirrored))
        differences.append(found.conductivity[inside].mean() - found.conductivity[other].mean())
        if seed < 2:
            weights = inside[mask] / inside.sum() - other[mask] / other.sum()
            errors.append(standard_error(found.noise_maps, weights))
    # the relative error is 16 % for the scatter of 20 maps and 13 % for the errors from 32
    # replicates
    assert np.mean(errors) == pytest.approx(np.std(differences, ddof=1), rel=0.45)
