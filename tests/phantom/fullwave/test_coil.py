import math

import numpy as np
import pytest

from bids_qcm.phantom.fullwave.coil import Birdcage, vector_potential
from bids_qcm.phantom.fullwave.lattice import curl_of_edges, faces_to_centres
from bids_qcm.phantom.grids import Grid
from bids_qcm.physics import VACUUM_PERMEABILITY

CENTRE = np.array([10.0, -20.0, 5.0])
GRID = Grid(CENTRE - 80, 10.0, (17, 17, 17))
"""Around the centre of the coil, at index 8."""


def rotating(potential):
    """Return B1+ and the conjugate of B1-."""
    x, y, _ = faces_to_centres(curl_of_edges(potential, 0.01))
    return (x + 1j * y) / 2, (x - 1j * y) / 2


@pytest.fixture(scope="module")
def potentials():
    return vector_potential(Birdcage().wires(), CENTRE, GRID, wavenumber=2.7)


def test_excitations_rotate_one_way_each(potentials):
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
    # the tolerance allows for finite differences over 10 mm and the mean over 20 mm
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
