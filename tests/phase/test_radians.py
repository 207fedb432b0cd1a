import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_qcm.phase import PhaseUnitsError, recognise_units, to_radians

CYCLE = 2 * math.pi
WRAPPED = np.random.default_rng(0).uniform(-math.pi, math.pi, (12, 12, 12))


def levels(phase):
    return (np.floor(phase * 4096 / CYCLE).astype(int) % 4096).astype(np.uint16)


# stored values, slope, intercept, Units of the sidecar, and quantisation step in rad
ENCODINGS = {
    "rad": lambda p: (p.astype(np.float32), 1, 0, "rad", 1e-6),
    "rad, no units": lambda p: (p.astype(np.float32), 1, 0, None, 1e-6),
    "rad from 0": lambda p: ((p % CYCLE).astype(np.float32), 1, 0, None, 1e-6),
    "unsigned 12-bit": lambda p: (levels(p), 1, 0, None, CYCLE / 4096),
    "siemens": lambda p: (levels(p + math.pi), 2, -4096, None, CYCLE / 4096),
    "philips": lambda p: (
        np.rint((p + math.pi) / CYCLE * 4094).astype(np.int16),
        CYCLE / 4094,
        -math.pi,
        "rad",
        CYCLE / 4094,
    ),
    "milliradian": lambda p: (np.rint(p * 1000).astype(np.int16), 1, 0, None, 1e-3),
}


def radians(stored, slope, intercept, **given_units):
    units = recognise_units(stored, slope, intercept, **given_units)
    return to_radians(stored, slope, intercept, units), units


def difference(a, b):
    return np.abs(np.angle(np.exp(1j * (a.astype(float) - b))))


@pytest.mark.parametrize("name", ENCODINGS)
def test_vendors_give_the_same_radians(name):
    stored, slope, intercept, units, step = ENCODINGS[name](WRAPPED)
    got, recognised = radians(stored, slope, intercept, units=units)
    assert got.dtype == np.float32
    assert difference(got, WRAPPED).max() <= step * 1.01 + 1e-6
    assert not recognised.use_stored


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-math.pi, math.pi), min_size=1, max_size=20),
    st.sampled_from(sorted(ENCODINGS)),
)
def test_any_covered_cycle_is_recognised(values, name):
    ends = np.array([-3.14, 3.14, -1e-3, 1e-3])
    phase = np.append(ends, np.clip(values, -3.14, 3.14))
    stored, slope, intercept, units, step = ENCODINGS[name](phase)
    got, _ = radians(stored, slope, intercept, units=units)
    assert difference(got, phase).max() <= step * 1.01 + 1e-6


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4095), max_size=20), st.randoms(use_true_random=False))
def test_the_unit_depends_only_on_the_range(values, random):
    stored = np.array([0, 4095, *values])
    shuffled = stored.tolist()
    random.shuffle(shuffled)
    assert recognise_units(np.array(shuffled)) == recognise_units(np.array([0, 4095]))


@pytest.mark.parametrize(("slope", "intercept"), [(0.5, 0), (2, -4096), (1, 7)])
def test_wrong_slope_is_ignored_with_a_warning(slope, intercept):
    got, units = radians(WRAPPED, slope, intercept, units="rad")
    np.testing.assert_allclose(got, WRAPPED, atol=1e-6)
    assert units.use_stored
    assert f"scl_slope {slope:g}" in units.warning


SIEMENS = levels(WRAPPED + math.pi)
PHILIPS = np.rint((WRAPPED + math.pi) / CYCLE * 4095).astype(np.int16)

