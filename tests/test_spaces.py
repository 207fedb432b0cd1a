"""A run with ``--output-spaces`` and known transforms."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.affines import apply_affine, from_matvec
from scipy.spatial.transform import Rotation

from bids_qcm.bids.anatomy.transforms import write_affine, write_deformation
from bids_qcm.bids.images import read_integers, read_values, save_array
from bids_qcm.bids.results import find_results
from bids_qcm.cli.run import main
from bids_qcm.grids import Grid
from bids_qcm.segmentation.registration import Deformation
from tests.synthetic import write_subjects

SHAPE = (24, 22, 20)
TEMPLATE = "MNI152NLin2009cAsym"
METHODS = ["laplacian", "laplacian-seg"]

# transforms from the phase to the T1w image, and from the T1w image to the template, in mm
POSE = from_matvec(Rotation.from_rotvec([0.1, -0.15, 0.2]).as_matrix(), [30, -10, 5])
SHIFT = np.array([-12.0, 4.0, 7.0])
T1W = Grid((50, 48, 46), from_matvec(0.8 * np.eye(3), POSE[:3, 3] - [6, 6, 6]))
TEMPLATE_GRID = Grid((50, 48, 46), from_matvec(0.8 * np.eye(3), POSE[:3, 3] + SHIFT - [6, 6, 6]))
GRIDS = {"T1w": T1W, TEMPLATE: TEMPLATE_GRID}


def to_phase(space, points):
    """Map points from a space to the phase."""
    to_t1w = points - SHIFT if space == TEMPLATE else points
    return apply_affine(np.linalg.inv(POSE), to_t1w)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("spaces")
    write_subjects(root / "raw", 1, SHAPE)
    raw = root / "raw/sub-0000/anat"
    seg = root / "raw/derivatives/seg/sub-0000/anat"
    rng = np.random.default_rng(0)
    save_array(raw / "sub-0000_T1w.nii.gz", rng.normal(size=T1W.shape), T1W.affine)
    reference = seg / f"sub-0000_space-{TEMPLATE}_desc-preproc_T1w.nii.gz"
    save_array(reference, rng.normal(size=T1W.shape), TEMPLATE_GRID.affine)
    # a transform file maps points in the opposite direction to the resampling of images
    write_affine(seg / "sub-0000_from-T1w_to-MEGRE_mode-image_xfm.txt", POSE)
    field = Grid((40, 40, 40), from_matvec(2 * np.eye(3), TEMPLATE_GRID.affine[:3, 3] - 10))
    shift = np.broadcast_to(-SHIFT, (*field.shape, 3))
    path = seg / f"sub-0000_from-T1w_to-{TEMPLATE}_mode-image_xfm.h5"
    write_deformation(path, Deformation(shift, field), np.eye(4))
    return root


@pytest.fixture(scope="module")
def run(root, in_process):
    def run(*options):
        arguments = [str(root / "raw"), str(root / "out"), "participant", "-w", str(root / "work")]
        return main([*arguments, *in_process, "--method", *METHODS, "--fit-radius", "3", *options])

    return run


@pytest.fixture(scope="module")
def anat(root, run):
    assert run("--output-spaces", "T1w", TEMPLATE) == 0
    return root / "out/sub-0000/anat"


@pytest.mark.parametrize("space", GRIDS)
@pytest.mark.parametrize("desc", ["laplacian", "laplacianSeg"])
def test_resampling_preserves_the_means_of_tissues(anat, space, desc):
    labels = read_integers(anat / f"sub-0000_space-{space}_seg-tissue_dseg.nii.gz")
    table = pd.read_csv(anat / f"sub-0000_desc-{desc}_condstats.tsv", sep="\t")
    for kind in ("condmap", "condstd"):
        path = anat / f"sub-0000_space-{space}_desc-{desc}_{kind}.nii.gz"
        values = read_values(path)
        assert np.allclose(nib.load(path).affine, GRIDS[space].affine)
        if kind == "condmap":
            for row in table[(table.label > 0) & (table.erosion == 0)].itertuples():
                inside = values[(labels == row.label) & (values != 0)]
                assert np.nanmean(inside) == pytest.approx(row.mean, rel=0.02)
        points = to_phase(space, GRIDS[space].points()[(values != 0).ravel()])
        assert points.min() > -1
        assert (points < SHAPE).all()


@pytest.mark.parametrize("space", GRIDS)
def test_tissues_have_the_positions_of_the_known_transforms(anat, space):
    found = read_integers(anat / f"sub-0000_space-{space}_seg-tissue_dseg.nii.gz")
    x, y, z = to_phase(space, GRIDS[space].points()).T.reshape(3, *GRIDS[space].shape)
    inside = np.ones(found.shape, bool)
    for axis, n in zip((x, y, z), SHAPE, strict=True):
        inside &= (axis > -0.5) & (axis < n - 0.5)
    left = x < SHAPE[0] // 2 - 0.5
    for label, where in ((1, inside & left), (2, inside & ~left)):
        own = found == label
        assert 2 * (own & where).sum() / (own.sum() + where.sum()) >= 0.95


def test_sidecars_describe_the_space(anat):
    (path,) = anat.glob(f"*_space-{TEMPLATE}_desc-laplacianSeg_condmap.json")
    sidecar = json.loads(path.read_text())
    assert sidecar["Method"] == "laplacian-seg"
    assert sidecar["SpatialReference"].startswith("bids:seg:sub-0000/anat/sub-0000_space-")
    assert sidecar["SpaceTransforms"] == [
        f"sub-0000_from-T1w_to-{TEMPLATE}_mode-image_xfm.h5",
        "sub-0000_from-T1w_to-MEGRE_mode-image_xfm.txt (inverse)",
    ]
    assert sidecar["Verdict"]


def test_results_and_report_contain_the_spaces(root, anat):
    (result,) = find_results(root / "out", "sub-0000")
    assert [one.method for one in result.maps] == METHODS
    assert set(result.maps[0].in_spaces) == set(result.segmentation_in_spaces) == set(GRIDS)
    page = (root / "out/sub-0000.html").read_text()
    assert "Space T1w" in page
    assert "resampled to the T1w image and MNI152NLin2009cAsym by linear interpolation" in page


def test_the_official_validator_passes(root, anat, validate):
    status, text = validate(root / "out")
    assert status == 0, text


def test_an_unavailable_space_is_reported_by_an_unchanged_run(anat, run, caplog, without_pages):
    before = {path: path.stat().st_mtime_ns for path in anat.iterdir()}
    with without_pages():
        assert run("--output-spaces", "T1w", TEMPLATE) == 0
    assert "0 map(s) written, 2 unchanged" in caplog.text
    with without_pages():
        assert run("--output-spaces", "T1w", TEMPLATE, "nowhere") == 1
    assert "has no transform from T1w to nowhere" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in anat.iterdir()} == before
