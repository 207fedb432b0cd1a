import numpy as np
import pytest

from bids_qcm.recon.conjugate_gradients import conjugate_gradients


@pytest.fixture
def system():
    """Return a matrix, an inexact diagonal preconditioner, and a solution."""
    rng = np.random.default_rng(0)
    root = rng.standard_normal((30, 30))
    matrix = (root @ root.T + 30 * np.eye(30)).astype(np.float32)
    return matrix, 1 / np.diag(matrix), rng.standard_normal(30).astype(np.float32)


def solve(system, **options):
    matrix, inverse, truth = system
    return conjugate_gradients(
        lambda x: matrix @ x, lambda r: inverse * r, matrix @ truth, **options
    )


def test_the_solution_is_found(system):
    found = solve(system, tolerance=1e-5, max_iterations=60)
    assert found.converged
    np.testing.assert_allclose(found.values, system[2], atol=1e-3)
    assert np.abs(found.residual).max() < 0.01


def test_the_solver_stops_at_the_energy_of_the_error(system):
    matrix, inverse, truth = system
    found = solve(system, energy=0.5, max_iterations=60)
    residual = matrix @ (truth - found.values)
    assert (residual * inverse * residual).sum() <= 0.5 * 1.01
    assert found.iterations < solve(system, energy=1e-4, max_iterations=60).iterations


def test_a_start_at_the_solution_needs_no_iteration(system):
    found = solve(system, energy=1e-3, max_iterations=60, start=system[2])
    assert found.iterations == 0
    assert found.converged


def test_missing_convergence_is_reported(system):
    found = solve(system, tolerance=1e-6, max_iterations=1)
    assert (found.iterations, found.converged) == (1, False)
