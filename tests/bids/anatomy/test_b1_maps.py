"""Tests of the search for a measured ``|B1+|`` map and of its resampling."""

import nibabel as nib
import numpy as np
import pytest

from bids_qcm.bids.anatomy.auxiliary import SCANNER
from bids_qcm.bids.anatomy.b1_maps import import_b1
from bids_qcm.bids.anatomy.datasets import SearchedDatasets
from bids_qcm.bids.anatomy.transforms import PointTransform
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.planning import plan_acquisition
from bids_qcm.checks.b1 import DeclaredB1
from bids_qcm.grids import Grid

FMAP = "sub-01/fmap/sub-01_TB1map"
OWN = "bids::sub-01/anat/sub-01_part-phase_T2w.nii.gz"
OTHER = "anat/sub-01_flip-1_VFA.nii.gz"


@pytest.fixture
def b1(dataset, label_values):
    """Write a ``|B1+|`` map."""

    def b1(stem=FMAP, **sidecar):
        path = dataset.image(f"{stem}.nii.gz", np.full(label_values.shape, 90, np.float32))
        if sidecar:
            dataset.json(f"{stem}.json", sidecar)
        return path

    return b1


@pytest.fixture
def plan(dataset):
    def plan(b1="auto", methods=("inversion",), derivatives=(), **options):
        named = {name: dataset.root / "derivatives" / name for name in derivatives}
        settings = dataset.settings(b1=b1, methods=methods, **options)
        searched = SearchedDatasets.of(settings, named)
        return plan_acquisition(dataset.acquisition(), settings, searched)

    return plan


def test_the_map_of_the_session_is_used(dataset, b1, plan):
    dataset.pair()
    path = b1(Units="percent", NominalFlipAngle=60)
    found = plan()
    assert found.b1.path == path
    assert found.b1.space == SCANNER
    assert found.b1_declared == DeclaredB1("percent", 60)
    assert found.b1_origins == ("measured", "model", "none")
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("options", "origins"),
    [
        ({"b1": "raw"}, ("measured",)),
        ({"b1": "raw", "methods": ("integral-fd",), "integral_radius": (3, 3, 3)}, ("measured",)),
        ({"b1": "model"}, ("model",)),
        ({"b1": "none"}, ()),
        # The published method uses the phase only.
        ({"methods": ("laplacian-fd",)}, ()),
    ],
)
def test_the_b1_option_selects_the_origins(dataset, b1, plan, options, origins):
    dataset.pair()
    b1()
    assert plan(**options).b1_origins == origins


@pytest.mark.parametrize(
    ("fields", "origins"),
    [
        ({}, ("model", "none")),
        ({"ImagingFrequency": 63.87}, ("model", "none")),
        ({"ImagingFrequency": 42.58}, ()),
        ({"BodyPartExamined": "PELVIS"}, ()),
    ],
)
def test_the_model_is_used_for_heads_at_1_5_t_and_above(dataset, plan, fields, origins):
    dataset.pair(**fields)
    assert plan().b1_origins == origins


def test_maps_of_other_sessions_and_participants_are_not_used(dataset, b1, plan):
    dataset.pair("sub-01_ses-a_{}_T2w", "sub-01/ses-a/anat")
    for stem in ("sub-01/ses-b/fmap/sub-01_ses-b_TB1map", FMAP, "sub-02/fmap/sub-02_TB1map"):
        b1(stem)
    assert plan().b1 is None
    own = b1("sub-01/ses-a/fmap/sub-01_ses-a_TB1map")
    assert plan().b1.path == own


def test_several_equally_good_maps_are_refused(dataset, b1, plan):
    dataset.pair()
    one, other = (b1(f"sub-01/fmap/sub-01_run-{run}_TB1map") for run in (1, 2))
    with pytest.raises(InputError, match=f"several candidates .*: {one.name}, {other.name}"):
        plan("raw")
    found = plan()
    assert found.b1_origins == ("model", "none")
    [warning] = found.warnings
    assert "the measured |B1+| map is not used" in warning
    assert plan(b1_filters={"run": 2}).b1.path == other
    dataset.json("sub-01/fmap/sub-01_run-2_TB1map.json", {"IntendedFor": [OWN]})
    assert plan().b1.path == other


