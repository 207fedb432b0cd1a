import math

import numpy as np
import pytest

from bids_qcm.phantom.fullwave.coil import Birdcage, LoopArray, vector_potential
from bids_qcm.phantom.fullwave.lattice import curl_of_edges, faces_to_centres
from bids_qcm.phantom.grids import IsotropicGrid
from bids_qcm.physics import VACUUM_PERMEABILITY

CENTRE = np.array([10.0, -20.0, 5.0])
GRID = IsotropicGrid(CENTRE - 80, 10.0, (17, 17, 17))
"""Grid around the centre of the coil, which is at index 8."""


def rotating(potential):
    """Return B1+ and the conjugate of B1-."""
    x, y, _ = faces_to_centres(curl_of_edges(potential, 0.01))
    return (x + 1j * y) / 2, (x - 1j * y) / 2


@pytest.fixture(scope="module")
def potentials():
    return vector_potential(Birdcage().wires(), CENTRE, GRID, wavenumber=2.7)


def test_each_excitation_rotates_in_one_direction(potentials):
    plus, minus = rotating(potentials[0])
    assert abs(minus[8, 8, 8]) < 1e-3 * abs(plus[8, 8, 8])
    plus_of_receive, minus_of_receive = rotating(potentials[1])
    assert abs(plus_of_receive[8, 8, 8]) < 1e-3 * abs(minus_of_receive[8, 8, 8])
    assert abs(minus_of_receive[8, 8, 8]) == pytest.approx(abs(plus[8, 8, 8]), rel=1e-3)


def test_empty_coil_is_uniform_near_its_centre(potentials):
    plus, _ = rotating(potentials[0])
    middle = np.abs(plus[6:11, 6:11, 8]) / np.abs(plus[8, 8, 8])
    assert 0.95 < middle.min() < middle.max() < 1.05


def test_static_field_at_the_centre_agrees_with_the_biot_savart_law():
    """Each rung contributes mu0 I L / (4 pi a sqrt(a^2 + L^2/4)); the arcs add to this field."""
    coil = Birdcage()
    wires = coil.wires()
    plus, _ = rotating(vector_potential(wires, CENTRE, GRID, wavenumber=0.0)[0])
    distance = np.linalg.norm(wires.positions, axis=1)
    cross = np.cross(wires.elements, -wires.positions) / distance[:, None] ** 3
    x, y, _ = VACUUM_PERMEABILITY / 4 / math.pi * wires.currents[0] @ cross
    # the tolerance allows for finite differences over 10 mm and averaging over 20 mm
    assert plus[8, 8, 8] == pytest.approx((x + 1j * y) / 2, rel=2e-2)
    half = coil.length / 2
    rung = coil.length / (coil.radius * math.hypot(coil.radius, half))
    rungs = VACUUM_PERMEABILITY / 4 / math.pi * rung * coil.rungs / 2
    assert rungs < abs(x + 1j * y) / 2 < 2 * rungs


def test_currents_are_closed(potentials):
    """Without charges, the divergence of the potential is 0, except for discretisation errors."""
    for potential in potentials:
        divergence = sum(
            np.diff(potential[axis], axis=axis)[
                tuple(slice(None, -1) if a == axis else slice(1, -1) for a in range(3))
            ]
            for axis in range(3)
        )
        steps = np.abs(np.diff(potential[2], axis=0)).max()
        core = (slice(3, -3),) * 3
        assert np.abs(divergence[core]).max() < 0.02 * steps


def test_quadrature_is_fine_enough(potentials, monkeypatch):
    monkeypatch.setattr("bids_qcm.phantom.fullwave.coil._NODES_PER_RUNG", 40)
    monkeypatch.setattr("bids_qcm.phantom.fullwave.coil._NODES_PER_ARC", 10)
    finer = vector_potential(Birdcage().wires(), CENTRE, GRID, wavenumber=2.7)
    x, y, _ = np.meshgrid(*[GRID.centres(a) - CENTRE[a] for a in range(3)], indexing="ij")
    near = np.hypot(x, y) < 100
    error = np.abs(finer - potentials).max(axis=1)[:, near]
    assert error.max() < 2e-4 * np.abs(finer).max()


def test_each_loop_is_closed():
    wires = LoopArray().wires()
    assert wires.currents.shape == (8, len(wires.positions))
    np.testing.assert_allclose(wires.currents @ wires.elements, 0, atol=1e-15)
    # each element belongs to one loop
    np.testing.assert_array_equal(wires.currents.sum(axis=0), 1)


def test_loops_have_the_correct_area_and_overlap():
    """The magnetic moment is `1/2 sum of r x I dl`. It points away from the axis."""
    array = LoopArray()
    wires = array.wires()
    moments = 0.5 * wires.currents @ np.cross(wires.positions, wires.elements)
    half = math.pi / array.loops * (1 + array.overlap)
    azimuths = 2 * math.pi / array.loops * np.arange(array.loops)
    outwards = np.stack([np.cos(azimuths), np.sin(azimuths), 0 * azimuths], axis=1)
    area = 2 * array.radius * math.sin(half) * array.length
    np.testing.assert_allclose(moments, area * outwards, atol=1e-6 * area)
    for loop in range(array.loops):
        positions = wires.positions[wires.currents[loop] != 0]
        angles = np.arctan2(positions @ np.array([-1, 1, 0]), positions @ np.array([1, 1, 0]))
        angles -= azimuths[loop] - math.pi / 4
        width = np.ptp(np.angle(np.exp(1j * angles)))
        assert width == pytest.approx(1.15 * 2 * math.pi / 8, rel=1e-6)


def test_static_field_of_a_loop_on_its_axis_agrees_with_the_biot_savart_law():
    """Compare with the closed form at the centre of the array, on the axis of each loop."""
    array = LoopArray()
    a, length = array.radius, array.length
    s = math.hypot(a, length / 2)
    half = math.pi / array.loops * (1 + array.overlap)
    straight, curved = length / (a * s), length * a / s**3
    expected = VACUUM_PERMEABILITY / 4 / math.pi * 2 * math.sin(half) * (straight + curved)
    potentials = vector_potential(array.wires(), CENTRE, GRID, wavenumber=0.0)
    for loop, potential in enumerate(potentials):
        plus, minus = rotating(potential)
        azimuth = 2 * math.pi / array.loops * loop
        # the tolerance allows for finite differences over 10 mm and averaging over 20 mm
        for found, sign in ((plus[8, 8, 8], 1), (minus[8, 8, 8], -1)):
            assert 2 * found == pytest.approx(expected * np.exp(sign * 1j * azimuth), rel=2e-2)


def test_quadrature_of_the_loops_is_fine_enough(monkeypatch):
    found = vector_potential(LoopArray().wires(), CENTRE, GRID, wavenumber=2.7)
    monkeypatch.setattr("bids_qcm.phantom.fullwave.coil._NODES_PER_LEG", 50)
    monkeypatch.setattr("bids_qcm.phantom.fullwave.coil._NODES_PER_END", 30)
    finer = vector_potential(LoopArray().wires(), CENTRE, GRID, wavenumber=2.7)
    x, y, _ = np.meshgrid(*[GRID.centres(a) - CENTRE[a] for a in range(3)], indexing="ij")
    near = np.hypot(x, y) < 105
    error = np.abs(finer - found).max(axis=1)[:, near]
    assert error.max() < 2e-4 * np.abs(finer)[:, :, near].max()
