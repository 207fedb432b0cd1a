import numpy as np
import pytest
from scipy import ndimage

from bids_qcm.phantom import deformation
from bids_qcm.phantom.deformation import Warp, jacobian, random_displacement, rigid_movement
from bids_qcm.phantom.grids import IsotropicGrid


@pytest.fixture(scope="module")
def field():
    return random_displacement(3.0, np.random.default_rng(0))


def points(number=400):
    return np.random.default_rng(1).uniform(-90, 90, (number, 3))


def test_displacement_has_its_standard_deviation_and_is_smooth():
    fields = [random_displacement(3.0, np.random.default_rng(seed))[0] for seed in range(8)]
    assert np.std(fields) == pytest.approx(3.0, rel=0.15)
    assert np.abs(fields).max() <= 3.0 * deformation.LARGEST_DEVIATION
    (one, grid), step = random_displacement(3.0, np.random.default_rng(0)), 5
    # the correlation at a distance d is exp(-(d / length)^2)
    distance = step * grid.resolution
    expected = np.exp(-((distance / deformation.CORRELATION_LENGTH) ** 2))
    pairs = [np.corrcoef(f[step:].ravel(), f[:-step].ravel())[0, 1] for f in fields]
    assert np.mean(pairs) == pytest.approx(expected, abs=0.15)
    assert one.shape == (*grid.shape, 3)


@pytest.mark.parametrize("sd", [0.0, 3.0, 5.0, 20.0])
def test_deformation_is_invertible(sd):
    displacement, grid = random_displacement(sd, np.random.default_rng(2))
    assert jacobian(displacement, grid).min() >= deformation.LEAST_JACOBIAN
    assert displacement.any() == (sd > 0)


def test_jacobian_of_a_linear_map_is_its_determinant():
    grid = IsotropicGrid(np.zeros(3), 2.0, (6, 7, 8))
    shear = np.array([[0.1, 0.2, 0.0], [0.0, -0.1, 0.0], [0.3, 0.0, 0.2]])
    displacement = (grid.points() @ shear.T).reshape(*grid.shape, 3)
    np.testing.assert_allclose(jacobian(displacement, grid), np.linalg.det(np.eye(3) + shear))


def test_inverse_returns_to_the_points(field):
    back = rigid_movement((1, -2, 3), (2, 1, -3), (0, -18, 8))
    warp = Warp(*field, back)
    there = warp.from_template(points())
    assert np.linalg.norm(there - points(), axis=1).mean() > 3
    np.testing.assert_allclose(warp.to_template(there), points(), atol=1e-6)


def test_rigid_movement_keeps_distances_and_its_centre():
    centre = np.array([0.0, -18.0, 8.0])
    matrix = rigid_movement((1, -2, 3), (0, 0, 90), centre)
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(matrix[:3, :3] @ centre + matrix[:3, 3], np.add(centre, (1, -2, 3)))
    np.testing.assert_allclose(matrix[:3, :3] @ (1, 0, 0), (0, 1, 0), atol=1e-12)


def test_a_ball_moves_with_the_warp(field):
    source = IsotropicGrid(np.full(3, -60.0), 2.0, (61, 61, 61))
    target = IsotropicGrid(np.full(3, -80.0), 2.0, (81, 81, 81))
    warp = Warp(*field, rigid_movement((4, 0, 0), (0, 0, 0), (0, 0, 0)))
    centre = np.array([10.0, -12.0, 20.0])
    ball = (np.linalg.norm(source.points() - centre, axis=1) < 12).reshape(source.shape)
    (pulled,) = warp.pull(ball[None].astype(np.float32), source, target)
    found = target.at(ndimage.center_of_mass(pulled))
    np.testing.assert_allclose(found, warp.from_template([centre])[0], atol=1.0)
