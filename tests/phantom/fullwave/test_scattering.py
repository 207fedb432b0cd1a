import logging
import math
from functools import cache

import numpy as np
import pytest

from bids_qcm.phantom.fullwave import scattering
from bids_qcm.phantom.fullwave.lattice import faces_to_centres
from bids_qcm.phantom.fullwave.scattering import Body
from bids_qcm.physics import VACUUM_PERMEABILITY, VACUUM_PERMITTIVITY
from tests.phantom.fullwave.spheres import (
    Lattice,
    Sphere,
    complex_permittivity,
    j0,
    j2,
    wavenumber,
)

AT_3_T, AT_7_T = 127.74e6, 298.06e6
# relative permittivity and conductivity (S/m) of white matter and fluid at 3 T
WHITE, FLUID = (52.5, 0.342), (84.0, 2.14)


def layered(frequency, *, magnetic, layers):
    permittivities = [complex_permittivity(*tissue, frequency) for _, tissue in layers]
    return Sphere([r for r, _ in layers], permittivities, frequency, magnetic=magnetic)


def homogeneous(frequency, *, magnetic=True):
    return layered(frequency, magnetic=magnetic, layers=[(0.08, WHITE)])


def two_layers(frequency, *, magnetic=True):
    return layered(frequency, magnetic=magnetic, layers=[(0.04, FLUID), (0.08, WHITE)])


@cache
def solved(make, frequency):
    """Return a sphere and the results of `solve` for this sphere."""
    sphere = make(frequency)
    return sphere, *solve(sphere, 0.005)


def solve(sphere, spacing):
    """Return the lattice, the solved field and B at the cell centres."""
    lattice = Lattice(sphere.radii[-1], spacing)
    body = Body(lattice.permittivity(sphere), spacing, sphere.omega / 2 / math.pi)
    field = body.scatter(lattice.potential(sphere))
    return lattice, field, faces_to_centres(field.magnetic)


def b1_plus(magnetic):
    return (magnetic[0] + 1j * magnetic[1]) / 2


def rms_error(found, exact):
    return np.linalg.norm(found - exact) / np.linalg.norm(exact)


def away_from_borders(lattice, sphere, cells):
    distance = np.min([np.abs(lattice.r - radius) for radius in sphere.radii], axis=0)
    return (lattice.r < sphere.radii[-1]) & (distance > cells * lattice.spacing)


def helmholtz(field, spacing, frequency):
    """Return conductivity and relative permittivity from the Helmholtz equation."""
    laplacian = sum(np.roll(field, s, a) - field for a in range(3) for s in (1, -1))
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = -laplacian / spacing**2 / field / wavenumber(frequency) ** 2
    return -relative.imag * 2 * math.pi * frequency * VACUUM_PERMITTIVITY, relative.real


@pytest.mark.parametrize("frequency", [AT_3_T, AT_7_T])
def test_homogeneous_sphere_has_the_closed_form_of_b1_plus(frequency):
    sphere, lattice, _, magnetic = solved(homogeneous, frequency)
    kr = sphere.wavenumbers[0] * lattice.r
    sine = 1 - (lattice.centres[2] / lattice.r) ** 2
    closed = j0(kr) + j2(kr) * (1.5 * sine - 1) / 2
    inside = lattice.r < 0.075
    found, closed = b1_plus(magnetic)[inside], closed[inside]
    # the closed form is known except for a constant factor
    found *= closed.sum() / found.sum()
    assert np.abs(found - closed).max() < 0.01 * np.abs(closed).max()


@pytest.mark.parametrize("make", [homogeneous, two_layers])
@pytest.mark.parametrize("frequency", [AT_3_T, AT_7_T])
def test_field_in_spheres_agrees_with_the_series_solution(make, frequency):
    """Compare all three components, including their absolute scale."""
    sphere, lattice, _, magnetic = solved(make, frequency)
    exact = sphere.magnetic_field(lattice.centres)
    assert rms_error(magnetic[:, exact[2] != 0], exact[:, exact[2] != 0]) < 0.02
    inside = away_from_borders(lattice, sphere, 2)
    found, exact = b1_plus(magnetic)[inside], b1_plus(exact)[inside]
    assert np.abs(found - exact).max() < 0.025 * np.abs(exact).max()


