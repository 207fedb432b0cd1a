import numpy as np
import pytest
from nibabel.affines import from_matvec

from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.lesions import import_lesions, read_lesions
from bids_qcm.bids.anatomy.transforms import PointTransform
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import save_array
from bids_qcm.grids import Grid

SHAPE = (10, 11, 12)
GRID = Grid(SHAPE, np.diag([2.0, 2, 2, 1]))


@pytest.fixture
def save(tmp_path):
    def save(name, *boxes, dtype=np.uint8, affine=GRID.affine):
        values = np.zeros(SHAPE, dtype)
        for x, value in boxes:
            values[x, 4:7, 5:8] = value
        path = tmp_path / name
        save_array(path, values, affine)
        return path

    return save


def lesions_of(*paths, point_map=None):
    return import_lesions(AuxiliaryImage(paths, paths[0].parent, "lesions"), GRID, point_map)


def test_lesions_are_numbered_consecutively_across_files(save):
    found, numbers = lesions_of(
        save("a.nii.gz", (slice(1, 3), 1), (5, 1)), save("b.nii.gz", (2, 1), (7, 3))
    )
    assert numbers == [1, 2, 3, 5]
    assert found[:, 5, 6].tolist() == [0, 1, 1, 0, 0, 2, 0, 5, 0, 0]


def test_points_of_the_phase_are_mapped_to_the_mask(save):
    shift = from_matvec(np.eye(3), [30, 0, 0])
    moved = save("a.nii.gz", (3, 1), affine=shift @ GRID.affine)
    found, _ = lesions_of(moved, point_map=PointTransform((), shift))
    assert np.flatnonzero(found[:, 5, 6]).tolist() == [3]


def test_a_lesion_outside_the_grid_keeps_its_number(save):
    far = from_matvec(np.eye(3), [0, 0, 500])
    found, numbers = lesions_of(save("a.nii.gz", (3, 1)), point_map=PointTransform((), far))
    assert numbers == [1]
    assert not found.any()


@pytest.mark.parametrize(
    ("boxes", "dtype", "part"),
    [
        ([], np.uint8, "is empty"),
        ([(3, -1)], np.int16, "negative"),
        ([(3, 0.4)], np.float32, "integers"),
    ],
)
def test_a_mask_that_cannot_be_used_is_refused(save, boxes, dtype, part):
    with pytest.raises(InputError, match=part):
        read_lesions(save("a.nii.gz", *boxes, dtype=dtype))
