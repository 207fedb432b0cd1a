import numpy as np
import pytest
from nibabel.affines import apply_affine, from_matvec
from scipy.spatial.transform import Rotation

from bids_qcm.grids import Grid, Volume
from bids_qcm.segmentation.symmetry import LEAST_SYMMETRY, mid_sagittal_plane

SHAPE = (44, 52, 40)
MM = 4.0


@pytest.fixture(scope="module")
def head():
    """A head with equal halves, on a grid whose axes are not in RAS order.

    The indices run from back to front, from top to bottom, and from left to right.
    """
    affine = np.array([[0, 0, MM, -86], [MM, 0, 0, -88], [0, -MM, 0, 100], [0, 0, 0, 1.0]])
    grid = Grid(SHAPE, affine)
    x, y, z = grid.points().T.reshape(3, *SHAPE)
    mask = (x / 60) ** 2 + (y / 80) ** 2 + (z / 65) ** 2 < 1
    core = ((np.abs(x) - 25) / 18) ** 2 + ((y - 10) / 45) ** 2 + (z / 30) ** 2 < 1
    noise = np.random.default_rng(0).normal(0, 0.05, SHAPE)
    return np.where(mask, 1 - 0.4 * core + noise, 0.02), mask, affine


@pytest.mark.parametrize("degrees", [(0, 0, 0), (4, 12, -9), (-10, -16, 18)])
def test_the_plane_of_a_rotated_head_is_found(head, degrees):
    values, mask, affine = head
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    pose = from_matvec(turn, [15, -8, 30])
    volume = Volume(values, Grid(SHAPE, pose @ affine))
    plane = mid_sagittal_plane(volume, mask)
    assert plane.correlation > 0.9
    assert np.degrees(np.arccos(plane.normal @ turn[:, 0])) < 1
    left, right = apply_affine(pose, [[-30, 20, 10], [30, 20, 10]])
    np.testing.assert_allclose(plane(left[None])[0], right, atol=1.5)
    np.testing.assert_allclose(plane(plane(left[None]))[0], left)


def test_a_lesion_that_is_left_out_does_not_move_the_plane(head):
    values, mask, affine = head
    grid = Grid(SHAPE, affine)
    lesion = np.linalg.norm(grid.points() - [-30, 20, 10], axis=1).reshape(SHAPE) < 22
    plane = mid_sagittal_plane(Volume(np.where(lesion, 4, values), grid), mask, lesion)
    assert abs(plane.normal[0]) > np.cos(np.radians(0.5))
    assert abs(plane.offset) < 0.5


def test_half_a_head_has_no_plane(head):
    values, mask, affine = head
    half = mask.copy()
    half[:, :, SHAPE[2] // 2 :] = False
    plane = mid_sagittal_plane(Volume(values, Grid(SHAPE, affine)), half)
    assert plane.correlation < LEAST_SYMMETRY
