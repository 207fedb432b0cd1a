import numpy as np
import pytest

from bids_qcm.phase.echoes import fit_echo_lines
from bids_qcm.phase.unwrapping import wrap

X, Y, Z = np.mgrid[:16, :15, :14].astype(float)
MASK = (X - 8) ** 2 + (Y - 7) ** 2 + (Z - 7) ** 2 < 40
PHI0 = 0.05 * (X - 8) ** 2 - 0.03 * (Y - 7) ** 2 + 0.1 * Z
# Off-resonance in rad/s. Over 5 ms, its phase varies by more than one cycle within the mask.
OMEGA = 150 * (X - 8) + 40 * (Y - 7)
MAGNITUDE = 100 + 5 * Y
DECAY = 30.0

TIMES = {
    "two": [0.005, 0.010],
    "six": [0.004, 0.009, 0.014, 0.019, 0.024, 0.029],
    "uneven": [0.003, 0.008, 0.010, 0.021],
    "late": [0.0131, 0.0172, 0.0219],
    "from zero": [0.0, 0.004, 0.008],
    "out of order": [0.020, 0.005, 0.015, 0.010],
}


def signals(times, phi0=PHI0, omega=OMEGA):
    return [
        (MAGNITUDE * np.exp(-DECAY * t) * np.exp(1j * (phi0 + omega * t))).astype(np.complex64)
        for t in times
    ]


def phase_at_zero(echoes, times, mask):
    lines = fit_echo_lines(echoes, times, mask)
    return lines.phase(), lines.noise()


def error(got, truth=PHI0, mask=MASK):
    """Return the difference from the truth, minus a constant."""
    step = wrap((got - truth)[mask])
    return wrap(step - step[0])


@pytest.mark.parametrize("name", TIMES)
def test_the_fit_is_exact_without_noise(name):
    times = TIMES[name]
    spacing = np.diff(sorted(times)).min()
    assert np.ptp(OMEGA[MASK]) * spacing > np.pi
    got, _ = phase_at_zero(signals(times), times, MASK)
    assert got.dtype == np.float32
    assert np.abs(error(got)).max() < 1e-3
    assert np.abs(got[MASK]).max() <= np.pi + 1e-6
    assert np.isnan(got[~MASK]).all()


def test_several_wraps_within_one_echo_spacing_are_resolved():
    times = [0.004, 0.030]
    omega = 10 * (X - 8) + 2 * np.pi * 500
    got, _ = phase_at_zero(signals(times, omega=omega), times, MASK)
    assert np.abs(error(got)).max() < 1e-3


@pytest.mark.parametrize("times", [[0.005, 0.010], [0.003, 0.008, 0.010, 0.021]])
def test_noise_agrees_with_weighted_least_squares(times):
    rng = np.random.default_rng(0)
    shape = (30, 30, 30)
    mask = np.ones(shape, dtype=bool)
    noise = 0.02
    magnitudes = np.exp(-60 * np.array(times))
    echoes = [
        m * np.exp(1j * 40 * t) + noise * (rng.normal(size=shape) + 1j * rng.normal(size=shape))
        for m, t in zip(magnitudes, times, strict=True)
    ]
    design = np.stack([np.ones(len(times)), times], axis=1)
    covariance = np.linalg.inv(design.T @ (design * (magnitudes / noise)[:, None] ** 2))
    got, predicted = phase_at_zero([e.astype(np.complex64) for e in echoes], times, mask)
    assert got.std() == pytest.approx(np.sqrt(covariance[0, 0]), rel=0.03)
    assert noise * np.median(predicted) == pytest.approx(np.sqrt(covariance[0, 0]), rel=0.01)


def test_a_late_echo_without_signal_has_no_weight():
    times = [0.005, 0.010, 0.015]
    echoes = signals(times)
    echoes[2][8, 7, 7] = 0
    assert np.abs(error(phase_at_zero(echoes, times, MASK)[0])).max() < 1e-3


