import numpy as np
import pytest

from bids_qcm.recon.convection_reaction import ConvectionReaction
from bids_qcm.recon.multipliers import FixedMapSystem, GaussNewtonSystem
from bids_qcm.recon.neighbours import neighbours
from bids_qcm.recon.tissue_prior import TissuePrior
from tests.recon.equations import pair_matrix, solve_phase

SIZE = (3.0, 3.0, 4.0)
SHAPE = (8, 7, 6)
VARIANCE = 1e-4
ENERGY = 1e-9


def matrix_of(operator):
    """Return a linear function of volumes as a matrix."""
    units = np.eye(np.prod(SHAPE)).reshape(-1, *SHAPE)
    return np.stack([operator(unit).ravel() for unit in units], axis=1).astype(float)


@pytest.fixture(scope="module")
def case():
    """Return a problem of 336 voxels, and its matrices A, B and Q."""
    rng = np.random.default_rng(0)
    inside = np.ones(SHAPE, dtype=bool)
    x, y, z = (np.indices(SHAPE) * np.reshape(SIZE, (3, 1, 1, 1)) * 1e-3).astype(float)
    equation = ConvectionReaction(
        inside, SIZE, np.log(400) + 0.3 * rng.standard_normal(SHAPE), 1 + 0.2 * rng.random(SHAPE)
    )
    phase = solve_phase(equation, 200 * (x**2 + y**2) + 3 * z)
    links = [np.zeros(SHAPE) for _ in range(3)]
    for axis in range(3):
        links[axis][neighbours(axis)[0]] = 2.0
    prior = TissuePrior(links, np.ones(SHAPE, dtype=np.int32), SIZE, 0.03)
    system = GaussNewtonSystem(equation, np.full(SHAPE, VARIANCE), prior, phase)
    inner = equation.inner.ravel()
    by_phase = pair_matrix(equation.links).toarray()[inner]
    by_log_kappa = matrix_of(system.by_log_kappa)[inner]
    return equation, phase, system, by_phase, by_log_kappa, matrix_of(prior.precision)


def test_a_step_is_the_constrained_minimum(case):
    equation, phase, system, by_phase, by_log_kappa, precision = case
    noise = np.sqrt(VARIANCE) * np.random.default_rng(1).standard_normal(SHAPE)
    right = equation.excess(phase + noise)
    inner = equation.inner.ravel()
    size, rows = phase.size, inner.sum()
    none = np.zeros((size, size))
    # compute the stationary point of the Lagrangian in (phase, u, y) with an explicit matrix
    saddle = np.block(
        [
            [np.eye(size) / VARIANCE, none, by_phase.T],
            [none, precision, by_log_kappa.T],
            [by_phase, by_log_kappa, np.zeros((rows, rows))],
        ]
    )
    expected = np.linalg.lstsq(
        saddle, np.concatenate([np.zeros(2 * size), -right.ravel()[inner]]), rcond=None
    )[0]
    found = system.change(right, energy=ENERGY)
    np.testing.assert_allclose(
        found.log_kappa.ravel(), expected[size : 2 * size], atol=0.02 * np.abs(expected).max()
    )
    moved = -system.spread(found.multipliers)
    np.testing.assert_allclose(moved.ravel(), expected[:size], atol=0.01 * np.sqrt(VARIANCE))


def test_the_nearest_phase_obeys_the_equation(case):
    equation, phase, *_ = case
    measured = phase + 0.01 * np.random.default_rng(2).standard_normal(SHAPE)
    system = FixedMapSystem(equation, np.full(SHAPE, VARIANCE))
    multipliers = system.solve(equation.excess(measured), energy=ENERGY)
    nearest = measured - system.spread(multipliers)
    left = np.abs(equation.excess(nearest)).max()
    assert left < 1e-3 * np.abs(equation.excess(measured)).max()
    assert np.abs(nearest - phase).mean() < np.abs(measured - phase).mean()
