import numpy as np
import pytest

from bids_qcm.phase import signal_mask
from bids_qcm.phase.masking import blank_phase

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


@pytest.mark.parametrize("value", [0, -np.pi])
@pytest.mark.parametrize("shape", [(20, 18, 16), (20, 18, 1)])
def test_blocks_of_deleted_phase_are_blank(value, shape):
    phase = RNG.uniform(-np.pi, np.pi, shape).astype(np.float32)
    truth = np.zeros(shape, dtype=bool)
    truth[:6] = truth[:, 12:] = True
    phase[truth] = value
    phase[10, 5, 0] = value
    np.testing.assert_array_equal(blank_phase(phase), truth)


def test_phase_in_few_levels_is_not_blank():
    """Neighbours are often equal in 8 bits, and where a smooth phase passes 0."""
    x, y, z = (np.mgrid[:30, :30, :30] - 15) * 1e-3
    smooth = 150 * (x**2 + y**2 + z**2) - 1.0 + RNG.normal(0, 0.03, x.shape)
    levels = np.round(smooth / (2 * np.pi / 256)) * (2 * np.pi / 256)
    assert not blank_phase(levels.astype(np.float32)).any()
    assert not blank_phase(np.full((5, 5, 5), np.nan)).any()
