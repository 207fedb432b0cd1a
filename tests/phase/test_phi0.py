import numpy as np
import pytest

from bids_qcm.phase import compute_phi0
from bids_qcm.phase.unwrapping import wrap

X, Y, Z = np.mgrid[:20, :19, :18].astype(float)
R2 = (X - 10) ** 2 + (Y - 9) ** 2 + (Z - 9) ** 2
HEAD = R2 < 60
MAGNITUDE = np.where(HEAD, 500, 3).astype(np.float32)
PHI0 = 0.12 * R2
OMEGA = 60 * (Y - 9)
TIMES = [0.004, 0.009, 0.013]
PHASES = [wrap(PHI0 + OMEGA * t).astype(np.float32) for t in TIMES]
SINGLE = wrap(PHI0).astype(np.float32)


def assert_phi0(result, truth=PHI0, mask=HEAD, atol=1e-3):
    np.testing.assert_array_equal(result.mask, mask)
    assert result.phase.dtype == np.float32
    assert not result.phase[~mask].any()
    cycles = (result.phase - truth)[mask] / (2 * np.pi)
    np.testing.assert_allclose(cycles, np.round(cycles[0]), atol=atol)


def test_the_phase_of_a_single_echo_is_phi0():
    result = compute_phi0([MAGNITUDE], [SINGLE])
    assert_phi0(result)
    np.testing.assert_array_equal(result.magnitude, MAGNITUDE)
    assert result.axes_flipped == ()
    assert result.alternation is None
    assert result.echo_misfit == ()


def test_phi0_is_extrapolated_from_several_echoes():
    result = compute_phi0([MAGNITUDE] * 3, PHASES, TIMES)
    # an extra cycle in the initial slope adds a constant that is not a whole number of cycles
    constant = (result.phase - PHI0)[HEAD][0]
    assert_phi0(result, PHI0 + constant)
    np.testing.assert_allclose(result.magnitude, np.sqrt(3) * MAGNITUDE, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.uint16, np.int16, np.int32])
def test_any_magnitude_dtype_is_accepted(dtype):
    # the squares of these magnitudes overflow 16-bit and 32-bit integers
    magnitude = (MAGNITUDE * 60).astype(dtype)
    assert_phi0(compute_phi0([magnitude], [SINGLE.astype(np.float64)]))
    result = compute_phi0([magnitude] * 3, PHASES, TIMES)
    np.testing.assert_array_equal(result.mask, HEAD)
    assert result.magnitude.dtype == np.float32
    assert result.magnitude.max() == pytest.approx(np.sqrt(3) * 30000)


def test_unwrapped_phase_and_voxels_in_air_do_not_change_phi0():
    wrapped = compute_phi0([MAGNITUDE], [SINGLE]).phase
    unwrapped = PHI0.astype(np.float32)
    unwrapped[0, 0, :5] = 400
    np.testing.assert_allclose(compute_phi0([MAGNITUDE], [unwrapped]).phase, wrapped, atol=1e-5)


def test_alternating_slices_are_corrected():
    phases = [p + np.pi * (Z % 2) for p in PHASES]
    result = compute_phi0([MAGNITUDE] * 3, phases, TIMES)
    assert result.axes_flipped == (2,)
    assert_phi0(result, PHI0 + (result.phase - PHI0)[HEAD][0])


def test_alternating_slices_of_an_unwrapped_phase_are_corrected():
    result = compute_phi0([MAGNITUDE], [PHI0 + np.pi * (Z % 2)])
    assert result.axes_flipped == (2,)
    assert_phi0(result)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("part", ["magnitude", "phase"])
@pytest.mark.parametrize("n_echoes", [1, 3])
@pytest.mark.filterwarnings("error")
def test_voxels_that_are_not_finite_are_left_out(value, part, n_echoes):
    magnitudes = [MAGNITUDE.copy() for _ in range(n_echoes)]
    phases = [SINGLE.copy()] if n_echoes == 1 else [p.copy() for p in PHASES]
    {"magnitude": magnitudes, "phase": phases}[part][-1][10, 9, 8:10] = value
    mask = HEAD.copy()
    mask[10, 9, 8:10] = False
    result = compute_phi0(magnitudes, phases, TIMES[:n_echoes], mask=HEAD)
    assert_phi0(result, PHI0 + (result.phase - PHI0)[mask][0], mask)


@pytest.mark.parametrize(("lost", "determined"), [((0,), False), ((1, 2), False), ((2,), True)])
def test_voxels_without_signal_in_the_two_earliest_echoes_are_left_out(lost, determined):
    magnitudes = [MAGNITUDE.copy() for _ in TIMES]
    for k in lost:
        magnitudes[k][10, 9, 9] = 0
    mask = HEAD.copy()
    mask[10, 9, 9] = determined
    result = compute_phi0(magnitudes, PHASES, TIMES)
    assert_phi0(result, PHI0 + (result.phase - PHI0)[mask][0], mask)


def test_user_defined_mask_is_used():
    mask = R2 < 30
    assert_phi0(compute_phi0([MAGNITUDE], [SINGLE], mask=mask), mask=mask)


