import numpy as np
import pytest
from scipy import ndimage

from bids_qcm.checks.values import (
    check_cycle,
    check_distinct,
    check_magnitude,
    check_parts,
    check_rounding,
    check_wraps,
)
from bids_qcm.phase import signal_mask

RNG = np.random.default_rng(0)


def problems(findings):
    return [finding.problem for finding in findings]


def test_a_magnitude_is_accepted(head):
    assert check_magnitude(head.magnitude[0], 0) == []


@pytest.mark.parametrize("order", [3, 5])
@pytest.mark.parametrize("skull_stripped", [False, True])
def test_undershoot_of_an_interpolation_is_accepted(head, order, skull_stripped):
    magnitude = head.magnitude[0] * (head.mask if skull_stripped else 1)
    interpolated = ndimage.zoom(magnitude, 1.7, order=order)
    assert interpolated.min() < 0
    assert check_magnitude(interpolated, 0) == []


def test_a_real_part_is_not_accepted_as_a_magnitude(head):
    (finding,) = check_magnitude(head.magnitude[0] * np.cos(head.phase[0]), 0)
    assert finding.fatal
    assert "negative" in finding.problem


@pytest.mark.parametrize("bright", [0.9, 0.99, 0.999])
def test_an_integer_overflow_is_detected(head, bright):
    """If unsigned integers are read as signed integers, large values become negative."""
    magnitude = head.magnitude[0]
    scaled = magnitude / np.quantile(magnitude, bright) * 32767
    overflown = np.clip(scaled, 0, 65535).astype(np.uint16).view(np.int16)
    (finding,) = check_magnitude(overflown.astype(np.float32), 2)
    assert finding.fatal
    assert (finding.echo, finding.part) == (2, 0)
    assert "negative" in finding.problem


def test_a_magnitude_without_background_is_accepted():
    """If the whole field of view is inside an object, the value range is small."""
    assert check_magnitude(RNG.normal(100, 1, (20, 20, 20)), 0) == []


def test_a_noisy_magnitude_is_accepted():
    body = np.zeros((40, 40, 40))
    body[10:30, 10:30, 10:30] = 6
    parts = RNG.normal(size=(2, *body.shape))
    assert check_magnitude(np.hypot(body + parts[0], parts[1]), 0) == []


@pytest.mark.parametrize("scale", [1, 4096 / (2 * np.pi)])
@pytest.mark.parametrize("offset", [0, np.pi])
def test_a_phase_is_not_accepted_as_a_magnitude(head, scale, offset):
    (finding,) = check_magnitude(((head.phase[0] + offset) * scale).astype(np.float32), 0)
    assert finding.fatal


def parts(head):
    signal = head.magnitude[0] * np.exp(1j * head.phase[0])
    return signal.real.astype(np.float32), signal.imag.astype(np.float32)


def test_real_and_imaginary_parts_are_accepted(head):
    assert check_parts(*parts(head), 0) == []


def test_a_lost_intercept_is_detected(head):
    real, imaginary = parts(head)
    shift = head.magnitude[0].max()
    found = check_parts(real + shift, imaginary, 1)
    assert [(finding.echo, finding.part, finding.fatal) for finding in found] == [(1, 0, True)]
    assert len(check_parts(real + shift, imaginary + shift, 0)) == 2


@pytest.mark.parametrize("factor", [0.5, 2])
def test_differently_scaled_parts_are_detected(head, factor):
    real, imaginary = parts(head)
    (finding,) = check_parts(real, factor * imaginary, 0)
    assert finding.fatal
    assert "scaled differently" in finding.problem


def test_images_must_differ(head):
    pair = (head.magnitude[0], head.phase[0])
    assert check_distinct([pair, (2 * pair[0], 2 * pair[1])]) == []
    assert problems(check_distinct([pair, (pair[0], 2 * pair[1])])) == [
        "has the same values as the image of echo 1"
    ]
    (finding,) = check_distinct([(pair[0], pair[0])])
    assert (finding.part, finding.problem) == (
        1,
        "has the same values as the other part of the same echo",
    )


@pytest.fixture
def cycle(head):
    def cycle(factor, masked=False, **options):
        magnitude, phase = head.magnitude[0], factor * head.phase[0]
        mask = signal_mask(magnitude, head.phase[0])
        if masked:
            phase = np.where(mask, phase, 0)
        return check_cycle(phase.astype(np.float32), magnitude, mask, 0, **options)

    return cycle


def test_noise_that_covers_a_cycle_is_accepted(cycle):
    assert cycle(1) == []


