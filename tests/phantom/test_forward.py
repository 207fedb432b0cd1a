import math

import numpy as np
import pytest

from bids_qcm.phantom.forward import transceive_phase

MU0 = 1.25663706212e-6
FREQUENCY = 127.74e6


def finite_difference_laplacian(values, voxel_size_m):
    padded = np.pad(values, 1)
    core = (slice(1, -1),) * 3
    total = np.zeros(values.shape)
    for axis, size in enumerate(voxel_size_m):
        neighbours = np.roll(padded, 1, axis) + np.roll(padded, -1, axis)
        total += (neighbours - 2 * padded)[core] / size**2
    return total


@pytest.mark.parametrize("voxel_size", [(2.0, 2.0, 2.0), (1.0, 1.5, 3.0)])
def test_finite_differences_return_the_conductivity(voxel_size):
    sigma = np.random.default_rng(3).uniform(0, 2.2, (11, 14, 9))
    phi0 = transceive_phase(sigma, voxel_size, FREQUENCY)
    laplacian = finite_difference_laplacian(phi0, np.multiply(voxel_size, 1e-3))
    expected = 2 * (2 * math.pi * FREQUENCY) * MU0 * sigma
    np.testing.assert_allclose(laplacian, expected, rtol=0, atol=1e-10 * expected.max())


def test_sphere_matches_the_analytic_laplacian_curvature():
    # Inside a uniform sphere far from the border, phi0 grows as the square of the distance.
    axis = np.arange(-30, 31) * 2.0
    radius2 = sum(np.ix_(axis**2, axis**2, axis**2))
    phi0 = transceive_phase(0.5 * (radius2 < 40**2), (2.0, 2.0, 2.0), FREQUENCY)
    rise = phi0[40, 30, 30] + phi0[30, 40, 30] + phi0[30, 30, 40] - 3 * phi0[30, 30, 30]
    source = 2 * (2 * math.pi * FREQUENCY) * MU0 * 0.5
    assert rise == pytest.approx(source / 6 * 3 * 0.02**2, rel=0.01)


def test_phase_is_proportional_to_frequency():
    sigma = np.random.default_rng(4).uniform(0, 1, (6, 7, 8))
    one = transceive_phase(sigma, (2.0, 2.0, 2.0), FREQUENCY)
    two = transceive_phase(sigma, (2.0, 2.0, 2.0), 2 * FREQUENCY)
    np.testing.assert_allclose(two, 2 * one)
