import numpy as np
import pytest

from bids_qcm.checks.singularities import check_singularities, count_singularities

X, Y, Z = np.stack(np.indices((30, 32, 28))) - np.array([14.3, 15.6, 13.2]).reshape(3, 1, 1, 1)
MAGNITUDE = np.where(X**2 + Y**2 + Z**2 < 13**2, 100.0, 1)
EVERYWHERE = np.ones(MAGNITUDE.shape, bool)
SMOOTH = 0.05 * (X**2 + Y**2 + Z**2)
STEEP = 600 * (3 * Z**2 - X**2 - Y**2 - Z**2) / np.linalg.norm([X, Y, Z], axis=0) ** 5


@pytest.mark.parametrize("phase", [SMOOTH, SMOOTH + STEEP])
def test_wraps_and_steep_phase_are_not_singularities(phase):
    assert check_singularities(MAGNITUDE, np.angle(np.exp(1j * phase)), EVERYWHERE) == []


@pytest.mark.parametrize("angle", [np.arctan2(Y, X), -np.arctan2(Z, Y), np.arctan2(X - 3, Z)])
def test_a_singular_line_through_the_object_causes_a_warning(angle):
    phase = np.angle(np.exp(1j * (SMOOTH + angle)))
    (finding,) = check_singularities(MAGNITUDE, phase, EVERYWHERE)
    assert not finding.fatal
    assert "phase singularities" in finding.problem


def test_a_singular_line_without_signal_is_accepted():
    phase = np.arctan2(Y, X)
    assert count_singularities(MAGNITUDE, phase, EVERYWHERE) > 20
    magnitude = MAGNITUDE * np.minimum(1, np.hypot(X, Y) / 5)
    assert count_singularities(magnitude, phase, EVERYWHERE) == 0
