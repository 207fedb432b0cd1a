import numpy as np
import pytest

from bids_qcm.phase import signal_mask

RNG = np.random.default_rng(0)


def two_blocks():
    truth = np.zeros((20, 20, 20), dtype=bool)
    truth[3:12, 4:15, 5:16] = True
    magnitude = np.abs(RNG.normal(0, 5, truth.shape))
    magnitude[truth] += 200
    magnitude[15:18, 4:8, 5:8] += 300
    return magnitude, truth


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16])
def test_the_largest_part_above_noise(dtype):
    magnitude, truth = two_blocks()
    got = signal_mask(magnitude.astype(dtype))
    assert got.dtype == bool
    np.testing.assert_array_equal(got, truth)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_outside(value):
    magnitude, truth = two_blocks()
    magnitude[5, 5, 6:8] = magnitude[0, 0, 0] = value
    truth[5, 5, 6:8] = False
    np.testing.assert_array_equal(signal_mask(magnitude), truth)


@pytest.mark.parametrize("value", [0, 7, np.nan])
def test_constant_is_refused(value):
    with pytest.raises(ValueError, match="constant"):
        signal_mask(np.full((4, 4, 4), value))
