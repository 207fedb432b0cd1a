import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_qcm.recon import pairs
from bids_qcm.recon.neighbours import neighbours
from bids_qcm.recon.pairs import PairOperator


def random_coefficients(shape, seed):
    """Return random coefficients of pairs (0 without a pair), `extra` and `factor`."""
    rng = np.random.default_rng(seed)
    forward, backward = rng.standard_normal((2, 3, *shape))
    for axis in range(3):
        last = tuple(-1 if a == axis else slice(None) for a in range(3))
        forward[axis][last] = backward[axis][last] = 0
    extra, factor, values = rng.standard_normal((3, *shape))
    return forward, backward, extra, factor, values


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.integers(1, 5)] * 3), st.integers(0, 1000))
def test_operator_agrees_with_its_formula(shape, seed):
    forward, backward, extra, factor, values = random_coefficients(shape, seed)
    expected = extra * values
    for axis in range(3):
        here, there = neighbours(axis)
        step = values[here] - values[there]
        expected[here] += forward[axis][here] * step
        expected[there] -= backward[axis][here] * step
    operator = PairOperator(forward, factor, backward=backward, extra=extra)
    found = operator(values)
    np.testing.assert_allclose(found, factor * expected, atol=1e-4)


def test_a_constant_has_no_rounding_error():
    forward, backward, _, factor, _ = random_coefficients((5, 4, 6), 0)
    found = PairOperator(forward, factor, backward=backward)(np.full((5, 4, 6), 1e6))
    assert not found.any()


def test_operators_with_the_same_links_are_consistent():
    forward, backward, extra, factor, values = random_coefficients((5, 4, 6), 1)
    operator = PairOperator(forward, factor, backward=backward, extra=extra)
    found = operator.with_factor(2 * factor)(values)
    np.testing.assert_array_equal(found, 2 * operator(values))
    expected = PairOperator(backward, factor, backward=forward)(values)
    np.testing.assert_array_equal(operator.exchanged(factor)(values), expected)
    symmetric = PairOperator(forward, factor, backward=forward)(values)
    np.testing.assert_array_equal(PairOperator(forward, factor)(values), symmetric)


def test_links_from_a_generator_are_stored_in_single_precision():
    forward, _, _, factor, values = random_coefficients((5, 4, 6), 3)
    found = PairOperator((link for link in forward), factor)(values)
    np.testing.assert_array_equal(found, PairOperator(forward.astype(np.float32), factor)(values))


def test_the_number_of_threads_does_not_change_the_result(monkeypatch):
    forward, backward, extra, factor, values = random_coefficients((20, 11, 13), 2)
    operator = PairOperator(forward, factor, backward=backward, extra=extra)
    alone = operator(values)
    monkeypatch.setattr(pairs, "_VOXELS_FOR_THREADS", 0)
    np.testing.assert_array_equal(operator(values), alone)
