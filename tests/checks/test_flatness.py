import numpy as np
import pytest
from scipy import ndimage

from bids_qcm.checks.flatness import check_flatness
from bids_qcm.physics import conductivity_factor

SIZE = 4.0
GRID = (np.stack(np.indices((40, 40, 40))) - 19.5) * SIZE
BALL = (GRID**2).sum(axis=0) < 70**2


def ball(conductivity, frequency, phase_type="transceive"):
    """Return the signal of a ball with constant conductivity and an SNR of 30."""
    laplacian = conductivity / conductivity_factor(frequency, phase_type)
    phase = laplacian * (GRID**2).sum(axis=0) * 1e-6 / 6
    noise = np.random.default_rng(0).normal(size=(2, *BALL.shape)) / 30
    return BALL * np.exp(1j * phase) + noise[0] + 1j * noise[1]


def high_pass(signal, width=8):
    """Remove the phase of a low-pass filtered image, as in susceptibility-weighted imaging."""
    smooth = [ndimage.gaussian_filter(part, width / SIZE) for part in (signal.real, signal.imag)]
    return signal * np.exp(-1j * np.arctan2(smooth[1], smooth[0]))


@pytest.mark.parametrize("frequency", [63.87e6, 127.74e6, 298e6])
@pytest.mark.parametrize("phase_type", ["transceive", "transmit"])
def test_only_a_filtered_phase_is_flat(frequency, phase_type):
    signal = ball(0.5, frequency, phase_type)
    assert check_flatness(signal, BALL, (SIZE,) * 3, frequency, phase_type) == []
    (finding,) = check_flatness(high_pass(signal), BALL, (SIZE,) * 3, frequency, phase_type)
    assert not finding.fatal
    assert "high-pass filter" in finding.problem


def test_linear_phase_and_the_sign_are_ignored():
    signal = ball(0.5, 127.74e6).conj() * np.exp(1j * 0.03 * GRID[0])
    assert check_flatness(signal, BALL, (SIZE,) * 3, 127.74e6) == []


def test_a_mask_without_rows_of_three_voxels_is_not_checked():
    thin = np.zeros_like(BALL)
    thin[20] = BALL[20]
    assert check_flatness(ball(0.5, 127.74e6), thin, (SIZE,) * 3, 127.74e6) == []
