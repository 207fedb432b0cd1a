import numpy as np
import pytest
from nibabel.affines import apply_affine, from_matvec
from scipy.spatial.transform import Rotation

from bids_qcm.grids import Grid, Volume
from bids_qcm.segmentation.registration import align, to_sitk

GRID = Grid((33, 37, 31), from_matvec(np.diag([4.0, 4, 4]), [-64, -72, -60]))


def head(grid, pose, values):
    """Draw a head of three ellipsoids with a given pose, in two contrasts."""
    points = apply_affine(np.linalg.inv(pose), grid.points())
    drawn = np.zeros(len(points), np.float32)
    for value, centre, radii in zip(
        values,
        [(0, 0, 0), (12, 15, 8), (-20, -20, -10)],
        [(50, 58, 40), (30, 38, 14), (20, 10, 28)],
        strict=True,
    ):
        drawn[(((points - centre) / radii) ** 2).sum(axis=1) < 1] = value
    noise = np.random.default_rng(0).normal(0, 1, len(points))
    return Volume((drawn + noise).reshape(grid.shape).astype(np.float32), grid)


@pytest.fixture
def align_at():
    """Align two images of a head whose headers differ by a rotation and a shift."""

    def align_at(degrees, shift, flipped=False, **options):
        rotation = Rotation.from_rotvec(np.deg2rad(degrees) * np.array([1, -2, 2]) / 3)
        pose = from_matvec(rotation.as_matrix(), shift)
        grid = Grid((47, 52, 30), from_matvec(np.diag([-3.0, 3.0, 5.0]), [70, -75, -70]))
        magnitude = head(GRID, np.eye(4), (80, 60, 100))
        anatomical = head(grid, pose, (60, 100, 20))
        if flipped:
            anatomical = Volume(anatomical.values[::-1], grid)
        return pose, align(magnitude, anatomical, **options)

    return align_at


@pytest.mark.parametrize(("degrees", "shift"), [(3, (3, -3.5, 2)), (8, (20, 10, -25))])
def test_another_pose_is_found(align_at, degrees, shift):
    pose, found = align_at(degrees, shift)
    assert found.chosen == "rigid"
    assert not found.looks_flipped
    points = GRID.points(step=8)
    error = apply_affine(found.pose, points) - apply_affine(pose, points)
    # the error is less than half a voxel everywhere in the head
    assert np.linalg.norm(error, axis=1).max() < 2
    assert found.registered_information > 1.02 * found.header_information
    moved = np.linalg.norm(apply_affine(pose, points) - points, axis=1).mean()
    assert found.shift == pytest.approx(moved, abs=1)


def test_the_pose_of_the_headers_is_kept_if_it_is_equally_good(align_at):
    _, found = align_at(0, (0.3, 0, 0))
    assert found.chosen == "header"
    np.testing.assert_array_equal(found.pose, np.eye(4))


def test_the_registered_pose_is_used_if_requested(align_at):
    pose, found = align_at(0, (0.3, 0, 0), always=True)
    assert found.chosen == "rigid"
    np.testing.assert_allclose(found.pose, pose, atol=0.3)
    again = align_at(0, (0.3, 0, 0), always=True)[1]
    np.testing.assert_allclose(found.pose, again.pose, atol=1e-6)


def test_swapped_sides_are_detected(align_at):
    assert align_at(3, (3, -3.5, 2), flipped=True)[1].looks_flipped


def test_values_that_are_not_finite_become_zero():
    import SimpleITK as sitk

    values = np.ones((2, 3, 4), np.float32)
    values[0, 0] = np.nan, np.inf, -np.inf, 2
    stored = np.array(
        sitk.GetArrayFromImage(to_sitk(Volume(values, Grid(values.shape, GRID.affine))))
    ).T
    assert stored[0, 0].tolist() == [0, 0, 0, 2]


def test_an_image_keeps_its_geometry():
    affine = from_matvec(Rotation.from_euler("xyz", [3, 4, 5]).as_matrix() * [1, 2, 3], [4, 5, 6])
    grid = Grid((4, 5, 6), affine)
    made = to_sitk(Volume(np.zeros(grid.shape), grid))
    assert made.GetSize() == (4, 5, 6)
    index = (1, 2, 3)
    expected = grid.at(index) * [-1, -1, 1]
    np.testing.assert_allclose(made.TransformIndexToPhysicalPoint(index), expected)
