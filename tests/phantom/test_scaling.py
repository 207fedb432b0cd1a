import math

import numpy as np
import pytest

from bids_qcm.phantom.scaling import scale_phase

RAD_PER_UNIT = {
    "rad": 1.0,
    "unsigned12": 2 * math.pi / 4096,
    "siemens": 2 * math.pi / 8192,
    "milliradian": 1e-3,
}
STEP_RAD = {
    "rad": 1e-6,
    "unsigned12": 2 * math.pi / 4096,
    "siemens": 2 * math.pi / 4096,
    "milliradian": 1e-3,
}
PHASE = np.concatenate(
    [np.linspace(-np.pi, np.pi, 9999), np.nextafter([-np.pi, np.pi], 0), [0.0]]
).astype(np.float32)


def wrap(phase):
    return np.angle(np.exp(1j * phase))


@pytest.mark.parametrize("scaling", RAD_PER_UNIT)
def test_scaled_phase_is_read_back_within_half_a_step(scaling):
    stored, slope, inter, _ = scale_phase(PHASE, scaling)
    seen = stored.astype(float) * slope + inter
    error = wrap(seen * RAD_PER_UNIT[scaling] - PHASE)
    assert np.abs(error).max() <= STEP_RAD[scaling] / 2 + 1e-6


@pytest.mark.parametrize(
    ("scaling", "dtype", "low", "high", "slope", "inter", "units"),
    [
        ("rad", np.float32, np.float32(-np.pi), np.float32(np.pi), 1, 0, "rad"),
        ("unsigned12", np.uint16, 0, 4095, 1, 0, None),
        ("siemens", np.uint16, 0, 4095, 2, -4096, None),
        ("milliradian", np.int16, -3142, 3142, 1, 0, None),
    ],
)
def test_stored_values_cover_the_range_of_the_format(
    scaling, dtype, low, high, slope, inter, units
):
    result = scale_phase(PHASE, scaling)
    assert result.stored.dtype == dtype
    assert (result.slope, result.inter, result.units) == (slope, inter, units)
    assert result.stored.min() >= low
    assert result.stored.max() <= high
    # For milliradians, the range may be one step smaller, because pi may be rounded to -pi.
    assert result.stored.max() - float(result.stored.min()) >= (high - float(low)) * 0.999


def test_scaled_siemens_values_have_8192_units_per_cycle():
    stored, slope, inter, _ = scale_phase(np.array([-np.pi, 0, np.pi / 2, np.pi]), "siemens")
    np.testing.assert_array_equal(stored * slope + inter, [-4096, 0, 2048, -4096])


def test_unwrapped_phase_is_wrapped():
    phase = np.array([0.5, 0.5 + 2 * np.pi, 0.5 - 4 * np.pi])
    for scaling in ("unsigned12", "siemens", "milliradian"):
        assert len(set(scale_phase(phase, scaling).stored.tolist())) == 1


def test_unknown_scaling_is_refused():
    with pytest.raises(ValueError, match="degrees"):
        scale_phase(PHASE, "degrees")
