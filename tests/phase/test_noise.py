import numpy as np
import pytest

from bids_qcm.phase import compute_phi0, noise_level
from bids_qcm.phase.noise import acquired_frequencies

SHAPE = (30, 32, 28)


def smooth_phase():
    x, y, z = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    phase = 0.01 * (x - 15) ** 2 + 0.02 * (y - 16) ** 2 - 0.01 * (z - 14) ** 2
    # add a jump in curvature, as at a tissue border
    return phase + 0.02 * np.maximum(x - 15, 0) ** 2


@pytest.mark.parametrize("level", [0.05, 2.0])
def test_the_level_of_noise_proportional_to_the_inverse_magnitude_is_found(level):
    rng = np.random.default_rng(0)
    magnitude = rng.uniform(50, 200, SHAPE)
    mask = rng.random(SHAPE) < 0.98
    phase = smooth_phase() + level * rng.normal(size=SHAPE) / magnitude
    phase[~mask] = 1e6
    assert noise_level(phase, mask, 1 / magnitude) == pytest.approx(level, rel=0.03)


def test_outliers_and_corners_missing_from_k_space_do_not_matter():
    rng = np.random.default_rng(1)
    spectrum = np.fft.fftn(0.02 * rng.normal(size=SHAPE))
    _, ky, kz = np.meshgrid(*[np.fft.fftfreq(n) for n in SHAPE], indexing="ij")
    noise = np.fft.ifftn(np.where(np.hypot(ky, kz) < 0.5, spectrum, 0)).real
    phase = smooth_phase() + noise
    phase[rng.random(SHAPE) < 0.01] += 3
    found = noise_level(phase, np.ones(SHAPE, bool), np.ones(SHAPE))
    assert found == pytest.approx(noise.std(), rel=0.1)


def test_the_noise_of_a_single_slice_is_estimated():
    noise = 0.02 * np.random.default_rng(2).normal(size=(60, 60, 1))
    found = noise_level(noise, np.ones(noise.shape, bool), np.ones(noise.shape))
    assert found == pytest.approx(0.02, rel=0.05)


def test_a_mask_that_is_too_thin_is_refused():
    mask = np.zeros(SHAPE, bool)
    mask[5, 5] = True
    with pytest.raises(ValueError, match="no square of 3 by 3"):
        noise_level(np.zeros(SHAPE), mask, np.ones(SHAPE))


@pytest.mark.parametrize("times", [(), (0.003, 0.008, 0.013)])
def test_phi0_includes_its_noise(times):
    rng = np.random.default_rng(3)
    magnitude = rng.uniform(0.8, 1.2, SHAPE)
    truth = 0.02 * smooth_phase()
    echoes = [
        magnitude * np.exp(1j * (truth + 30 * t)) + 0.02 * rng.normal(size=(*SHAPE, 2)) @ [1, 1j]
        for t in times or (0,)
    ]
    mask = np.ones(SHAPE, bool)
    phi0 = compute_phi0(
        [np.abs(e) for e in echoes], [np.angle(e) for e in echoes], times, mask=mask
    )
    assert phi0.magnitude_noise == pytest.approx(0.02, rel=0.03)
    error = phi0.phase - truth
    standardised = (error - np.median(error)) / phi0.noise
    assert standardised.std() == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize("deleted_air", [False, True])
def test_noise_of_a_zero_filled_image_is_as_large_at_low_frequencies(deleted_air):
    """Zero-filling keeps the noise power of each acquired frequency."""
    rng = np.random.default_rng(4)
    # along the second axis, the image has so many voxels that only some planes are examined
    body = np.zeros((24, 34, 20))
    body[6:18, 6:28, 4:16] = 50
    acquired = body + rng.normal(size=(*body.shape, 2)) @ [1, 1j]
    if deleted_air:
        acquired = np.where(body > 0, acquired, 0)
    assert all(axis.all() for axis in acquired_frequencies(acquired, 1.0))
    spectrum = np.fft.fftshift(np.fft.fftn(acquired), axes=(0, 1))
    spectrum = np.pad(spectrum, ((12, 12), (17, 17), (0, 0)))
    image = 4 * np.fft.ifftn(np.fft.ifftshift(spectrum, axes=(0, 1)))
    phase = np.round(np.angle(image) / np.pi * 2048) / 2048 * np.pi
    inside = np.zeros(image.shape, bool)
    inside[16:32, 16:52, 6:14] = True
    phi0 = compute_phi0([np.abs(image)], [phase], mask=inside)
    found = acquired_frequencies(np.abs(image) * np.exp(1j * phase), 0.3)
    assert [np.count_nonzero(axis) for axis in found] == list(body.shape)
    # independent noise with the same power at low frequencies: 2 = sqrt(4) in 4 times the voxels
    assert phi0.magnitude_noise == pytest.approx(2, rel=0.1)


def test_empty_slices_do_not_look_like_frequencies_that_were_not_acquired():
    signal = np.random.default_rng(0).normal(size=(70, 16, 16, 2)) @ [1, 1j]
    signal[::2] = 0
    assert all(axis.all() for axis in acquired_frequencies(signal, 1.0)[1:])
