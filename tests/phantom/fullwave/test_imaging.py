import numpy as np
import pytest

from bids_qcm.phantom.fullwave.fields import CircularFields, interpolate
from bids_qcm.phantom.fullwave.imaging import (
    measure_b1_map,
    relative_to_centre,
    signal_weighting,
    transceive_phase,
)
from bids_qcm.phantom.grids import IsotropicGrid, grid_around

GRID = grid_around([-60, -50, -40], [60, 50, 40], 4.0, 2)
X, Y, Z = np.meshgrid(*[GRID.centres(a) for a in range(3)], indexing="ij")
R2 = X**2 + Y**2 + Z**2
HEAD, BRAIN = R2 < 45**2, R2 < 30**2


def parabolic(curvature, fall=0.0):
    """Return a field whose phase has a given constant Laplacian in rad/mm^2."""
    magnitude = 3 * (1 - fall * R2 / 45**2)
    return (magnitude * np.exp(1j * (curvature * R2 / 6 + 2))).astype(np.complex64)


FIELDS = CircularFields(parabolic(0.01, 0.5), parabolic(0.02))


def test_fields_are_one_at_the_centre():
    for field in relative_to_centre(FIELDS, BRAIN, GRID):
        assert field.dtype == np.complex64
        assert field[np.hypot(X, np.hypot(Y, Z)) <= 10].mean() == pytest.approx(1, abs=1e-5)


def test_phase_is_the_unwrapped_sum():
    """The phase varies by 9 rad in the head. The phase at the centre has been subtracted."""
    phi0 = transceive_phase(relative_to_centre(FIELDS, BRAIN, GRID), HEAD, BRAIN)
    assert not phi0[~HEAD].any()
    expected = 0.03 * R2 / 6
    difference = (phi0 - expected)[HEAD]
    np.testing.assert_allclose(difference, difference[0], atol=1e-5)
    assert abs(np.median(phi0[BRAIN])) <= np.pi
    assert np.ptp(phi0[HEAD]) > 9


def test_weighting_is_receive_times_sine_of_the_flip_angle():
    transmit, receive = np.complex64([1j, -1 / 3, 0.5]), np.complex64([2, 1j, 0])
    found = signal_weighting(CircularFields(transmit, receive))
    np.testing.assert_allclose(found, [2, 0.5, 0], atol=1e-6)


def test_b1_map_is_coarse_in_percent_and_noisy():
    fields = CircularFields(FIELDS.transmit / 3, FIELDS.receive)
    found = measure_b1_map(np.abs(fields.transmit), HEAD, GRID, np.random.default_rng(0))
    assert found.grid.resolution == 5.0
    assert found.percent.dtype == np.float32
    centres = np.meshgrid(*[found.grid.centres(a) for a in range(3)], indexing="ij")
    r2 = sum(u**2 for u in centres)
    inside = r2 < 38**2
    error = found.percent[inside] - 100 * (1 - 0.5 * r2[inside] / 45**2)
    assert error.std() == pytest.approx(2.0, rel=0.1)
    assert abs(error.mean()) < 0.3
    assert not found.percent[r2 > 55**2].any()


def test_the_b1_map_has_the_voxel_size_of_coarser_images():
    grid = IsotropicGrid(GRID.origin, 8.0, GRID.shape)
    found = measure_b1_map(np.abs(FIELDS.transmit), HEAD, grid, np.random.default_rng(0))
    assert found.grid.resolution == 8.0


def test_interpolation_to_a_finer_grid_is_accurate():
    fine = grid_around([-30, -30, -30], [30, 30, 30], 1.0, 0)
    found = interpolate(FIELDS, GRID, fine)
    x, y, z = np.meshgrid(*[fine.centres(a) for a in range(3)], indexing="ij")
    r2 = x**2 + y**2 + z**2
    expected = 3 * (1 - 0.5 * r2 / 45**2) * np.exp(1j * (0.01 * r2 / 6 + 2))
    assert found.transmit.dtype == np.complex64
    np.testing.assert_allclose(found.transmit, expected, atol=2e-3)
