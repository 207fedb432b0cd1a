import numpy as np
import pytest

from bids_qcm.phase import signal_mask
from bids_qcm.phase.masking import blank_phase, body_outline, find_signal, typical_signal

RNG = np.random.default_rng(0)


SHAPE = (40, 40, 40)
GRID = np.stack(np.indices(SHAPE)).astype(float)


def ellipsoid(*semi_axes, centre=(20, 20, 20)):
    terms = (((g - c) / a) ** 2 for g, c, a in zip(GRID, centre, semi_axes, strict=True))
    return sum(terms) < 1


BODY = ellipsoid(15, 12, 13)


def assert_same(mask, truth):
    """Compare masks; because of noise, one voxel in a thousand may differ."""
    assert np.count_nonzero(mask != truth) <= 1e-3 * np.count_nonzero(truth)


def image(signal, noise, rng=RNG, phase=None):
    """Return the magnitude and the phase of a complex signal with noise."""
    phase = 0.01 * ((GRID - 20) ** 2).sum(axis=0) if phase is None else phase
    parts = rng.normal(0, noise, (2, *SHAPE))
    values = signal * np.exp(1j * phase) + parts[0] + 1j * parts[1]
    return np.abs(values), np.angle(values)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16])
@pytest.mark.parametrize("snr", [10, 16, 50, 150])
def test_the_body_is_signal(snr, dtype):
    magnitude, phase = image(1000.0 * BODY, 1000 / snr)
    signal = find_signal(magnitude.astype(dtype), phase)
    assert signal.mask.dtype == bool
    assert_same(signal.mask, BODY)
    assert signal.noise.sd == pytest.approx(1000 / snr, rel=0.05)


@pytest.mark.parametrize("weakest", [0.1, 0.3])
def test_coil_sensitivity_does_not_affect_the_mask(weakest):
    """The mask contains all tissue, even if the centre is darker than a brightness threshold."""
    depth = np.sqrt(((GRID - 20) ** 2).sum(axis=0)) / 15
    magnitude, phase = image(1000 * BODY * (weakest + (1 - weakest) * depth**4), 10)
    assert_same(signal_mask(magnitude, phase), BODY)


def test_tissue_below_the_snr_limit_is_excluded():
    weak = ellipsoid(6, 6, 6, centre=(26, 20, 20))
    magnitude, phase = image(np.where(weak, 20.0, 1000.0 * BODY), 10)
    mask = signal_mask(magnitude, phase)
    assert np.mean(mask[weak]) < 0.05
    assert np.mean(mask[BODY & ~weak]) > 0.99


def test_the_noise_of_several_coils_is_estimated():
    """The root-sum-of-squares image of several coils has a noise floor far above zero."""
    rng = np.random.default_rng(1)
    magnitudes, phases = zip(*(image(1000.0 * BODY, 20, rng) for _ in range(16)), strict=True)
    magnitude = np.sqrt(np.mean(np.square(magnitudes), axis=0) * 16)
    signal = find_signal(magnitude, phases[0])
    assert_same(signal.mask, BODY)
    assert signal.noise.sd == pytest.approx(20, rel=0.1)


def test_suppressed_noise_outside_the_body_is_tolerated():
    magnitude, phase = image(1000.0 * BODY, 20)
    outside = ~ellipsoid(18, 15, 16)
    magnitude[outside], phase[outside] = 0, -np.pi
    signal = find_signal(magnitude, phase)
    assert np.mean(signal.mask[BODY]) > 0.999
    assert not (signal.mask & outside).any()
    assert signal.noise.sd == pytest.approx(20, rel=0.3)


def test_ringing_beyond_the_body_is_excluded():
    """Bright voxels with incoherent phase are excluded, because they cannot be unwrapped."""
    magnitude, phase = image(1000.0 * BODY, 5)
    rim = ellipsoid(18, 15, 16) & ~BODY
    magnitude[rim] = 100
    mask = signal_mask(magnitude, phase)
    assert np.mean(mask[rim]) < 0.02
    # voxels at the surface of the body may be excluded, because they have neighbours in the rim
    assert np.mean(mask[BODY]) > 0.85
    assert np.mean(mask[ellipsoid(14, 11, 12)]) > 0.999


