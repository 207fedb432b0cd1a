import numpy as np
import pytest

from bids_qcm.phase.unwrapping import centred, unwrap, wrap

X, Y, Z = np.mgrid[:24, :22, :20].astype(float)
SMOOTH = 0.8 * X + 0.04 * (Y - 11) ** 2 - 0.03 * (Z - 10) ** 2
BALL = (X - 12) ** 2 + (Y - 11) ** 2 + (Z - 10) ** 2 < 81


def assert_same_up_to_cycles(got, truth, mask):
    cycles = (got - truth)[mask] / (2 * np.pi)
    np.testing.assert_allclose(cycles, np.round(cycles[0]), atol=1e-5)


def test_wrapping_changes_the_phase_only_by_whole_cycles():
    phase = np.linspace(-20, 20, 999)
    assert np.abs(wrap(phase)).max() <= np.pi
    np.testing.assert_allclose(np.exp(1j * wrap(phase)), np.exp(1j * phase), atol=1e-12)


@pytest.mark.parametrize("mask", [BALL, np.ones_like(BALL)], ids=["ball", "all"])
def test_a_phase_of_many_cycles_is_unwrapped(mask):
    assert np.ptp(SMOOTH[mask]) > 4 * np.pi
    got = unwrap(wrap(SMOOTH), mask)
    assert got.dtype == np.float32
    assert got.shape == SMOOTH.shape
    assert_same_up_to_cycles(got, SMOOTH, mask)
    assert abs(np.median(got[mask])) <= np.pi
    assert not got[~mask].any()


def test_result_is_deterministic_and_independent_of_masked_values():
    noise = np.random.default_rng(0).normal(0, 0.8, SMOOTH.shape)
    phase = wrap(SMOOTH + noise)
    first = unwrap(phase, BALL)
    np.testing.assert_array_equal(first, unwrap(phase, BALL))
    np.testing.assert_array_equal(first, unwrap(np.where(BALL, phase, np.nan), BALL))
    # the difference is a whole number of cycles, even where noise causes unwrapping errors
    np.testing.assert_allclose(wrap(first - phase)[BALL], 0, atol=1e-5)


def test_unwrapping_twice_changes_nothing():
    once = unwrap(wrap(SMOOTH), BALL)
    np.testing.assert_allclose(unwrap(once, BALL), once, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_slice_is_unwrapped(axis):
    phase, mask = (np.take(a, [10], axis) for a in (SMOOTH, BALL))
    assert_same_up_to_cycles(unwrap(wrap(phase), mask), phase, mask)


def test_disconnected_parts_are_aligned_with_the_largest_part():
    mask = BALL & (np.abs(X - 9) > 0.5) & (np.abs(Y - 8) > 0.5)
    mask[0, 0, 0] = mask[23, 21, 19] = False
    assert_same_up_to_cycles(unwrap(wrap(SMOOTH), mask), SMOOTH, mask)


def test_centring_shifts_the_median_by_whole_cycles():
    mask = np.array([True, True, True, False])
    phase = np.array([13.0, 13.5, 14.0, -900.0])
    np.testing.assert_allclose(centred(phase, mask), phase - 4 * np.pi)