@pytest.mark.parametrize(
    ("factor", "fatal"), [(0.5, False), (1 / np.pi, True), (1e-3, True), (0.9, True), (2, True)]
)
def test_noise_that_covers_another_range_is_detected(cycle, factor, fatal):
    (finding,) = cycle(factor)
    assert finding.fatal == fatal
    assert f"{factor:.2g} of a cycle" in finding.problem
    assert "noise outside the body" in finding.problem
    assert "--phase-units" in finding.remedy


def test_half_a_cycle_is_accepted_for_a_transmit_phase(cycle):
    assert cycle(0.5, may_be_half=True) == []
    assert cycle(0.7, may_be_half=True) != []


def test_a_masked_phase_without_wraps_has_no_finding(cycle):
    assert cycle(0.5, masked=True) == []


def wrapped_ball(factor, curvature=0.05):
    """Return a phase that wraps inside a ball and was deleted outside the ball."""
    grid = np.stack(np.indices((40, 40, 40))) - 19.5
    r2 = (grid**2).sum(axis=0)
    ball = r2 < 18**2
    phase = np.angle(np.exp(1j * curvature * r2)) * factor
    magnitude = np.where(ball, 100 + RNG.normal(0, 1, ball.shape), 0)
    return np.where(ball, phase, 0), magnitude, ball


@pytest.mark.parametrize("factor", [0.5, 0.3])
def test_steps_show_the_size_of_the_wrap(factor):
    (finding,) = check_cycle(*wrapped_ball(factor), 0)
    assert "jumps by this amount" in finding.problem
    assert f"{factor:.2g} of a cycle" in finding.problem


def test_wraps_of_one_cycle_are_accepted():
    assert check_cycle(*wrapped_ball(1.0), 0) == []


def test_wraps_of_a_few_voxels_are_accepted():
    """Most of the phase covers half a cycle, and only a few voxels wrap."""
    grid = np.stack(np.indices((40, 40, 40))) - 19.5
    r2 = (grid**2).sum(axis=0)
    ball = r2 < 18**2
    phase = np.angle(np.exp(1j * np.where(r2 < 3**2, 3 + 0.05 * r2, -1.5 + 0.005 * r2)))
    magnitude = np.where(ball, 100.0, 0)
    assert check_cycle(np.where(ball, phase, 0), magnitude, ball, 0) == []


def test_an_unwrapped_phase_is_accepted():
    grid = np.stack(np.indices((40, 40, 40))) - 19.5
    r2 = (grid**2).sum(axis=0)
    _, magnitude, ball = wrapped_ball(1.0)
    assert check_cycle(np.where(ball, 0.05 * r2, 0), magnitude, ball, 0) == []


def test_steps_of_a_noisy_edge_are_not_wraps():
    """At the edge of a body without background, steps of all sizes occur."""
    phase, magnitude, ball = wrapped_ball(0.3)
    grid = np.stack(np.indices(ball.shape)) - 19.5
    edge = ball & ((grid**2).sum(axis=0) > 16**2)
    phase = np.where(edge, RNG.uniform(-0.8, 0.8, ball.shape), 0)
    assert check_cycle(phase, magnitude, ball, 0) == []


@pytest.mark.parametrize("decimals", [0, 1])
def test_only_a_phase_of_few_values_is_refused(decimals):
    phase, _, ball = wrapped_ball(1.0)
    found = check_rounding(np.round(phase, decimals), ball, 0)
    if decimals:
        assert found == []
    else:
        (finding,) = found
        assert finding.fatal
        assert "in steps of 1 rad" in finding.problem


def test_wraps_as_they_were_acquired_are_accepted():
    phase, _, ball = wrapped_ball(1.0)
    assert check_wraps(phase, ball, 0) == []
    # interpolation of the complex image keeps the wraps
    parts = [ndimage.rotate(part(phase), 6, reshape=False, order=1) for part in (np.sin, np.cos)]
    assert check_wraps(np.arctan2(*parts), ball, 0) == []


def test_a_steep_unwrapped_phase_is_accepted():
    """A dipole next to air, in a phase that was unwrapped before."""
    grid = np.stack(np.indices((40, 40, 40))) - 19.5
    distance = np.linalg.norm(grid, axis=0)
    phase = 0.02 * distance**2 + 1500 * (3 * grid[2] ** 2 - distance**2) / distance**5
    assert check_wraps(phase, (distance > 4) & (distance < 18), 0) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda phase: ndimage.rotate(phase, 6, reshape=False, order=1),
        lambda phase: ndimage.rotate(phase, 6, reshape=False, order=3),
        lambda phase: ndimage.gaussian_filter(phase, 0.6),
    ],
)
def test_an_interpolated_or_smoothed_phase_is_refused(change):
    phase, _, ball = wrapped_ball(1.0, curvature=0.015)
    (finding,) = check_wraps(change(phase), ball, 0)
    assert finding.fatal
    assert "was interpolated or smoothed" in finding.problem
