import numpy as np
import pytest

from bids_qcm.phase.balanced import average_phase_cycles, find_bands
from bids_qcm.phase.masking import find_signal

SHAPE = (40, 36, 32)
SIZE = 2e-3
X, Y, Z = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * SIZE for n in SHAPE], indexing="ij")
BALL = X**2 + Y**2 + Z**2 < 0.028**2
PHI0 = 1000 * (X**2 + Y**2 + Z**2) / 6
TR = 0.005
OFF_RESONANCE = 4e5 * X * Y + 4000 * Z


def ellipse(off_resonance, increment, t1=0.8, t2=0.07, flip=45.0, tr=TR):
    """Return the balanced SSFP signal at TE = TR/2 of a unit magnetisation.

    `off_resonance` is in Hz; `increment` is the phase increment of the pulses in degrees.
    """
    e1, e2 = np.exp(-tr / t1), np.exp(-tr / t2)
    cos = np.cos(np.radians(flip))
    denominator = 1 - e1 * cos - e2**2 * (e1 - cos)
    b = e2 * (1 - e1) * (1 + cos) / denominator
    psi = 2 * np.pi * off_resonance * tr
    theta = psi - np.radians(increment)
    m = (1 - e1) * np.sin(np.radians(flip)) / denominator * np.sqrt(e2)
    return m * (1 - e2 * np.exp(1j * theta)) / (1 - b * np.cos(theta)) * np.exp(-1j * psi / 2)


def steady_state(off_resonance, increment, t1=0.8, t2=0.07, flip=45.0, tr=TR):
    """Return the same signal from the steady state of the Bloch equations, step by step."""
    e1, e2 = np.exp(-tr / t1), np.exp(-tr / t2)
    psi, angle = 2 * np.pi * off_resonance * tr, np.radians(flip)

    def about_z(phase):
        cos, sin = np.cos(phase), np.sin(phase)
        return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])

    cos, sin = np.cos(angle), np.sin(angle)
    pulse = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    # in the frame that follows the phase of the pulses
    relax = np.diag([e2, e2, e1])
    period = pulse @ about_z(-psi + np.radians(increment)) @ relax
    after_pulse = np.linalg.solve(np.eye(3) - period, pulse @ [0, 0, 1 - e1])
    echo = about_z(-psi / 2) @ after_pulse * np.sqrt(e2)
    return (echo[0] + 1j * echo[1]) / -1j


def cycles(n, noise=0.0, off_resonance=OFF_RESONANCE, **tissue):
    """Return images of a ball with bands for uniform increments, with any receiver phase."""
    rng = np.random.default_rng(0)
    images = []
    for k in range(n):
        increment = 180 + 360 * k / n
        signal = BALL * ellipse(off_resonance, increment, **tissue) * np.exp(1j * PHI0)
        scale = np.abs(signal).max()
        random = rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE)
        images.append((signal / scale + noise * random) * np.exp(1j * k**2))
    return images


def error(signal, where=BALL):
    difference = np.angle(signal * np.exp(-1j * PHI0))[where]
    return np.angle(np.exp(1j * difference) / np.exp(1j * difference).mean())


@pytest.mark.parametrize("increment", [180, 90, 0])
@pytest.mark.parametrize("off_resonance", [-70, 0, 30, 99])
def test_the_analytic_signal_is_the_steady_state(off_resonance, increment):
    expected = steady_state(off_resonance, increment)
    np.testing.assert_allclose(ellipse(off_resonance, increment), expected, atol=1e-12)


def test_the_phase_between_the_bands_has_a_small_error():
    """The phase is phi0 with a small error, and jumps by half a cycle at 1/(2 TR)."""
    off_resonance = np.array([-80, -50, 0, 50, 80])
    phase = np.angle(ellipse(off_resonance, 180))
    expected = -np.arctan(np.tanh(TR / 2 / 0.07) * np.tan(np.pi * off_resonance * TR))
    np.testing.assert_allclose(phase, expected, atol=1e-12)
    assert np.abs(phase).max() < 0.12
    before, after = ellipse(np.array([0.9, 1.1]) / (2 * TR), 180)
    assert np.real(before * after.conj()) < 0


