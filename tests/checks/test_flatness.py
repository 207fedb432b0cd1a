import numpy as np
import pytest
from scipy import ndimage

from bids_qcm.checks import flatness
from bids_qcm.checks.flatness import check_flatness
from bids_qcm.phase.curvature import median_curvature
from bids_qcm.physics import conductivity_factor

SIZE = 4.0
GRID = (np.stack(np.indices((40, 40, 40))) - 19.5) * SIZE
BALL = (GRID**2).sum(axis=0) < 70**2


def ball(conductivity, frequency, phase_type="transceive", grid=GRID):
    """Return the signal of a ball with constant conductivity and an SNR of 30."""
    laplacian = conductivity / conductivity_factor(frequency, phase_type)
    square = (grid**2).sum(axis=0)
    noise = np.random.default_rng(0).normal(size=(2, *square.shape)) / 30
    signal = (square < 70**2) * np.exp(1j * laplacian * square * 1e-6 / 6)
    return signal + noise[0] + 1j * noise[1]


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


@pytest.mark.parametrize(("conductivity", "n_warnings"), [(0.5, 0), (0.0, 1)])
def test_a_large_image_is_checked_with_every_second_voxel(monkeypatch, conductivity, n_warnings):
    grid = (np.stack(np.indices((104, 104, 104))) - 51.5) * 1.4
    mask = (grid**2).sum(axis=0) < 70**2
    used = []

    def record(signal, *given, **options):
        used.append(signal.shape)
        return median_curvature(signal, *given, **options)

    monkeypatch.setattr(flatness, "median_curvature", record)
    monkeypatch.setattr(flatness, "_MANY", 10_000)
    found = check_flatness(ball(conductivity, 127.74e6, grid=grid), mask, (1.4,) * 3, 127.74e6)
    assert used == [(52, 52, 52)]
    assert len(found) == n_warnings


def test_the_flat_phase_of_a_small_object_with_small_voxels_is_found():
    grid = (np.stack(np.indices((64, 64, 64))) - 31.5) * 0.5
    mask = (grid**2).sum(axis=0) < 12**2
    noise = np.random.default_rng(0).normal(size=(2, *mask.shape)) / 50
    assert check_flatness(mask + noise[0] + 1j * noise[1], mask, (0.5,) * 3, 127.74e6)


def test_two_slices_do_not_show_whether_the_phase_is_flat():
    signal = ball(0.5, 127.74e6)[:, :, 19:21]
    assert check_flatness(signal, BALL[:, :, 19:21], (SIZE,) * 3, 127.74e6) == []
