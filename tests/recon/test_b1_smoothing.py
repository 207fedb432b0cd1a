import numpy as np
import pytest

from bids_qcm.recon.b1_smoothing import SMOOTHING_MM, smooth_b1

SHAPE = (30, 32, 28)
SIZE = (2.0, 2.0, 3.0)


def centres():
    axes = ((np.arange(n) - (n - 1) / 2) * s for n, s in zip(SHAPE, SIZE, strict=True))
    return np.meshgrid(*axes, indexing="ij")


@pytest.fixture
def ball():
    return np.sqrt(sum(np.square(axis) for axis in centres())) < 24


def test_a_constant_map_stays_constant_next_to_an_empty_background(ball):
    found = smooth_b1(np.where(ball, 90.0, 0.0), ball, SIZE, ball)
    np.testing.assert_allclose(found.values[ball], 90, rtol=1e-4)
    assert np.all(found.values[~ball] == 0)
    assert found.filled == found.remote == 0


def test_the_kernel_width_is_in_mm():
    impulse = np.zeros(SHAPE)
    impulse[15, 16, 14] = 1
    everywhere = np.ones(SHAPE, bool)
    values = smooth_b1(impulse, everywhere, SIZE, everywhere).values
    half = SMOOTHING_MM / 2
    for axis, size in enumerate(SIZE):
        profile = np.moveaxis(values, axis, 0)[(slice(None), *np.delete([15, 16, 14], axis))]
        offsets = (np.arange(profile.size) - [15, 16, 14][axis]) * size
        assert np.interp(half, offsets, profile / profile.max()) == pytest.approx(0.5, abs=0.05)


def test_noise_is_smoothed_and_a_smooth_field_is_preserved(ball):
    x = centres()[0]
    true = 100 * np.exp(-((x / 80) ** 2))
    noisy = true + np.random.default_rng(0).normal(0, 5, SHAPE)
    found = smooth_b1(noisy, np.ones(SHAPE), SIZE, ball).values
    assert np.sqrt(np.mean((found - true)[ball] ** 2)) < 1


def test_holes_are_filled_from_neighbouring_voxels(ball):
    measured = ball & (np.random.default_rng(0).uniform(size=SHAPE) > 0.3)
    true = 100 + 0.5 * centres()[1]
    found = smooth_b1(np.where(measured, true, np.nan), measured, SIZE, ball)
    inner = np.sqrt(sum(np.square(axis) for axis in centres())) < 16
    np.testing.assert_allclose(found.values[inner], true[inner], rtol=0.01)
    assert found.filled == pytest.approx(0.3, abs=0.02)
    assert found.remote == 0


def test_the_map_is_continued_without_a_step(ball):
    z = centres()[2]
    measured = ball & (z < 0)
    true = 100 + z
    found = smooth_b1(np.where(measured, true, 0), measured, SIZE, ball)
    line = found.values[15, 16][ball[15, 16]]
    assert np.all(np.abs(np.diff(line)) < 4)
    # near the measured voxels, the map has the measured values
    assert abs(line[-1] - 97) < 5
    assert found.filled == pytest.approx(0.5, abs=0.03)
    assert 0.2 < found.remote < 0.45


def test_a_map_without_values_is_refused():
    with pytest.raises(ValueError, match="no voxel"):
        smooth_b1(np.ones(SHAPE), np.zeros(SHAPE), SIZE, np.ones(SHAPE, bool))