@pytest.mark.parametrize(
    ("intended", "used"),
    [
        (OWN, True),
        ([OTHER, OWN], True),
        ("anat/sub-01_part-mag_T2w.nii.gz", True),
        (OTHER, False),
        # IntendedFor is empty or malformed.
        ([], True),
        (7, True),
    ],
)
def test_intended_for_selects_the_map(dataset, b1, plan, intended, used):
    dataset.pair()
    path = b1(IntendedFor=intended)
    found = plan()
    assert (found.b1 is not None) == used
    assert any("IntendedFor lists only other images" in one for one in found.warnings) != used
    assert plan("raw").b1.path == path


def test_a_derivative_map_is_used_if_there_is_no_raw_map(dataset, b1, plan):
    dataset.pair()
    dataset.derivative("mapping")
    derived = b1(f"derivatives/mapping/{FMAP}")
    assert plan(derivatives=["mapping"]).b1.path == derived
    raw = b1()
    assert plan(derivatives=["mapping"]).b1.path == raw
    assert plan("mapping", derivatives=["mapping"]).b1.path == derived
    with pytest.raises(InputError, match="choose from auto, model, none, raw, mapping"):
        plan("other", derivatives=["mapping"])


def test_a_named_dataset_without_a_map_is_refused(dataset, plan):
    dataset.pair()
    with pytest.raises(InputError, match=r"has no \|B1\+\| map for sub-01_T2w"):
        plan("raw")


@pytest.mark.parametrize(
    ("sidecar", "words"), [('{"Units": "Hz"}', "the Units 'Hz'"), ("{", "cannot be read as JSON")]
)
def test_an_unusable_sidecar_is_an_error_only_for_a_named_dataset(
    dataset, b1, plan, sidecar, words
):
    dataset.pair()
    b1()
    dataset.json(f"{FMAP}.json", sidecar)
    with pytest.raises(InputError, match=words):
        plan("raw")
    [warning] = plan().warnings
    assert words in warning


def test_a_map_of_several_volumes_is_refused(dataset, plan):
    dataset.pair()
    dataset.image(f"{FMAP}.nii.gz", np.ones((8, 9, 7, 2), np.float32))
    with pytest.raises(InputError, match="is 4-D"):
        plan("raw")


def test_a_map_in_a_template_needs_a_transform(dataset, b1, plan):
    dataset.pair()
    dataset.derivative("mapping")
    shape, affine = (5, 5, 5), np.diag([9.0, 9, 9, 1])
    dataset.image(
        "derivatives/mapping/sub-01/fmap/sub-01_space-MNI152_TB1map.nii.gz",
        np.ones(shape, np.float32),
        affine,
    )
    with pytest.raises(InputError, match="in the space MNI152, but no transform"):
        plan("mapping", derivatives=["mapping"])


def test_a_map_is_resampled_to_the_phase_by_coordinates(tmp_path):
    """The map is coarse, has other axes and an empty background, and samples a known field."""
    shape, affine = (30, 28, 26), nib.affines.from_matvec(np.diag([3.0, 3.0, 3.0]), [-44, -41, -38])

    def field(points):
        return 100 - 0.4 * points[..., 0] + 0.2 * points[..., 1] + 0.1 * points[..., 2]

    def points(shape, affine):
        indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
        return nib.affines.apply_affine(affine, indices)

    turned = np.array([[0, -5.0, 0], [0, 0, 5.0], [5.0, 0, 0]])
    coarse = nib.affines.from_matvec(turned, [50, -50, -50])
    where = points((21, 21, 21), coarse)
    inside = np.linalg.norm(where, axis=-1) < 46
    values = np.where(inside, field(where), 0).astype(np.float32)
    path = tmp_path / "sub-01_TB1map.nii.gz"
    nib.save(nib.Nifti1Image(values, coarse), path)
    target = points(shape, affine)
    mask = np.linalg.norm(target, axis=-1) < 34
    magnitude = np.ones(shape, np.float32)
    given = path, DeclaredB1(), Grid(shape, affine), PointTransform(()), mask, magnitude
    found = import_b1(*given, 127.74e6)
    np.testing.assert_allclose(found.smooth.values[mask], field(target)[mask], rtol=0.01)
    assert np.all(found.smooth.values[~mask] == 0)
    assert found.unit == "percent"
    with pytest.raises(InputError, match=r"sub-01_TB1map.nii.gz: has a median of .*--b1 model"):
        import_b1(path, DeclaredB1("ratio"), *given[2:], 127.74e6)
