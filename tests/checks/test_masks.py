import numpy as np
import pytest

from bids_qcm.checks.masks import check_mask

SIGNAL = np.zeros((20, 20, 20), bool)
SIGNAL[4:16, 4:16, 4:16] = True
BRAIN = np.zeros(SIGNAL.shape, bool)
BRAIN[6:14, 6:14, 6:14] = True


def test_a_mask_of_voxels_with_signal_is_accepted():
    assert check_mask(BRAIN, SIGNAL) == (1, None)
    assert check_mask(SIGNAL, SIGNAL) == (1, None)


def test_an_inverted_mask_is_detected():
    coverage, found = check_mask(~BRAIN, SIGNAL)
    assert coverage == pytest.approx((12**3 - 8**3) / (20**3 - 8**3))
    assert found.fatal
    assert "looks inverted" in found.problem


def test_a_mask_outside_the_head_is_detected():
    beside = np.roll(BRAIN, 8, axis=0)
    _, found = check_mask(beside, SIGNAL)
    assert found.fatal


def test_a_mask_that_extends_beyond_the_signal_causes_a_warning():
    coverage, found = check_mask(np.roll(BRAIN, 3, axis=0), SIGNAL)
    assert coverage == pytest.approx(7 / 8)
    assert not found.fatal


@pytest.mark.parametrize(("edge", "fatal"), [(0, True), (4, True), (5, False)])
def test_a_mask_smaller_than_a_kernel_is_refused(edge, fatal):
    few = np.zeros_like(BRAIN)
    few[6 : 6 + edge, 6 : 6 + edge, 6 : 6 + edge] = True
    _, found = check_mask(few, SIGNAL)
    assert (found is not None and found.fatal) == fatal
