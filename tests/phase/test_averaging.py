import numpy as np
import pytest

from bids_qcm.phase.averaging import average_repetitions
from bids_qcm.phase.noise import noise_level
from bids_qcm.phase.unwrapping import unwrap

X, Y, Z = np.meshgrid(*[np.linspace(-1, 1, 24)] * 3, indexing="ij")
BALL = X**2 + Y**2 + Z**2 < 0.9
PHI0 = 4 * (X**2 + Y**2 + Z**2)


def repetitions(phases, noise=0.0):
    rng = np.random.default_rng(0)
    return [
        BALL * np.exp(1j * (PHI0 + phase))
        + noise * (rng.normal(size=X.shape) + 1j * rng.normal(size=X.shape))
        for phase in phases
    ]


def deviation(average):
    """Return the deviation from phi0 plus a constant and linear phase, in rad."""
    difference = unwrap(np.angle(average.signal * np.exp(-1j * PHI0)), BALL)[BALL]
    columns = np.column_stack([np.ones(BALL.sum()), X[BALL], Y[BALL], Z[BALL]])
    return difference - columns @ np.linalg.lstsq(columns, difference, rcond=None)[0]


@pytest.mark.parametrize("n", [2, 4, 9])
def test_noise_decreases_with_the_square_root_of_the_number_of_repetitions(n):
    phases = [k + k * X for k in range(n)]
    levels = []
    for given in (phases[:1], phases):
        average = average_repetitions(repetitions(given, 0.05), BALL)
        phase = unwrap(np.angle(average.signal), BALL)
        levels.append(noise_level(phase, BALL, np.ones_like(phase)))
        assert np.std(deviation(average)) == pytest.approx(0.05 / np.sqrt(len(given)), rel=0.1)
    assert levels[0] / levels[1] == pytest.approx(np.sqrt(n), rel=0.1)


@pytest.mark.parametrize("linear", [0.2, 4.0])
def test_eddy_currents_of_opposite_polarity_cancel(linear):
    eddy = linear * Y + 0.3 * X**2 - 0.2 * X * Z + 0.5
    average = average_repetitions(repetitions([eddy, -eddy]), BALL)
    assert np.abs(deviation(average)).max() < 1e-3
    assert np.abs(average.signal[BALL]).min() > 0.9
    assert len(average.remainders) == 1
    assert 0.05 < average.remainders[0] < 0.3


@pytest.mark.parametrize("noise", [0, 0.05])
def test_a_repetition_with_the_opposite_sign_is_detected(noise):
    first, second = repetitions([0, 0.3 * X**2], noise)
    assert average_repetitions([first, second], BALL).reversed == [False]
    average = average_repetitions([first, second.conj()], BALL)
    assert average.reversed == [True]
    assert average.remainders[0] > 0.5


def test_a_repetition_of_another_object_is_detected():
    first, second = repetitions([0, 5 * X**2])
    assert average_repetitions([first, second], BALL).remainders[0] > 0.5


def test_the_average_of_one_repetition_is_this_repetition():
    (first,) = repetitions([0])
    average = average_repetitions([first], BALL)
    np.testing.assert_allclose(average.signal, first, rtol=1e-6)
    assert average.remainders == []
