import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import LinearOperator, cg

from bids_qcm.recon import pairs
from bids_qcm.recon.multigrid import Multigrid
from tests.recon.equations import pair_matrix


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
    matrix = pair_matrix(links).toarray() + extra * np.eye(free.size)
    return matrix[np.ix_(free.ravel(), free.ravel())]


def iterations(solver, source):
    """Count the conjugate gradients that the V-cycle needs."""
    count, free = [], solver.free

    def volume(function):
        def applied(vector):
            values = np.zeros(free.shape)
            values[free] = vector
            return function(values)[free]

        return LinearOperator((free.sum(),) * 2, applied, dtype=float)

    _, failure = cg(
        volume(solver.apply),
        source[free],
        rtol=1e-6,
        M=volume(solver.cycle),
        callback=count.append,
        maxiter=100,
    )
    assert failure == 0
    return len(count)


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.integers(2, 6)] * 3), st.integers(0, 1000), st.sampled_from([0.0, 0.5]))
def test_it_applies_the_matrix(shape, seed, extra):
    links, free = random_problem(shape, seed, contrast=1.0)
    matrix = dense(links, free, extra)
    solver = Multigrid(links, free, extra)
    values = np.where(free, np.random.default_rng(seed).standard_normal(shape), 0)
    np.testing.assert_allclose(solver.apply(values)[free], matrix @ values[free], atol=1e-9)


def test_a_cycle_is_symmetric_and_positive():
    """As conjugate gradients want of what preconditions them."""
    links, free = random_problem((12, 9, 10), 0)
    solver = Multigrid(links, free, 0.1)
    a, b = np.where(free, np.random.default_rng(1).standard_normal((2, *free.shape)), 0)
    np.testing.assert_allclose((a * solver.cycle(b)).sum(), (b * solver.cycle(a)).sum(), rtol=1e-4)
    assert (a * solver.cycle(a)).sum() > 0


def test_the_number_of_iterations_hardly_grows_with_the_grid():
    needed = []
    for n in (16, 48):
        links = np.ones((3, n, n, n))
        for axis in range(3):
            links[axis][tuple(-1 if a == axis else slice(None) for a in range(3))] = 0
        free = np.pad(np.ones((n - 2,) * 3, dtype=bool), 1)
        needed.append(iterations(Multigrid(links, free), np.ones(free.shape)))
    assert needed[1] < 1.7 * needed[0]


def test_threads_change_nothing(monkeypatch):
    links, free = random_problem((20, 11, 13), 2)
    residual = np.random.default_rng(3).standard_normal(free.shape)
    alone = Multigrid(links, free, 0.1).cycle(residual)
    monkeypatch.setattr(pairs, "_VOXELS_FOR_THREADS", 0)
    np.testing.assert_array_equal(Multigrid(links, free, 0.1).cycle(residual), alone)
