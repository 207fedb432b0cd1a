import numpy as np
import pytest
from nibabel.affines import from_matvec

from bids_qcm.bids.anatomy.alignments import Alignment
from bids_qcm.bids.anatomy.spaces import plan_spaces
from bids_qcm.bids.anatomy.transforms import write_affine, write_deformation
from bids_qcm.grids import Grid
from bids_qcm.segmentation.registration import Deformation

RAW = "sub-01/anat/sub-01_T1w.nii.gz"
ANAT = "derivatives/fmriprep/sub-01/anat/sub-01_"
TO_TEMPLATE = f"{ANAT}from-T1w_to-MNI152NLin2009cAsym_mode-image_xfm.h5"
MOVED = from_matvec(np.eye(3), [1, 2, 3])


@pytest.fixture
def plan(dataset):
    dataset.pair()

    def plan(*spaces, alignments=(), **options):
        found = plan_spaces(
            dataset.acquisition(),
            Grid((8, 9, 7), np.diag([1.0, 1.5, 2.0, 1.0])),
            [dataset.root / "derivatives/fmriprep"],
            dataset.settings(output_spaces=spaces, **options),
            alignments,
        )
        return found

    return plan


@pytest.fixture
def image(dataset, label_values):
    def image(relative, affine=MOVED):
        return dataset.image(relative, label_values, affine)

    return image


def write_field(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = Grid((5, 5, 5), np.diag([2.0, 2.0, 2.0, 1.0]))
    write_deformation(path, Deformation(np.zeros((5, 5, 5, 3)), grid), np.eye(4))


def test_the_grid_of_the_phase_requires_no_search(plan, image):
    image(RAW)
    found = plan("acq")
    assert (found.t1w, found.spaces, found.refused) == (None, (), {})


def test_the_registered_image_is_the_t1w_image_of_a_default_run(plan, image):
    one = image(RAW)
    alignment = Alignment(coreg="rigid", anatomical=one)
    found = plan("acq", alignments=(Alignment(same_grid=True), alignment))
    assert found.t1w.path == one
    assert found.t1w.alignment == alignment
    assert found.spaces == ()


def test_a_preprocessed_t1w_image_is_preferred_to_the_raw_image(plan, image):
    raw = image(RAW)
    found = plan("T1w")
    assert [found.t1w.path, found.spaces[0].reference] == [raw, raw]
    image(f"{ANAT}space-MNI152NLin6Asym_desc-preproc_T1w.nii.gz")
    assert plan("T1w").t1w.path == raw
    preprocessed = image(f"{ANAT}desc-preproc_T1w.nii.gz")
    found = plan("T1w")
    assert found.t1w.path == found.t1w.alignment.anatomical == preprocessed
    assert found.t1w.alignment.coreg == "auto"


def test_the_headers_are_used_if_requested(plan, image):
    image(RAW)
    found = plan("T1w", coreg="header")
    assert (found.t1w.alignment.coreg, found.t1w.alignment.anatomical) == ("header", None)


def test_a_given_transform_replaces_the_registration(plan, image, dataset):
    image(RAW)
    path = dataset.path(f"{ANAT}from-T1w_to-T2w_mode-image_xfm.txt")
    write_affine(path, np.eye(4))
    (step,) = plan("T1w").t1w.to_phase
    assert (step.path, step.inverse) == (path, True)


def test_a_transform_without_an_inverse_is_refused(plan, image, dataset):
    image(RAW)
    write_field(dataset.path(f"{ANAT}from-T1w_to-T2w_mode-image_xfm.h5"))
    assert "has no inverse" in plan("T1w").refused["--output-spaces T1w"]


def test_a_template_needs_a_transform_and_an_image(plan, image, dataset):
    image(RAW)
    name = "--output-spaces MNI152NLin2009cAsym"
    assert "has no transform from T1w" in plan("MNI152NLin2009cAsym").refused[name]
    write_field(dataset.path(TO_TEMPLATE))
    assert "no image in this space" in plan("MNI152NLin2009cAsym").refused[name]
    mask = image(f"{ANAT}space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz")
    (space,) = plan("MNI152NLin2009cAsym").spaces
    assert space.reference == mask
    t1w = image(f"{ANAT}space-MNI152NLin2009cAsym_res-2_desc-preproc_T1w.nii.gz")
    found = plan("MNI152NLin2009cAsym", "T1w")
    assert [space.reference for space in found.spaces] == [t1w, found.t1w.path]
    assert [step.path for step in found.spaces[0].steps] == [dataset.root / TO_TEMPLATE]
    assert not found.spaces[0].registers_template
    assert set(found.spaces[0].files) == {t1w, found.t1w.path, dataset.root / TO_TEMPLATE}


def test_the_template_of_nilearn_needs_no_transform_and_no_image(plan, image):
    image(RAW)
    (space,) = plan("MNI152NLin2009aSym").spaces
    assert (space.registers_template, space.reference, space.steps) == (True, None, ())


def test_without_a_t1w_image_only_the_output_space_is_refused(plan):
    refused = plan("acq", "T1w").refused
    assert list(refused) == ["--output-spaces T1w"]
    assert "sub-01_T2w: has no T1w image" in refused["--output-spaces T1w"]


def test_a_damaged_transform_is_refused(plan, image, dataset):
    image(RAW)
    dataset.json(TO_TEMPLATE, "nothing")
    (reason,) = plan("MNI152NLin2009cAsym").refused.values()
    assert "cannot be read as an ITK transform" in reason
