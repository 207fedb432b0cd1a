from itertools import pairwise

import numpy as np
import pytest

from bids_qcm.phase.slices import (
    alternating_axes,
    flip_alternate_slices,
    slice_alignment,
    slice_coherence_angle,
)


def smooth(n_slices=7):
    x, y, z = np.mgrid[:6, :5, :n_slices]
    return ((1 + x) * np.exp(1j * (0.4 * z + 0.3 * x - 0.01 * y**2))).astype(np.complex64)


def alternating(n_slices=7):
    signal = smooth(n_slices)
    signal[..., 1::2] *= -1
    return signal


def test_smooth_volume_is_not_changed():
    assert alternating_axes([smooth(), smooth()]) == ()
    assert slice_coherence_angle([smooth()], 2) == pytest.approx(0.4, abs=1e-4)
    np.testing.assert_array_equal(flip_alternate_slices(smooth(), ()), smooth())


@pytest.mark.parametrize("n_slices", [2, 7, 8])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_alternation_is_found_and_undone_along_any_axis(n_slices, axis):
    signal = np.moveaxis(alternating(n_slices), 2, axis)
    assert alternating_axes([signal]) == (axis,)
    flipped = flip_alternate_slices(signal, (axis,))
    assert flipped.dtype == np.complex64
    np.testing.assert_array_equal(flipped, np.moveaxis(smooth(n_slices), 2, axis))
    assert alternating_axes([flipped]) == ()


def test_alternation_along_two_axes_is_found_and_undone():
    signal = alternating()
    signal[::2] *= -1
    assert alternating_axes([signal]) == (0, 2)
    flipped = flip_alternate_slices(signal, (0, 2))
    np.testing.assert_allclose(np.abs(np.vdot(flipped, smooth())), np.vdot(signal, signal).real)


def test_strong_echoes_outweigh_weak_echoes():
    assert alternating_axes([10 * alternating(), smooth()]) == (2,)
    assert alternating_axes([alternating(), 10 * smooth()]) == ()


def test_a_single_slice_has_no_alternation():
    assert slice_coherence_angle([smooth(1)], 2) == 0
    assert alternating_axes([smooth(1)]) == ()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_with_random_offsets_are_aligned(axis):
    offsets = np.random.default_rng(0).uniform(-np.pi, np.pi, 7)
    signal = np.moveaxis(smooth() * np.exp(1j * offsets).astype(np.complex64), 2, axis)
    mask = np.ones(signal.shape, dtype=bool)
    aligned = signal * slice_alignment(signal, mask, axis)
    assert aligned.dtype == np.complex64
    slices = np.moveaxis(aligned, axis, 0)
    for before, after in pairwise(slices):
        assert np.angle(np.vdot(before, after)) == pytest.approx(0, abs=1e-5)
    # each slice was multiplied by one constant
    ratio = np.moveaxis(aligned / signal, axis, 0).reshape(7, -1)
    np.testing.assert_allclose(ratio, ratio[:, :1] * np.ones_like(ratio), atol=1e-5)


def test_slices_without_a_common_voxel_keep_their_difference():
    signal, mask = smooth(2), np.ones((6, 5, 2), dtype=bool)
    mask[:, :, 1] = False
    np.testing.assert_array_equal(slice_alignment(signal, mask, 2), np.ones((1, 1, 2)))
