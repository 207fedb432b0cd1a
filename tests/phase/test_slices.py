import numpy as np
import pytest

from bids_qcm.phase.slices import (
    flip_alternate_slices,
    slice_coherence_angle,
    slices_alternate,
)


def smooth(n_slices=7):
    x, y, z = np.mgrid[:6, :5, :n_slices]
    return ((1 + x) * np.exp(1j * (0.4 * z + 0.3 * x - 0.01 * y**2))).astype(np.complex64)


def alternating(n_slices=7):
    signal = smooth(n_slices)
    signal[..., 1::2] *= -1
    return signal


def test_smooth_volume_is_left_alone():
    assert not slices_alternate([smooth(), smooth()])
    assert slice_coherence_angle([smooth()]) == pytest.approx(0.4, abs=1e-4)


@pytest.mark.parametrize("n_slices", [2, 7, 8])
def test_alternation_is_found_and_undone(n_slices):
    signal = alternating(n_slices)
    assert slices_alternate([signal])
    flipped = flip_alternate_slices(signal)
    assert flipped.dtype == np.complex64
    np.testing.assert_array_equal(flipped, smooth(n_slices))
    assert not slices_alternate([flipped])


def test_strong_echoes_outvote_weak_ones():
    assert slices_alternate([10 * alternating(), smooth()])
    assert not slices_alternate([alternating(), 10 * smooth()])


def test_single_slice():
    assert slice_coherence_angle([smooth(1)]) == 0
    assert not slices_alternate([smooth(1)])