# observed output of scanners and converters: stored values, slope, intercept, Units
SPOILED = {
    "siemens, slope and intercept lost": (SIEMENS, 1, 0, None),
    "siemens, intercept lost": (SIEMENS, 2, 0, None),
    "siemens, slope lost": (SIEMENS, 1, -4096, None),
    "siemens, scaled twice": (SIEMENS, 4, -12288, None),
    "siemens, intercept lost in a float file": (2.0 * SIEMENS, 1, 0, "arbitrary"),
    "centred 12-bit": (SIEMENS.astype(np.int16) - 2048, 1, 0, None),
    "wrong slope called rad": (SIEMENS, 0.1, 0, "rad"),
    "philips, precise": (PHILIPS, CYCLE / 4095, -math.pi, None),
    "philips, displayed": (PHILIPS, 6284 / 4095, -3142, None),
    "philips, displayed but called rad": (PHILIPS, 6284 / 4095, -3142, "rad"),
    "philips, intercept lost": (PHILIPS, 6284 / 4095, 0, "mrad"),
    "philips, slope and intercept lost": (PHILIPS, 1, 0, "rad"),
    "philips, slope lost": (PHILIPS, 1, -math.pi, "rad"),
    "philips, slope of the display and intercept in rad": (PHILIPS, 6284 / 4095, -math.pi, "rad"),
    "philips, rad scaled again": (WRAPPED.astype(np.float32), CYCLE / 4095, -math.pi, None),
    "philips, mrad scaled again": (1000 * WRAPPED, CYCLE / 4095, -math.pi, "rad"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_wrong_scaling_changes_the_phase_by_a_constant_at_most(name):
    stored, slope, intercept, units = SPOILED[name]
    got, _ = radians(stored, slope, intercept, units=units)
    turn = np.exp(1j * (got.astype(float) - WRAPPED))
    # a constant phase does not change the conductivity; 0.1 % is between 4095 and 4096 levels
    assert np.abs(np.angle(turn * np.conj(turn.mean()))).max() < 1e-3 * CYCLE


@pytest.mark.parametrize("name", ["siemens, slope lost", "wrong slope called rad"])
def test_ignored_scaling_gives_a_warning(name):
    stored, slope, intercept, units = SPOILED[name]
    recognised = recognise_units(stored, slope, intercept, units=units)
    assert recognised.use_stored
    assert f"ignored scl_slope {slope:g}" in recognised.warning


def test_a_negative_slope_is_not_ignored():
    with pytest.raises(PhaseUnitsError, match="no known unit has this range"):
        recognise_units(SIEMENS, -0.1, 0)


@pytest.mark.parametrize(
    ("low", "high"), [(-1, 1), (0, 2000), (-1500, 1500), (0, 65535), (-10, 10), (0, 0)]
)
@pytest.mark.parametrize("units", [None, "arbitrary"])
def test_unknown_range_raises_an_error(low, high, units):
    with pytest.raises(PhaseUnitsError, match="no known unit has this range"):
        recognise_units(np.linspace(low, high, 9), units=units)


def test_arbitrary_values_declared_as_rad_raise_an_error():
    with pytest.raises(PhaseUnitsError, match="no known unit has this range"):
        recognise_units(np.array([0, 2000]), units="rad")


@pytest.mark.parametrize(("units", "factor"), [("rad", 1), ("mrad", 1e-3)])
def test_narrow_range_with_units_is_kept(units, factor):
    stored = np.linspace(-0.3, 0.4, 9)
    got, recognised = radians(stored, 1, 0, units=units)
    np.testing.assert_allclose(got, stored * factor, rtol=1e-6)
    assert recognised.warning is None


def test_an_unwrapped_phase_is_kept():
    stored = np.linspace(-20, 30, 99)
    got, units = radians(stored, 1, 0, units="rad")
    np.testing.assert_allclose(got, stored, rtol=1e-6)
    assert units.warning is None


def test_a_covered_cycle_of_radians_overrides_units():
    got, recognised = radians(WRAPPED, 1, 0, units="mrad")
    np.testing.assert_allclose(got, WRAPPED, rtol=1e-6)
    assert "'mrad'" in recognised.warning
    assert radians(WRAPPED, 1, 0)[1].warning is None


@pytest.mark.parametrize("units", [None, "deg", "rad"])
@pytest.mark.parametrize("start", [-180, 0])
def test_degrees_are_recognised(units, start):
    stored = np.linspace(start, start + 360, 721)
    got, recognised = radians(stored, 1, 0, units=units)
    np.testing.assert_allclose(got, np.radians(stored), rtol=1e-6)
    assert (recognised.warning is None) == (units != "rad")


@pytest.mark.parametrize("name", ["rad, no units", "unsigned 12-bit", "siemens", "milliradian"])
def test_a_few_overshooting_voxels_do_not_change_the_unit(name):
    stored, slope, intercept, units, step = ENCODINGS[name](np.tile(WRAPPED, 3))
    stored = stored.astype(float)
    stored[0, 0, 0] = 1.2 * stored.max()
    got, _ = radians(stored, slope, intercept, units=units)
    error = difference(got, np.tile(WRAPPED, 3)).ravel()[1:]
    assert error.max() <= step * 1.01 + 1e-6


@pytest.mark.parametrize("units", ["rad", "mrad"])
def test_vendor_range_overrides_a_contradicting_sidecar(units):
    got, recognised = radians(np.array([-4096, 2048, 4094]), 1, 0, units=units)
    assert got[1] == pytest.approx(math.pi / 2)
    assert units in recognised.warning


@pytest.mark.parametrize(
    ("phase_units", "factor"),
    [("rad", 1), ("mrad", 1e-3), (360.0, math.pi / 180), (4096.0, CYCLE / 4096)],
)
def test_the_unit_chosen_by_the_user_is_applied(phase_units, factor):
    stored = np.array([0, 1, 100], dtype=np.uint8)
    got, _ = radians(stored, 2, -10, units="arbitrary", phase_units=phase_units)
    np.testing.assert_allclose(got, factor * np.array([-10, -8, 190]), rtol=1e-6)


def test_a_negative_slope_reverses_the_phase():
    got, _ = radians(np.array([0, 1024, 4095], dtype=np.uint16), -2, 4096)
    assert got[1] == pytest.approx(math.pi / 2)


def test_values_that_are_not_finite_are_ignored():
    stored = np.array([np.nan, -np.inf, 0, 4095, np.inf])
    assert recognise_units(stored) == recognise_units(np.array([0, 4095]))


def test_no_finite_value_raises_an_error():
    with pytest.raises(PhaseUnitsError, match="no finite value"):
        recognise_units(np.full(3, np.nan))


def test_a_value_range_that_contradicts_the_chosen_unit_causes_a_warning():
    milliradian = np.array([-3141, 0, 3142], np.int16)
    assert recognise_units(milliradian, phase_units="mrad").warning is None
    assert "looks like milliradian" in recognise_units(milliradian, phase_units="rad").warning
    # an unknown range neither confirms nor contradicts the user's unit
    assert recognise_units(np.array([0.0, 40.0]), phase_units=80.0).warning is None