@pytest.mark.parametrize("frequency", [AT_3_T, AT_7_T])
def test_helmholtz_equation_returns_the_properties(frequency):
    sphere, lattice, _, magnetic = solved(two_layers, frequency)
    inside = away_from_borders(lattice, sphere, 3)
    conductivity, relative = helmholtz(b1_plus(magnetic), lattice.spacing, frequency)
    core = lattice.r < sphere.radii[0]
    for where, tissue in ((inside & core, FLUID), (inside & ~core, WHITE)):
        assert where.sum() >= 500
        np.testing.assert_allclose(conductivity[where], tissue[1], rtol=1e-3)
        np.testing.assert_allclose(relative[where], tissue[0], rtol=1e-3)


def test_error_decreases_for_smaller_voxels():
    """Check the order of convergence for both types of incident field.

    In an electric incident field, there are charges on the surface. Their position has an error of
    up to half a cell, so convergence is slower.
    """
    for magnetic, order in ((True, 1.3), (False, 0.8)):
        sphere = homogeneous(AT_3_T, magnetic=magnetic)
        steps, errors = (0.02, 0.0125, 0.008), []
        for step in steps:
            lattice, _, found = solve(sphere, step)
            inside = lattice.r < 0.06
            exact = sphere.magnetic_field(lattice.centres)
            errors.append(rms_error(found[:, inside], exact[:, inside]))
        assert np.polyfit(np.log(steps), np.log(errors), 1)[0] > order, errors
    assert errors[-1] < 0.2


def radiated_power(current, lattice, k):
    """Return the power of the far field, integrated over all directions."""
    node, weight = np.polynomial.legendre.leggauss(6)
    azimuths = 2 * math.pi * np.arange(12) / 12
    total = 0
    for cosine, share in zip(node, weight, strict=True):
        for azimuth in azimuths:
            sine = math.sqrt(1 - cosine**2)
            direction = np.array([sine * np.cos(azimuth), sine * np.sin(azimuth), cosine])
            moment = np.array(
                [
                    (
                        current[a] * np.exp(1j * k * np.tensordot(direction, lattice.edges(a), 1))
                    ).sum()
                    for a in range(3)
                ]
            )
            transverse = moment - direction * (direction @ moment)
            total += share * 2 * math.pi / 12 * np.linalg.norm(transverse) ** 2
    impedance = math.sqrt(VACUUM_PERMEABILITY / VACUUM_PERMITTIVITY)
    return impedance * k**2 / (32 * math.pi**2) * lattice.spacing**6 * total


@pytest.mark.parametrize("magnetic", [True, False])
def test_extinction_is_absorption_and_radiation(magnetic):
    """Check the optical theorem. The loss is small, so that both terms are significant."""
    sphere = layered(AT_7_T, magnetic=magnetic, layers=[(0.06, (40.0, 0.02))])
    lattice, field, _ = solve(sphere, 0.01)
    incident = -1j * sphere.omega * lattice.potential(sphere)
    volume = lattice.spacing**3
    extracted = 0.5 * volume * np.vdot(field.current, incident).real
    absorbed = 0.5 * volume * np.vdot(field.current, field.electric).real
    radiated = radiated_power(field.current, lattice, sphere.outside)
    assert absorbed + radiated == pytest.approx(extracted, rel=1e-3)
    assert 0.05 * extracted < radiated < 0.95 * extracted


def test_the_same_body_has_the_same_field_to_the_last_bit():
    sphere = homogeneous(AT_3_T)
    np.random.seed(1)  # noqa: NPY002 - the solver must not depend on it
    first = solve(sphere, 0.016)[2]
    state = np.random.get_state()[1]  # noqa: NPY002
    np.testing.assert_array_equal(first, solve(sphere, 0.016)[2])
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_no_convergence_raises_an_error(monkeypatch):
    monkeypatch.setattr(scattering, "_MAX_ITERATIONS", 2)
    with pytest.raises(RuntimeError, match="did not converge in 2 iterations"):
        solve(homogeneous(AT_3_T), 0.016)


def test_the_number_of_iterations_hardly_increases_for_smaller_cells(caplog):
    caplog.set_level(logging.DEBUG)
    counts = [solve(two_layers(AT_3_T), step)[1].iterations for step in (0.016, 0.008)]
    assert counts[0] <= counts[1] <= 12
    assert f"iteration {counts[1]}" in caplog.text
