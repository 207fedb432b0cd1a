import shutil

import nibabel as nib
import numpy as np
import pytest

from bids_qcm.bids.errors import InputError, NoInputError, SelectionError
from bids_qcm.bids.images import save_array
from bids_qcm.bids.phantom.dataset import write_phantom_dataset
from bids_qcm.bids.phantom.truth import list_participants, read_map, read_truth
from bids_qcm.phantom.make import make_head
from bids_qcm.phantom.parameters import PhantomParameters

PARAMETERS = PhantomParameters(
    resolution=4.0, lesion=True, small_lesions=True, tissue_variation=0.15
)
ANAT = "derivatives/phantom/sub-01/anat"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    out = tmp_path_factory.mktemp("original") / "phantom"
    write_phantom_dataset(out, PARAMETERS, participants=2)
    return out


@pytest.fixture
def phantom(original, tmp_path):
    return shutil.copytree(original, tmp_path / "phantom")


def put_map(dataset, name):
    save_array(dataset / name, np.ones((2, 2, 2)), np.eye(4))


@pytest.mark.slow
def test_true_maps_are_read(original):
    head = make_head(PARAMETERS)
    truth = read_truth(original, "sub-01")
    np.testing.assert_array_equal(truth.arrays.conductivity, np.float32(head.conductivity))
    np.testing.assert_array_equal(truth.arrays.labels, head.anatomy.labels)
    np.testing.assert_array_equal(truth.arrays.brain, head.anatomy.brain)
    np.testing.assert_array_equal(
        truth.arrays.small_lesion_diameter, head.anatomy.small_lesion_diameter
    )
    assert truth.arrays.voxel_size == (4, 4, 4)
    assert truth.tissue_names[2] == "White Matter"
    np.testing.assert_allclose(truth.grid.affine, head.anatomy.grid.affine)


def test_a_phantom_without_small_lesions_is_read(phantom):
    for path in (phantom / ANAT).glob("*_label-L_*"):
        path.unlink()
    assert not read_truth(phantom, "sub-01").arrays.small_lesion_diameter.any()


@pytest.mark.parametrize("which", ["desc-truth_condmap", "dseg", "desc-brain_mask"])
def test_the_error_for_a_missing_file_names_the_file(phantom, which):
    path = phantom / ANAT / f"sub-01_{which}.nii.gz"
    path.unlink()
    with pytest.raises(InputError, match=r"is missing.*bids-qcm-phantom create") as error:
        read_truth(phantom, "sub-01")
    assert error.value.where == path


@pytest.mark.parametrize("which", ["dseg", "desc-brain_mask", "label-L_desc-8mm_mask"])
def test_true_maps_on_different_grids_are_refused(phantom, which):
    path = phantom / ANAT / f"sub-01_{which}.nii.gz"
    save_array(path, np.ones((3, 3, 3), np.uint8), np.eye(4))
    with pytest.raises(InputError, match="has a different grid from the true cond") as error:
        read_truth(phantom, "sub-01")
    assert error.value.where == path


def test_zeros_and_invalid_voxels_of_a_map_are_nan(original):
    truth = read_truth(original, "sub-01")
    path = original.parent / "a_condmap.nii.gz"
    values = truth.arrays.conductivity.copy()
    values[20:25] = np.nan
    save_array(path, values, truth.grid.affine)
    found = read_map(path, truth)
    outside = (truth.arrays.conductivity == 0) | np.isnan(values)
    np.testing.assert_array_equal(np.isnan(found), outside)
    np.testing.assert_array_equal(found[~outside], truth.arrays.conductivity[~outside])


@pytest.mark.parametrize("change", ["shape", "place"])
def test_a_map_on_another_grid_is_refused(original, change):
    truth = read_truth(original, "sub-01")
    values, affine = truth.arrays.conductivity, truth.grid.affine.copy()
    if change == "shape":
        values = values[1:]
    else:
        affine[0, 3] += 1
    path = original.parent / f"{change}_condmap.nii.gz"
    nib.save(nib.Nifti1Image(values, affine), path)
    message = r"condmap.nii.gz: has a different grid from the true cond.*Remedy: compare the map"
    with pytest.raises(InputError, match=message):
        read_map(path, truth)


def test_participants_with_a_true_map_or_a_conductivity_map_are_listed(original, tmp_path):
    put_map(tmp_path, "sub-03/anat/sub-03_desc-integral_condmap.nii.gz")
    put_map(tmp_path, "sub-04/anat/sub-04_T1w.nii.gz")
    assert list_participants(original, tmp_path, []) == ["sub-01", "sub-02", "sub-03"]
    assert list_participants(original, tmp_path, ["02"]) == ["sub-02"]
    with pytest.raises(SelectionError, match="has no participant 03"):
        list_participants(original, tmp_path, ["03"])


def test_a_dataset_that_is_not_a_phantom_is_refused(tmp_path):
    with pytest.raises(NoInputError, match=r"derivatives/phantom: is missing, so there is no true"):
        list_participants(tmp_path, tmp_path, [])
