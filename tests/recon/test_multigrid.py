import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import eye_array
from scipy.sparse.linalg import LinearOperator, cg

from bids_qcm.recon import pairs
from bids_qcm.recon.multigrid import Multigrid
from tests.recon.equations import pair_matrix


def random_problem(shape, seed, contrast=3.0):
    """Return links that differ by orders of magnitude, and unknowns surrounded by fixed voxels."""
    rng = np.random.default_rng(seed)
    links = np.exp(contrast * rng.standard_normal((3, *shape)))
    for axis in range(3):
        last = [slice(None)] * 3
        last[axis] = -1
        links[axis][tuple(last)] = 0
    free = rng.random(shape) < 0.8
    return links, free


def operator(links, free, extra=0.0):
    """Return the operator as a sparse matrix over the unknowns."""
    whole = pair_matrix(links) + extra * eye_array(free.size)
    return whole.tocsr()[free.ravel()][:, free.ravel()]


def on_unknowns(solver, free, vector):
    """Apply a V-cycle to a vector of unknowns."""
    values = np.zeros(free.shape)
    values[free] = vector
    return solver.cycle(values)[free]


def iterations(links, free, extra=0.0):
    """Return the number of conjugate-gradient iterations with the V-cycle."""
    count = []
    solver = Multigrid(links, free, extra)
    _, failure = cg(
        operator(links, free, extra),
        np.ones(free.sum()),
        rtol=1e-6,
        M=LinearOperator((free.sum(),) * 2, lambda v: on_unknowns(solver, free, v), dtype=float),
        callback=count.append,
        maxiter=100,
    )
    assert failure == 0
    return len(count)


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.integers(2, 6)] * 3), st.integers(0, 1000), st.sampled_from([0.1, 0.5]))
def test_a_cycle_is_the_inverse_of_a_small_matrix(shape, seed, extra):
    # at most 200 unknowns, so that the first grid is also the coarsest grid
    links, free = random_problem(shape, seed, contrast=1.0)
    free.ravel()[200:] = False
    source = np.random.default_rng(seed).standard_normal(free.sum())
    found = on_unknowns(Multigrid(links, free, extra), free, source)
    np.testing.assert_allclose(operator(links, free, extra) @ found, source, atol=1e-3)


@settings(max_examples=10, deadline=None)
@given(st.tuples(*[st.integers(8, 14)] * 3), st.integers(0, 1000))
def test_multigrid_preconditions_links_of_different_magnitude(shape, seed):
    links, free = random_problem(shape, seed, contrast=1.0)
    assert iterations(links, free, 0.1) < 40


def test_a_cycle_is_symmetric_and_positive():
    """Conjugate gradients require a symmetric positive preconditioner."""
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
        needed.append(iterations(links, free))
    assert needed[1] < 1.7 * needed[0]


def test_slices_without_links_are_not_merged():
    """More slices than the coarsest grid may have are solved as fast as a few slices."""
    needed = []
    for n_slices in (4, 300):
        links = np.ones((3, 24, 24, n_slices))
        links[0, -1] = links[1, :, -1] = links[2] = 0
        free = np.pad(np.ones((22, 22, n_slices), dtype=bool), ((1, 1), (1, 1), (0, 0)))
        needed.append(iterations(links, free))
    assert needed[1] <= needed[0] + 2 < 15


def test_unknowns_without_links_are_solved():
    free = np.zeros((20, 20, 20), dtype=bool)
    free[::2, ::2, ::2] = True
    found = Multigrid(np.zeros((3, *free.shape)), free, 2.0).cycle(free.astype(float))
    np.testing.assert_allclose(found, free / 2, rtol=0.05)


def test_the_number_of_threads_does_not_change_the_result(monkeypatch):
    links, free = random_problem((20, 11, 13), 2)
    residual = np.random.default_rng(3).standard_normal(free.shape)
    alone = Multigrid(links, free, 0.1).cycle(residual)
    monkeypatch.setattr(pairs, "_VOXELS_FOR_THREADS", 0)
    np.testing.assert_array_equal(Multigrid(links, free, 0.1).cycle(residual), alone)