@pytest.mark.parametrize("lost", [0, 1])
def test_voxels_without_signal_in_an_early_echo_are_left_out(lost):
    times = [0.005, 0.010, 0.015]
    echoes = signals(times)
    echoes[lost][8, 7, 7] = 0
    got, _ = phase_at_zero(echoes, times, MASK)
    rest = MASK.copy()
    rest[8, 7, 7] = False
    np.testing.assert_array_equal(np.isfinite(got), rest)
    assert np.abs(error(got, mask=rest)).max() < 1e-3


def test_a_very_weak_second_echo_causes_no_error():
    times = [0.005, 0.010]
    first, second = signals(times)
    got, _ = phase_at_zero([first, second * np.float32(1e-9)], times, MASK)
    assert np.abs(error(got)).max() < 1e-3


@pytest.mark.parametrize(
    "times", [[0.005, 0.005], [0.005], [0.005, None], [0.005, np.nan], [0.01, 0.02, 0.03]]
)
def test_invalid_echo_times_are_refused(times):
    with pytest.raises(ValueError, match="different echo times"):
        phase_at_zero(signals([0.005, 0.010]), times, MASK)


def test_a_single_echo_is_refused():
    with pytest.raises(ValueError, match="echo"):
        phase_at_zero(signals([0.005]), [0.005], MASK)


def test_echoes_without_signal_are_refused():
    first, second = signals([0.005, 0.010])
    with pytest.raises(ValueError, match="no voxel"):
        phase_at_zero([first, 0 * second], [0.005, 0.010], MASK)


@pytest.mark.parametrize("times", [(0.004, 0.010, 0.018), (0.003, 0.008, 0.011, 0.021)])
@pytest.mark.parametrize("offset", [0, 90, -150, 200, 300])
def test_uneven_echoes_far_off_resonance_have_no_phase_step_where_t2_star_changes(times, offset):
    shape = (20, 12, 10)
    x = np.arange(shape[0])[:, None, None] * np.ones(shape)
    phi0 = 0.002 * (x - 10) ** 2
    decay = np.where(x < 10, 0.020, 0.066)
    frequency = offset + 0.5 * x
    echoes = [
        (np.exp(-t / decay) * np.exp(1j * (phi0 + 2 * np.pi * frequency * t))).astype(np.complex64)
        for t in times
    ]
    found, _ = phase_at_zero(echoes, times, np.ones(shape, bool))
    difference = np.angle(np.exp(1j * (found - phi0)))
    # a constant phase error is allowed, but a step is not allowed
    difference = np.angle(np.exp(1j * (difference - difference[0, 0, 0])))
    assert np.abs(difference).max() < 1e-3


def test_misfit_is_zero_for_echoes_on_a_line():
    for times in (TIMES["two"], TIMES["uneven"], TIMES["out of order"]):
        misfit = fit_echo_lines(signals(times), times, MASK).misfit()
        assert len(misfit) == len(times)
        np.testing.assert_allclose(misfit, 0, atol=1e-5)


def test_misfit_is_largest_for_the_deviating_echo():
    times = TIMES["six"]
    echoes = signals(times)
    echoes[3] = echoes[3] * np.exp(0.3j)
    misfit = fit_echo_lines(echoes, times, MASK).misfit()
    assert np.argmax(misfit) == 3
    # with six echoes, most of an echo's offset remains in the residual of this echo
    assert 0.15 < 0.6745 * misfit[3] < 0.3


def test_misfit_excludes_noise():
    rng = np.random.default_rng(0)
    times = TIMES["uneven"]
    noise = 100 / 16
    echoes = [
        s + noise * (rng.normal(size=s.shape) + 1j * rng.normal(size=s.shape))
        for s in signals(times, omega=0 * X)
    ]
    assert max(fit_echo_lines(echoes, times, MASK).misfit()) < 0.02