def test_only_small_holes_are_filled():
    cavity = ellipsoid(4, 4, 4)
    signal = 1000.0 * (BODY & ~cavity)
    signal[28, 20, 20] = 0
    mask = signal_mask(*image(signal, 10))
    assert mask[28, 20, 20]
    assert not mask[20, 20, 20]


def test_the_mask_of_an_image_without_noise_is_the_body():
    phase = 0.01 * ((GRID - 20) ** 2).sum(axis=0)
    magnitude = np.where(BODY, 500, 3)
    np.testing.assert_array_equal(signal_mask(magnitude, phase), BODY)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", [0, 1])
def test_values_that_are_not_finite_are_excluded(value, part):
    images = image(1000.0 * BODY, 20)
    images[part][20, 20, 20:22] = images[part][0, 0, 0] = value
    truth = BODY.copy()
    truth[20, 20, 20:22] = False
    mask = signal_mask(*images)
    assert_same(mask, truth)
    assert not mask[20, 20, 20:22].any()


@pytest.mark.parametrize("value", [0, 7, np.nan])
def test_a_constant_magnitude_is_refused(value):
    with pytest.raises(ValueError, match="constant"):
        signal_mask(np.full((4, 4, 4), value), np.zeros((4, 4, 4)))


def test_noise_alone_is_refused():
    with pytest.raises(ValueError, match="no voxel has a signal-to-noise ratio above 5"):
        signal_mask(*image(0 * BODY, 10))


@pytest.mark.parametrize("value", [0, -np.pi])
@pytest.mark.parametrize("shape", [(20, 18, 16), (20, 18, 1)])
def test_blocks_of_deleted_phase_are_detected(value, shape):
    phase = RNG.uniform(-np.pi, np.pi, shape).astype(np.float32)
    truth = np.zeros(shape, dtype=bool)
    truth[:6] = truth[:, 12:] = True
    phase[truth] = value
    phase[10, 5, 0] = value
    np.testing.assert_array_equal(blank_phase(phase), truth)


def test_phase_in_few_levels_does_not_count_as_deleted():
    """In an 8-bit phase image, neighbouring voxels are often equal, even where the phase is 0."""
    x, y, z = (np.mgrid[:30, :30, :30] - 15) * 1e-3
    smooth = 150 * (x**2 + y**2 + z**2) - 1.0 + RNG.normal(0, 0.03, x.shape)
    levels = np.round(smooth / (2 * np.pi / 256)) * (2 * np.pi / 256)
    assert not blank_phase(levels.astype(np.float32)).any()
    assert not blank_phase(np.full((5, 5, 5), np.nan)).any()


def test_an_outline_contains_regions_enclosed_by_signal():
    """The outline includes bone, even if the bone is cut off at the lower end of the image."""
    axes = np.ogrid[-1:1:30j, -1:1:32j, -0.2:1:20j]
    radius = np.sqrt(sum(np.square(axis) for axis in axes))
    head = radius < 0.9
    signal = head & ~((radius > 0.6) & (radius < 0.7))
    outline = body_outline(signal)
    assert np.array_equal(outline, head)
    assert np.array_equal(body_outline(head), head)


@pytest.mark.parametrize("missing", [slice(0, 1), slice(None, None, 2)])
def test_the_typical_signal_of_a_large_image_does_not_depend_on_missing_slices(missing):
    magnitude = np.random.default_rng(0).normal(100, 5, (400, 400, 7))
    magnitude[..., missing] = 0
    assert typical_signal(magnitude) == pytest.approx(100, rel=1e-3)


def test_a_voxel_that_is_much_too_bright_does_not_hide_the_body():
    magnitude, phase = image(1000.0 * BODY, 1000 / 50)
    magnitude[20, 20, 20] = 1e8
    assert_same(find_signal(magnitude, phase).mask, BODY)


@pytest.mark.parametrize(("background", "signal"), [(0, 0), (0, 1), (1, 1)])
def test_the_typical_signal_of_two_values_is_the_larger_value(background, signal):
    magnitude = np.full(SHAPE, float(background))
    magnitude[BODY] = signal
    assert typical_signal(magnitude) == signal
