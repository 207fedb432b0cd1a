import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_qcm.recon import multigrid
from bids_qcm.recon.multigrid import Multigrid
from bids_qcm.recon.neighbours import neighbours


def random_problem(shape, seed, contrast=3.0):
    """Make links that differ by orders of magnitude, and unknowns with fixed voxels among them."""
    rng = np.random.default_rng(seed)
    links = np.exp(contrast * rng.standard_normal((3, *shape)))
    for axis in range(3):
        last = [slice(None)] * 3
        last[axis] = -1
        links[axis][tuple(last)] = 0
    free = rng.random(shape) < 0.8
    return links, free


def dense(links, free, extra):
    """Write the operator out as a matrix of the unknowns."""
    number = np.arange(free.size).reshape(free.shape)
    matrix = np.zeros((free.size, free.size))
    for axis, link in enumerate(links):
        here, there = neighbours(axis)
        for i, j, c in zip(
            number[here].ravel(), number[there].ravel(), link[here].ravel(), strict=True
        ):
            matrix[[i, j, i, j], [i, j, j, i]] += [c, c, -c, -c]
    matrix += extra * np.eye(free.size)
    return matrix[np.ix_(free.ravel(), free.ravel())]


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.integers(2, 6)] * 3), st.integers(0, 1000), st.sampled_from([0.0, 0.5]))
def test_it_applies_and_inverts_the_matrix(shape, seed, extra):
    links, free = random_problem(shape, seed, contrast=1.0)
    matrix = dense(links, free, extra)
    if extra == 0 and (not free.any() or np.linalg.matrix_rank(matrix) < len(matrix)):
        return
    solver = Multigrid(links, free, extra)
    values = np.where(free, np.random.default_rng(seed).standard_normal(shape), 0)
    np.testing.assert_allclose(solver.apply(values)[free], matrix @ values[free], atol=1e-9)
    found = solver.solve(solver.apply(values), 1e-10)
    np.testing.assert_allclose(found, values, atol=1e-6)


def test_a_cycle_is_symmetric_and_positive():
    """As conjugate gradients want of what preconditions them."""
    links, free = random_problem((12, 9, 10), 0)
    solver = Multigrid(links, free, 0.1)
    a, b = np.where(free, np.random.default_rng(1).standard_normal((2, *free.shape)), 0)
    np.testing.assert_allclose((a * solver.cycle(b)).sum(), (b * solver.cycle(a)).sum(), rtol=1e-4)
    assert (a * solver.cycle(a)).sum() > 0


def test_the_number_of_iterations_hardly_grows_with_the_grid(monkeypatch):
    iterations = []
    for n in (16, 48):
        links = np.ones((3, n, n, n))
        for axis in range(3):
            links[axis][tuple(-1 if a == axis else slice(None) for a in range(3))] = 0
        free = np.pad(np.ones((n - 2,) * 3, dtype=bool), 1)
        solver = Multigrid(links, free)
        count, cycle = [], solver.cycle
        monkeypatch.setattr(solver, "cycle", lambda r, c=count, f=cycle: c.append(1) or f(r))
        solver.solve(np.ones(free.shape), 1e-6)
        iterations.append(len(count))
    assert iterations[1] < 1.7 * iterations[0]


def test_threads_change_nothing(monkeypatch):
    links, free = random_problem((20, 11, 13), 2)
    residual = np.random.default_rng(3).standard_normal(free.shape)
    alone = Multigrid(links, free, 0.1).cycle(residual)
    monkeypatch.setattr(multigrid, "_VOXELS_FOR_THREADS", 0)
    np.testing.assert_array_equal(Multigrid(links, free, 0.1).cycle(residual), alone)


def test_what_has_no_solution_is_an_error():
    """Unknowns that nothing holds, and a source that does not add up to nothing."""
    links = np.zeros((3, 4, 4, 4))
    links[0, :-1] = 1
    solver = Multigrid(links, np.ones((4, 4, 4), dtype=bool))
    with pytest.raises(RuntimeError, match="did not converge"):
        solver.solve(np.ones((4, 4, 4)), 1e-9)
