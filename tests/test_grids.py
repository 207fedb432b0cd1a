import numpy as np
import pytest
from nibabel.affines import apply_affine
from scipy.spatial.transform import Rotation

from bids_qcm.grids import Grid


@pytest.fixture
def affine():
    """An affine with a rotation, three different voxel sizes and an offset."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix()
    affine[:3, :3] *= [0.7, 0.8, 3.0]
    affine[:3, 3] = -40, 12, 7.5
    return affine


def test_voxel_size_and_number_of_voxels_are_correct(affine):
    grid = Grid((4, 5, 6), affine)
    assert grid.voxel_size == pytest.approx((0.7, 0.8, 3.0))
    np.testing.assert_allclose(grid.spacing, (0.7, 0.8, 3.0))
    assert grid.n_voxels == 120


def test_points_are_the_voxel_centres(affine):
    grid = Grid((4, 5, 6), affine)
    indices = np.array([(i, j, k) for i in range(4) for j in range(5) for k in range(6)])
    np.testing.assert_allclose(grid.points(), apply_affine(affine, indices))
    np.testing.assert_allclose(grid.at([1, 2, 3]), apply_affine(affine, [1, 2, 3]))
    middle = [(i, j, k) for i in (1, 3) for j in (1, 3) for k in (1, 3, 5)]
    np.testing.assert_allclose(grid.points(step=2), apply_affine(affine, middle))


def test_a_part_of_a_grid_keeps_its_position(affine):
    grid = Grid((4, 5, 6), affine)
    part = grid.part((slice(1, 3), slice(0, 9), slice(2, None)))
    assert part.shape == (2, 5, 4)
    np.testing.assert_allclose(part.at([0, 0, 0]), grid.at([1, 0, 2]))
    np.testing.assert_array_equal(part.affine[:3, :3], affine[:3, :3])


def test_grids_match_within_rounding_errors(affine):
    grid = Grid((8, 9, 7), affine)
    near, far = affine.copy(), affine.copy()
    near[0, 3] += 0.05
    far[0, 3] += 0.2
    assert grid.matches(Grid((8, 9, 7), near))
    assert not grid.matches(Grid((8, 9, 7), far))
    assert not grid.matches(Grid((9, 8, 7), affine))


def test_grids_are_compared_at_their_far_ends():
    """Small differences in voxel size or angle add up over the image."""
    affine = np.eye(4)
    larger = np.diag([1.001, 1, 1, 1])
    assert Grid((50, 9, 9), larger).matches(Grid((50, 9, 9), affine))
    assert not Grid((200, 9, 9), larger).matches(Grid((200, 9, 9), affine))
    turned = np.eye(4)
    turned[:2, :2] = [[1, -0.0087], [0.0087, 1]]
    assert not Grid((200, 200, 9), turned).matches(Grid((200, 200, 9), affine))


def test_the_orientation_of_slices_follows_from_the_affine(affine):
    grid = Grid((4, 5, 6), affine[[1, 2, 0, 3]])
    assert [grid.orientation(axis) for axis in range(3)] == ["axial", "sagittal", "coronal"]
