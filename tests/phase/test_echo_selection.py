import numpy as np
import pytest

from bids_qcm.phase.echo_selection import TOLERATED_MISFIT, inconsistent_echoes
from bids_qcm.phase.echoes import fit_echo_lines

TIMES = [0.002 * (k + 1) for k in range(8)]
NOISE = 10.0
X, Y, Z = np.meshgrid(*[np.linspace(-1, 1, 24)] * 3, indexing="ij")
BALL = X**2 + Y**2 + Z**2 < 0.9


def acquire(snr=50.0, times=TIMES, polarity=0.0, interpolated=False):
    """Return echoes of a ball with off-resonance and a T2* of 20 ms."""
    rng = np.random.default_rng(0)
    echoes = []
    for k, time in enumerate(times):
        phase = 4 * (X**2 + Y**2 + Z**2) + 200 * time * (X**2 - Z**2) + (-1) ** k * polarity * Y
        noise = NOISE * (rng.normal(size=X.shape) + 1j * rng.normal(size=X.shape))
        if interpolated:
            spectrum = np.fft.fftn(noise, axes=(0, 1))
            inner = np.abs(np.fft.fftfreq(len(X))) < 0.25
            noise = 2 * np.fft.ifftn(spectrum * np.outer(inner, inner)[:, :, None], axes=(0, 1))
        echoes.append(snr * NOISE * BALL * np.exp(-time / 0.02 + 1j * phase) + noise)
    return echoes


def left_out(echoes, times, noise, **options):
    magnitudes, phases = [np.abs(one) for one in echoes], [np.angle(one) for one in echoes]
    return inconsistent_echoes(magnitudes, phases, times, BALL, noise, **options)


def indices(echoes, times=TIMES, **options):
    return [one.echo for one in left_out(echoes, times, NOISE, **options)]


@pytest.mark.parametrize("snr", [5, 16, 50, 200])
def test_the_expected_misfit_agrees_with_the_misfit_due_to_noise(snr):
    lines = fit_echo_lines(acquire(snr), TIMES, BALL)
    np.testing.assert_allclose(lines.misfit(), lines.expected_misfit(NOISE), rtol=0.3)


@pytest.mark.parametrize("interpolated", [False, True])
@pytest.mark.parametrize("snr", [5, 16, 50, 200])
def test_echoes_with_noise_alone_are_consistent(snr, interpolated):
    assert indices(acquire(snr, interpolated=interpolated)) == []


@pytest.mark.parametrize("polarity", [0, 1.5])
@pytest.mark.parametrize(
    ("wrong", "change"),
    [
        ([1], np.conj),
        ([3], np.conj),
        ([0], lambda echo: np.abs(echo) * np.exp(1j * np.pi * X)),
        ([7], np.abs),
        ([5, 6, 7], lambda echo: echo * np.exp(0.5j * (X**2 + Y**2))),
        ([2, 5], lambda echo: np.where(Z > 0, -1, 1) * echo),
    ],
)
def test_echoes_that_deviate_from_the_line_are_left_out(polarity, wrong, change):
    echoes = acquire(polarity=polarity)
    for k in wrong:
        echoes[k] = change(echoes[k])
    assert indices(echoes) == wrong


def test_the_limit_depends_on_the_noise():
    echoes = acquire()
    echoes[6] = echoes[6].conj()
    (found,) = left_out(echoes, TIMES, NOISE)
    assert found.limit == TOLERATED_MISFIT
    assert found.misfit > 10 * found.limit
    (found,) = left_out(echoes, TIMES, 20 * NOISE)
    assert found.limit > TOLERATED_MISFIT


def test_echoes_may_be_in_any_order():
    echoes = acquire()
    echoes[5] = echoes[5].conj()
    assert indices(echoes[::-1], TIMES[::-1]) == [2]


def test_the_polarity_of_the_remaining_echoes_follows_from_their_numbers():
    echoes = acquire(polarity=1.5)
    numbers = [1, 2, 4, 5, 7, 8]
    some = [echoes[n - 1] for n in numbers]
    times = [TIMES[n - 1] for n in numbers]
    assert indices(some, times, echo_numbers=numbers) == []
    assert indices(some, times) != []


@pytest.mark.parametrize("n", [2, 3])
def test_no_echo_is_left_out_if_there_are_at_most_three(n):
    echoes = acquire()[:n]
    echoes[1] = echoes[1].conj()
    assert indices(echoes, TIMES[:n]) == []


def test_no_echo_is_left_out_if_no_three_early_echoes_lie_on_a_line():
    echoes = [echo * np.exp(1j * k**2 * X * Z) for k, echo in enumerate(acquire())]
    assert indices(echoes) == []
