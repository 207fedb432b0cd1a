import numpy as np
import pytest

from bids_qcm.phantom.grids import IsotropicGrid, grid_around, resample

SOURCE = IsotropicGrid(np.array([-11.0, -9.0, -10.0]), 1.0, (23, 19, 21))


def linear(grid):
    x, y, z = np.ix_(*(grid.centres(axis) for axis in range(3)))
    return 3 + 0.5 * x - 0.2 * y + 0.1 * z


def test_resampling_to_the_same_grid_changes_nothing():
    values = np.random.default_rng(0).random(SOURCE.shape, dtype=np.float32)
    np.testing.assert_allclose(resample(values, SOURCE, SOURCE), values, rtol=1e-6)


@pytest.mark.parametrize(
    ("resolution", "tolerance"), [(0.5, 1e-5), (0.7, 1e-5), (1.0, 1e-5), (2.0, 1e-5), (1.3, 0.1)]
)
def test_a_linear_map_is_reproduced(resolution, tolerance):
    """If target voxels contain parts of source voxels, the error is below a tenth of a voxel."""
    target = grid_around((-5, -5, -5), (5, 4, 5), resolution, margin=0)
    found = resample(linear(SOURCE), SOURCE, target)
    np.testing.assert_allclose(found, linear(target), atol=tolerance)


@pytest.mark.parametrize("resolution", [1.0, 1.7, 2.0, 3.3, 4.0])
def test_coarse_voxels_preserve_the_volume(resolution):
    values = np.random.default_rng(1).random(SOURCE.shape)
    target = grid_around((-11, -9, -10), (11, 9, 10), resolution, margin=1)
    found = resample(values, SOURCE, target)
    assert found.sum() * resolution**3 == pytest.approx(values.sum(), rel=1e-5)


def test_a_coarse_voxel_is_the_mean_over_its_box():
    values = np.random.default_rng(2).random(SOURCE.shape)
    found = resample(values, SOURCE, IsotropicGrid(np.zeros(3), 3.0, (1, 1, 1)))
    assert found == pytest.approx(values[10:13, 8:11, 9:12].mean())


def test_the_result_is_zero_outside_the_source():
    target = IsotropicGrid(np.array([50.0, 0, 0]), 2.0, (2, 2, 2))
    assert not resample(np.ones(SOURCE.shape), SOURCE, target).any()


def test_grid_around_covers_the_box_and_its_margin():
    grid = grid_around((-4.1, 0, 1), (4.1, 2, 5), 1.5, margin=2)
    for axis, (low, high) in enumerate(((-4.1, 4.1), (0, 2), (1, 5))):
        centres = grid.centres(axis)
        np.testing.assert_allclose(np.remainder(centres / 1.5 + 0.5, 1), 0.5)
        assert low - 3 * 1.5 < centres[0] <= low - 2 * 1.5 + 1e-9
        assert high + 2 * 1.5 - 1e-9 <= centres[-1] < high + 3 * 1.5


def test_affine_maps_indices_to_the_centres():
    voxel = np.array([3, 5, 7, 1])
    expected = [SOURCE.centres(axis)[voxel[axis]] for axis in range(3)]
    np.testing.assert_allclose((SOURCE.affine @ voxel)[:3], expected)
