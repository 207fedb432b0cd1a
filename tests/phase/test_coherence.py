import numpy as np
import pytest
from scipy import ndimage

from bids_qcm.phase.coherence import phase_coherence, unit_signal

SHAPE = (9, 11, 8)


def slow_coherence(phase, where, axes):
    """Compute the coherence directly from its definition, with a general filter."""
    means = []
    for axis in axes:
        cosine = np.cos(np.roll(phase, 1, axis) - 2 * phase + np.roll(phase, -1, axis))
        inner = np.roll(where, 1, axis) & where & np.roll(where, -1, axis)
        border = np.moveaxis(inner, axis, 0)
        border[[0, -1]] = False
        total, count = (
            ndimage.generic_filter(values, np.sum, 3, mode="constant")
            for values in (np.where(inner, cosine, 0), inner.astype(float))
        )
        means.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    largest = np.sort(np.stack(means), axis=0)[::-1]  # NaN is sorted first
    known = np.sort(np.where(np.isnan(largest), -np.inf, largest), axis=0)[::-1]
    pairs = known[:2]
    found = np.where(np.isfinite(pairs[-1]), pairs.mean(axis=0), pairs[0])
    return np.where(np.isfinite(found), found, 0)


# the second shape has several slabs, and the last slab has one slice
@pytest.mark.parametrize("shape", [SHAPE, (33, 4, 5)])
@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 1), (2,)])
def test_the_fast_implementation_agrees_with_the_definition(axes, shape):
    rng = np.random.default_rng(0)
    phase = rng.uniform(-np.pi, np.pi, shape)
    where = rng.random(shape) < 0.7
    found = phase_coherence(phase, where, axes)
    np.testing.assert_allclose(found, slow_coherence(phase, where, axes), atol=1e-5)
    assert found.dtype == np.float32


def test_a_linear_phase_is_coherent_regardless_of_wraps():
    x, y, z = np.indices(SHAPE)
    phase = np.angle(np.exp(1j * (2 * x + 0.7 * y - z)))
    np.testing.assert_allclose(phase_coherence(phase, np.ones(SHAPE, bool)), 1, atol=1e-5)


@pytest.mark.parametrize("snr", [5.0, 10.0])
def test_the_coherence_of_a_noisy_phase_follows_from_the_snr(snr):
    shape = (40, 40, 40)
    phase = np.random.default_rng(1).normal(0, 1 / snr, shape)
    one_axis = phase_coherence(phase, np.ones(shape, bool), (0,))
    assert one_axis.mean() == pytest.approx(np.exp(-3 / snr**2), abs=0.01)


def test_the_unit_signal_has_magnitude_1_in_the_mask():
    signal = np.array([[[3 + 4j, 0, 2j]]], dtype=np.complex64)
    mask = np.array([[[True, True, False]]])
    np.testing.assert_allclose(unit_signal(signal, mask), [[[0.6 + 0.8j, 0, 0]]], rtol=1e-6)
