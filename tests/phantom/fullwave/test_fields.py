"""Combination of the signals of the receive array, on tiny grids."""

import math

import numpy as np
import pytest
from scipy import ndimage

from bids_qcm.phantom.conductivity import permittivity_map
from bids_qcm.phantom.fullwave import fields
from bids_qcm.phantom.fullwave.coil import vector_potential
from bids_qcm.phantom.fullwave.fields import combination_weights, solve_fields
from bids_qcm.phantom.fullwave.lattice import faces_to_centres
from bids_qcm.phantom.fullwave.scattering import Body
from bids_qcm.phantom.grids import grid_around
from bids_qcm.phantom.make import make_head
from bids_qcm.phantom.parameters import PhantomParameters
from bids_qcm.physics import VACUUM_PERMEABILITY, VACUUM_PERMITTIVITY

FREQUENCY = 127.74e6
WAVENUMBER = 2 * math.pi * FREQUENCY * math.sqrt(VACUUM_PERMEABILITY * VACUUM_PERMITTIVITY)


def ellipsoid(resolution):
    """Return the permittivity and the grid of an asymmetric ellipsoid of two tissues.

    The first and the last two layers of the grid are air.
    """
    grid = grid_around([-80, -100, -90], [80, 100, 90], resolution, 1)
    x, y, z = np.meshgrid(*[grid.centres(axis) for axis in range(3)], indexing="ij")
    head = (x / 80) ** 2 + (y / 100) ** 2 + (z / 90) ** 2 < 1
    tissue = np.where((x > 20) & (y > 0), 80 - 300j, 55 - 60j)
    return np.where(head, tissue, 1), grid


@pytest.fixture(scope="module")
def tiny():
    return ellipsoid(14.0)


@pytest.fixture(scope="module")
def weights(tiny):
    return combination_weights(*tiny, FREQUENCY)


@pytest.fixture(scope="module")
def signals(tiny):
    """Return the signals of the loops, each computed separately."""
    permittivity, grid = tiny
    centre = grid.origin + grid.resolution * (np.array(grid.shape) - 1) / 2
    body = Body(permittivity, grid.resolution * 1e-3, FREQUENCY)
    result = []
    for potential in vector_potential(fields.ARRAY.wires(), centre, grid, WAVENUMBER):
        x, y, _ = faces_to_centres(body.scatter(potential).magnetic)
        result.append((x - 1j * y) / 2)
    return np.stack(result)


@pytest.fixture(scope="module")
def combined(tiny):
    return solve_fields(*tiny, FREQUENCY, "array")


def test_phases_of_the_loops_are_equal_at_the_centre(weights, signals):
    np.testing.assert_allclose(np.abs(weights), 1)
    index = (np.array(signals.shape[1:])[:, None] - 1) / 2
    at_centre = [ndimage.map_coordinates(signal, index, order=1)[0] for signal in signals]
    assert np.ptp(np.angle(at_centre)) > 5
    np.testing.assert_allclose(np.angle(weights * at_centre), 0, atol=1e-3)


def test_combined_solution_is_the_weighted_sum_of_the_loops(tiny, weights, signals, combined):
    head = tiny[0] != 1
    expected = np.tensordot(weights, signals, axes=1)[head]
    error = np.linalg.norm(combined.receive[head] - expected)
    assert error < 1e-4 * np.linalg.norm(expected)


def test_the_array_only_receives(tiny, combined):
    birdcage = solve_fields(*tiny, FREQUENCY)
    scale = np.abs(birdcage.transmit).max()
    np.testing.assert_allclose(combined.transmit, birdcage.transmit, atol=1e-6 * scale)
    head = tiny[0] != 1
    ratio = (combined.receive[head] / birdcage.receive[head]).astype(complex)
    ratio /= ratio.mean()
    # both coils receive the field that rotates with the spins, with different profiles
    assert 0.01 < np.abs(ratio - 1).mean() < 0.3


@pytest.mark.slow
def test_weights_are_nearly_independent_of_the_grid(monkeypatch):
    permittivity, grid = ellipsoid(9.0)
    found = []
    for resolution in (14.0, 9.0):
        monkeypatch.setattr(fields, "WEIGHTS_RESOLUTION", resolution)
        found.append(combination_weights(permittivity, grid, FREQUENCY))
    assert largest_difference(*found) < 3


@pytest.mark.slow
def test_weights_of_the_head_agree_with_weights_on_a_fine_grid(monkeypatch):
    parameters = PhantomParameters(resolution=5.0)
    head = make_head(parameters)
    permittivity = permittivity_map(head.anatomy, head.conductivity, FREQUENCY)
    assert (permittivity[[0, -1]] == 1).all()
    found = []
    for resolution in (fields.WEIGHTS_RESOLUTION, 8.0, 5.0):
        monkeypatch.setattr(fields, "WEIGHTS_RESOLUTION", resolution)
        found.append(combination_weights(permittivity, head.anatomy.grid, FREQUENCY))
    assert largest_difference(found[0], found[2]) < 0.5
    assert largest_difference(found[1], found[2]) < 0.5


def largest_difference(weights, others):
    """Return the largest difference between relative phases, in degrees."""
    ratio = weights / others
    return np.abs(np.rad2deg(np.angle(ratio / ratio.mean()))).max()
