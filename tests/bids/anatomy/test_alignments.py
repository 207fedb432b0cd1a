from dataclasses import replace

import pytest

from bids_qcm.bids.anatomy import transforms
from bids_qcm.bids.anatomy.alignments import Alignment, plan_alignment
from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.datasets import SearchedDatasets
from bids_qcm.bids.anatomy.transforms import Step
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.planning import plan_acquisition
from bids_qcm.grids import Grid

ANAT = "derivatives/seg/sub-01/anat/sub-01"


@pytest.fixture
def alignment(dataset, label_values, affine):
    """Plan the alignment of a segmentation on another grid."""
    dataset.pair("sub-01_{}_MEGRE")
    acquisition = dataset.acquisition()
    grid = Grid(label_values.shape, affine.copy())
    affine[0, 3] = 1

    def alignment(name=f"{ANAT}_dseg.nii.gz", space="T1w", **options):
        path = dataset.segmentation(name, affine=affine)
        auxiliary = AuxiliaryImage((path,), dataset.root / "derivatives/seg", "labels", space)
        datasets = [dataset.root / "derivatives" / one for one in ("other", "seg")]
        return plan_alignment(auxiliary, acquisition, grid, datasets, dataset.settings(**options))

    return alignment


def test_a_transform_to_the_acquisition_is_sufficient(dataset, alignment):
    path = dataset.json(f"{ANAT}_from-T1w_to-MEGRE_mode-image_xfm.txt", "")
    found, warnings = alignment()
    assert (found.steps, found.coreg, found.anatomical) == ((Step(path),), None, None)
    assert warnings == []
    assert found.describe()["Transforms"] == [path.name]


def test_the_dataset_of_the_image_is_searched_first(dataset, alignment):
    name = "{}_from-T1w_to-MEGRE_mode-image_xfm.txt"
    other = dataset.json(name.format(ANAT.replace("/seg/", "/other/")), "")
    assert alignment()[0].steps == (Step(other),)
    own = dataset.json(name.format(ANAT), "")
    assert alignment()[0].steps == (Step(own),)


def test_a_template_space_needs_a_transform(dataset, alignment):
    with pytest.raises(InputError, match=r"in the space MNI.*no transform.*from-MNI_to-T1w"):
        alignment(space="MNI")
    path = dataset.json(f"{ANAT}_from-MNI_to-T1w_mode-image_xfm.h5", "")
    found, _ = alignment(space="MNI", coreg="header")
    assert (found.steps, found.coreg) == ((Step(path),), "header")


def test_planning_samples_images_that_need_little_memory(dataset, alignment):
    linear = dataset.json(f"{ANAT}_from-MNI_to-T1w_mode-image_xfm.txt", "")
    assert alignment(space="MNI", coreg="header")[0].checked_in_planning
    linear.rename(linear.with_suffix(".h5"))
    assert not alignment(space="MNI", coreg="header")[0].checked_in_planning
    assert not Alignment(coreg="rigid", anatomical=linear).checked_in_planning


def test_planning_reads_no_displacement_field(dataset, label_values, affine, monkeypatch):
    sitk = pytest.importorskip("SimpleITK")
    dataset.pair()
    affine[0, 3] = 1
    path = dataset.segmentation(f"{ANAT}_space-MNI_dseg.nii.gz", affine=affine)
    mask = dataset.image(f"{ANAT}_space-MNI_desc-brain_mask.nii.gz", label_values, affine)
    field = sitk.DisplacementFieldTransform(sitk.Image((9, 9, 9), sitk.sitkVectorFloat64, 3))
    transform = dataset.path(f"{ANAT}_from-MNI_to-T1w_mode-image_xfm.h5")
    sitk.WriteTransform(sitk.CompositeTransform([field]), str(transform))
    monkeypatch.setattr(transforms, "read_transform", None)
    settings = dataset.settings(coreg="header")
    searched = SearchedDatasets.of(settings, {"seg": dataset.derivative()})
    plan = plan_acquisition(dataset.acquisition(), settings, searched)
    assert (plan.segmentation.path, plan.mask.path) == (path, mask)


@pytest.mark.parametrize("coreg", ["auto", "rigid"])
def test_the_image_of_the_dataset_is_registered(dataset, alignment, label_values, coreg):
    raw = dataset.image("sub-01/anat/sub-01_T1w.nii.gz", label_values)
    assert alignment(coreg=coreg)[0].anatomical == raw
    own = dataset.image(f"{ANAT}_desc-preproc_T1w.nii.gz", label_values)
    dataset.image(f"{ANAT}_space-MNI_desc-preproc_T1w.nii.gz", label_values)
    found, warnings = alignment(coreg=coreg)
    assert (found.coreg, found.anatomical, warnings) == (coreg, own, [])


def test_the_freesurfer_image_is_registered(dataset, alignment):
    image = dataset.json("derivatives/seg/sub-01/mri/T1.mgz", "")
    assert alignment("derivatives/seg/sub-01/mri/x.nii.gz")[0].anatomical == image
    better = dataset.json("derivatives/seg/sub-01/mri/nu.mgz", "")
    assert alignment("derivatives/seg/sub-01/mri/x.nii.gz")[0].anatomical == better


@pytest.mark.parametrize("images", [0, 2])
def test_without_a_known_image_headers_are_used_with_a_warning(
    dataset, alignment, label_values, images
):
    for run in range(images):
        dataset.image(f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz", label_values)
    found, (warning,) = alignment()
    assert (found.coreg, found.anatomical) == ("header", None)
    assert "was not checked, because no T1w image in its space was found" in warning
    with pytest.raises(InputError, match="cannot be registered: no T1w image"):
        alignment(coreg="rigid")
    assert alignment(coreg="header")[1] == []


def test_an_auxiliary_t1w_image_is_registered(dataset, label_values, affine):
    dataset.pair("sub-01_{}_MEGRE")
    acquisition, grid = dataset.acquisition(), Grid(label_values.shape, affine)
    other = affine.copy()
    other[0, 3] = 1
    path = dataset.image("sub-01/anat/sub-01_T1w.nii.gz", label_values, other)
    dataset.image("sub-01/anat/sub-01_run-2_T1w.nii.gz", label_values, other)
    auxiliary = AuxiliaryImage((path,), dataset.root, "t1w")
    found, _ = plan_alignment(auxiliary, acquisition, grid, [], dataset.settings())
    assert found.anatomical == path
    same = replace(auxiliary, paths=(dataset.segmentation(),))
    found, _ = plan_alignment(same, acquisition, grid, [], dataset.settings())
    assert found.same_grid
    assert found.describe() == {"Resampling": "none, same grid as the phase"}


def test_a_hidden_file_is_not_a_second_t1w_image(dataset, alignment, affine, label_values):
    path = dataset.image(f"{ANAT}_desc-preproc_T1w.nii.gz", label_values, affine)
    path.with_name(f"._{path.name}").write_bytes(b"\x00\x05")
    found, warnings = alignment()
    assert (found.coreg, found.anatomical, warnings) == ("auto", path, [])


@pytest.mark.parametrize("name", [f"{ANAT}_desc-preproc_T1w.nii.gz", f"{ANAT[:-11]}mri/nu.mgz"])
def test_the_error_for_a_t1w_image_without_content_shows_the_download_command(
    dataset, alignment, name
):
    path = dataset.path(name)
    path.symlink_to(".git/annex/objects/x")
    source = f"{ANAT[:-11]}mri/aseg.mgz" if path.suffix == ".mgz" else f"{ANAT}_dseg.nii.gz"
    with pytest.raises(InputError, match=f"datalad get .*/{path.name}`"):
        alignment(source)