@pytest.mark.parametrize(("n", "largest"), [(2, 0.03), (3, 0.03), (4, 0.02)])
def test_the_average_of_phase_cycles_has_no_bands(n, largest):
    images = cycles(n)
    average = average_phase_cycles(images, BALL)
    assert np.abs(error(average.signal)).max() < largest
    assert np.abs(error(images[0])).max() > 1.5
    assert max(average.remainders) < 0.15
    assert average.reversed == [False] * (n - 1)
    magnitude = np.abs(average.signal[BALL])
    assert magnitude.min() > 0.7 * magnitude.max()


@pytest.mark.parametrize("offsets", ["alternating", "random"])
def test_the_average_of_phase_cycles_is_correct_in_slices_with_offsets(offsets):
    rng = np.random.default_rng(1)
    images = []
    for image in cycles(2, noise=0.005):
        of_slices = rng.uniform(-np.pi, np.pi, SHAPE[2])
        if offsets == "alternating":
            of_slices = 1.6 * (np.arange(SHAPE[2]) % 2)
        images.append(image * np.exp(1j * of_slices))
    average = average_phase_cycles(images, BALL, axes=(0, 1))
    assert max(average.remainders) < 0.2
    for k in np.flatnonzero(np.count_nonzero(BALL, axis=(0, 1)) > 50):
        inside = BALL[..., k]
        difference = np.angle(average.signal * np.exp(-1j * PHI0))[..., k][inside]
        mean = np.exp(1j * difference).mean()
        # half a cycle between two parts of a slice would give a mean near 0
        assert abs(mean) > 0.99


def test_the_sum_of_the_images_contains_off_resonance_like_a_gradient_echo():
    """The reason for squares: the complex sum keeps the off-resonance phase over half of TR."""
    off_resonance = np.linspace(-200, 200, 9)
    total = sum(ellipse(off_resonance, 45 * k) for k in range(8))
    phase = np.unwrap(np.angle(total))
    np.testing.assert_allclose(phase - phase[4], -np.pi * off_resonance * TR, atol=0.01)


@pytest.mark.parametrize("flip", [20, 45])
@pytest.mark.parametrize("snr", [10, 50])
def test_bands_are_found(flip, snr):
    (image,) = cycles(1, 1 / snr, flip=flip)
    noise = find_signal(np.abs(image), np.angle(image)).noise
    found = find_bands(image, [2] * 3, noise)
    clean = np.where(found.bands, 0, np.where(found.shifted, -image, image))
    mask = find_signal(np.abs(clean), np.angle(clean)).mask & (clean != 0)
    assert np.mean(mask[BALL]) > 0.6
    # no phase jump is left: the largest errors are at the edges of the bands and from noise
    assert np.quantile(np.abs(error(clean, mask)), 0.99) < 0.15 + 2 / snr
    assert np.abs(error(clean, mask)).max() < 1
    core = BALL & (np.abs(np.abs(OFF_RESONANCE) - 100) < 5)
    assert np.mean(mask[core]) < 0.02


def test_no_bands_are_found_in_an_image_without_bands():
    (image,) = cycles(1, 0.02, off_resonance=30 + 500 * Z)
    noise = find_signal(np.abs(image), np.angle(image)).noise
    found = find_bands(image, [2] * 3, noise)
    assert not found.bands.any()
    assert not found.shifted.any()


def test_half_a_cycle_in_every_second_slice_is_not_a_band():
    (image,) = cycles(1, 0.02)
    noise = find_signal(np.abs(image), np.angle(image)).noise
    alternating = image * np.where(np.arange(SHAPE[2]) % 2, -1, 1)
    for found, expected in zip(
        find_bands(alternating, [2] * 3, noise), find_bands(image, [2] * 3, noise), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
