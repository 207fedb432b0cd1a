import numpy as np
import pytest

from bids_qcm.phantom.conductivity import permittivity_map
from bids_qcm.phantom.fullwave import fields
from bids_qcm.phantom.make import _make_tissues
from bids_qcm.phantom.parameters import PhantomParameters
from bids_qcm.phase.coils import coil_weights

X, Y, Z = np.meshgrid(*[np.linspace(-1, 1, 24)] * 3, indexing="ij")
HEAD = X**2 + Y**2 + 0.8 * Z**2 < 0.7
PHI0 = 3 * (X**2 + Y**2 + Z**2)
AZIMUTHS = np.arange(8) * np.pi / 4


def sensitivities():
    """Return the receive fields of a ring of coils. Each field is smooth in the plane."""
    fields = []
    for azimuth in AZIMUTHS:
        u, v = X - 1.3 * np.cos(azimuth), Y - 1.3 * np.sin(azimuth)
        inward = (-u * np.cos(azimuth) - v * np.sin(azimuth)) + 1j * (
            u * np.sin(azimuth) - v * np.cos(azimuth)
        )
        fields.append(np.exp(1j * azimuth) * (1 + 0.4j * inward) / (0.2 + u**2 + v**2) ** 1.5)
    return fields


@pytest.mark.parametrize("snr", [np.inf, 50, 10])
def test_the_combined_phase_agrees_with_coils_that_are_in_phase_at_the_centre(snr):
    rng = np.random.default_rng(0)
    receive = sensitivities()
    centre = tuple(n // 2 for n in X.shape)
    aligned = sum(field * np.exp(-1j * np.angle(field[centre])) for field in receive)
    truth = np.angle(aligned * np.exp(1j * PHI0))
    offsets = np.exp(1j * rng.uniform(-np.pi, np.pi, 8))
    clean = [
        field * o * HEAD * np.exp(1j * PHI0) for field, o in zip(receive, offsets, strict=True)
    ]
    noise = np.abs(clean[0][centre]) / snr
    noisy = [
        one + noise * (rng.normal(size=X.shape) + 1j * rng.normal(size=X.shape)) for one in clean
    ]
    weights = coil_weights(noisy)
    np.testing.assert_allclose(np.abs(weights), 1)
    combined = sum(weight * one for weight, one in zip(weights, clean, strict=True))
    error = np.angle(combined * np.exp(-1j * truth))[HEAD]
    error = np.angle(np.exp(1j * (error - np.angle(np.exp(1j * error).mean()))))
    assert np.abs(error).max() < 0.1
    assert np.std(error) < 0.02


def test_equal_coils_with_phase_offsets_add_up():
    signal = HEAD * np.exp(1j * PHI0)
    offsets = np.exp(1j * np.array([0.3, 2.0, -1.5]))
    weights = coil_weights([signal * one for one in offsets])
    np.testing.assert_allclose(np.abs(np.sum(weights * offsets)), 3, rtol=1e-4)


def test_a_coil_without_signal_does_not_affect_the_factors():
    signal = HEAD * np.exp(1j * PHI0)
    assert np.abs(coil_weights([signal])) == pytest.approx(1)
    weights = coil_weights([signal, 0 * signal, 1j * signal])
    assert np.angle(weights[0] / weights[2]) == pytest.approx(np.pi / 2, abs=1e-4)


@pytest.mark.slow
def test_the_combined_phase_agrees_with_the_array_of_the_full_wave_phantom():
    """The combined phase differs from the phantom's array by less than 0.02 rad everywhere."""
    parameters = PhantomParameters(resolution=8, forward_model="full-wave")
    anatomy, conductivity = _make_tissues(parameters, 8)
    cells = permittivity_map(anatomy, conductivity, parameters.frequency)
    body = fields._body(cells, anatomy.grid, parameters.frequency)
    loops = fields._incident(
        fields.ARRAY.wires(), fields._centre(anatomy.grid), anatomy.grid, parameters.frequency
    )
    head = conductivity > 0
    receive = [fields._rotating(body, loop, -1j) * head for loop in loops]
    weights = fields.combination_weights(cells, anatomy.grid, parameters.frequency)
    truth = np.angle(sum(w * field for w, field in zip(weights, receive, strict=True)))
    rng = np.random.default_rng(0)
    signals = [field * np.exp(1j * rng.uniform(-np.pi, np.pi)) for field in receive]
    noise = np.median(np.abs(receive[0])[head]) / 50
    noisy = [
        s + noise * (rng.normal(size=s.shape) + 1j * rng.normal(size=s.shape)) for s in signals
    ]
    combined = sum(w * s for w, s in zip(coil_weights(noisy), signals, strict=True))
    error = np.exp(1j * (np.angle(combined) - truth))[head]
    assert np.abs(np.angle(error / error.mean())).max() < 0.02