def test_mask_without_signal_is_refused():
    with pytest.raises(ValueError, match="no voxel with signal"):
        compute_phi0([np.where(HEAD, MAGNITUDE, 0)], [SINGLE], mask=~HEAD)


def test_numbers_of_phases_and_magnitudes_must_agree():
    with pytest.raises(ValueError, match="zip"):
        compute_phi0([MAGNITUDE] * 2, PHASES, TIMES)


def test_echo_times_are_needed_for_several_echoes():
    with pytest.raises(ValueError, match="echo times"):
        compute_phi0([MAGNITUDE] * 3, PHASES)


@pytest.mark.parametrize("n_echoes", [1, 3])
def test_voxels_with_deleted_phase_are_left_out(n_echoes):
    """The phase image may have been masked with a smaller mask than the magnitude image."""
    phases = [SINGLE.copy()] if n_echoes == 1 else [p.copy() for p in PHASES]
    deleted = X < 8
    phases[-1][deleted] = 0
    result = compute_phi0([MAGNITUDE] * n_echoes, phases, TIMES, mask=HEAD)
    assert not (result.mask & deleted).any()
    expected = (HEAD & deleted).sum() / HEAD.sum()
    assert result.blank_fraction == pytest.approx(expected, abs=0.005)
    constant = (result.phase - PHI0)[result.mask][0]
    assert_phi0(result, PHI0 + constant, HEAD & ~deleted)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("slope", "constant"), [(0.05, 0.5), (0.5, 2.0)])
def test_two_bipolar_echoes_change_phi0_only_by_a_constant_and_linear_phase(axis, slope, constant):
    ramp = slope * (X, Y, Z)[axis] + constant
    phases = [wrap(PHASES[0] + ramp), wrap(PHASES[1] - ramp)]
    result = compute_phi0([MAGNITUDE] * 2, phases, TIMES[:2])
    assert result.alternation is None
    columns = np.column_stack([np.ones(HEAD.sum()), *np.nonzero(HEAD)])
    difference = (result.phase - PHI0)[HEAD]
    plane, *_ = np.linalg.lstsq(columns, difference, rcond=None)
    np.testing.assert_allclose(difference, columns @ plane, atol=1e-3)


@pytest.mark.parametrize("numbers", [[1, 2, 4, 5], [2, 3, 4], [1, 3, 5], [2, 3, 5, 6]])
def test_the_polarity_follows_from_the_echo_numbers(numbers):
    times = [0.003 * number for number in numbers]
    ramp = 0.2 * X + 0.7
    phases = [
        wrap(PHI0 + OMEGA * time + (-1) ** number * ramp)
        for number, time in zip(numbers, times, strict=True)
    ]
    result = compute_phi0([MAGNITUDE] * len(numbers), phases, times, echo_numbers=numbers)
    assert max(result.echo_misfit) < 1e-3
    if numbers == [1, 3, 5]:
        assert result.alternation is None
    else:
        assert result.alternation.gradient == pytest.approx((0.4, 0, 0), abs=1e-4)
    columns = np.column_stack([np.ones(HEAD.sum()), *np.nonzero(HEAD)])
    difference = (result.phase - PHI0)[HEAD]
    plane, *_ = np.linalg.lstsq(columns, difference, rcond=None)
    np.testing.assert_allclose(difference, columns @ plane, atol=1e-3)


@pytest.mark.parametrize("n_echoes", [1, 3])
def test_the_in_plane_phase_is_correct_in_slices_with_random_offsets(n_echoes):
    rng = np.random.default_rng(0)
    offsets = rng.uniform(-np.pi, np.pi, (n_echoes, HEAD.shape[2]))
    phases = [wrap(phase + one) for phase, one in zip([SINGLE, *PHASES[1:]], offsets, strict=False)]
    times = [0.0, *TIMES[1:]][:n_echoes]
    found = compute_phi0([MAGNITUDE] * n_echoes, phases, times, mask=HEAD, axes=(0, 1))
    assert found.axes_flipped == ()
    for k in np.flatnonzero(HEAD.any(axis=(0, 1))):
        difference = (found.phase - PHI0)[:, :, k][found.mask[:, :, k]]
        np.testing.assert_allclose(difference, np.median(difference), atol=2e-3)


def test_off_resonance_that_varies_across_slices_does_not_bend_the_echoes_of_in_plane_maps():
    """The angle of the mean signal of a slice is not linear in echo time."""
    off_resonance = 2 * np.pi * 150 * np.exp(-((X - 6) ** 2 + (Y - 9) ** 2 + (Z - 5) ** 2) / 30)
    times = [0.004, 0.009, 0.014, 0.019, 0.024]
    phases = [wrap(PHI0 + off_resonance * time) for time in times]
    along_all, in_plane = (
        compute_phi0([MAGNITUDE] * 5, phases, times, mask=HEAD, axes=axes)
        for axes in [(0, 1, 2), (0, 1)]
    )
    assert in_plane.alternation is None
    np.testing.assert_allclose(in_plane.echo_misfit, along_all.echo_misfit, atol=1e-4)
