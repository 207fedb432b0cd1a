"""Checks of consistent images, and of images that are correct but do not belong together."""

import numpy as np
import pytest
from scipy import ndimage

from bids_qcm.checks.pairs import incoherent_fraction
from bids_qcm.checks.slices import check_offsets, slice_offset
from bids_qcm.phantom.parameters import PhantomParameters
from bids_qcm.phase.unwrapping import wrap

TIMES = (0.004, 0.009, 0.016)
F = 127.74e6


def fatal(found):
    return [finding for finding in found.findings if finding.fatal]


GOOD = {
    "spin echo, SNR 16": {"snr": 16},
    "spin echo, SNR 50": {},
    "spin echo, SNR 150": {"snr": 150},
    "1.5 T": {"field_strength": 1.5, "snr": 16},
    "7 T": {"field_strength": 7, "snr": 150},
    "3 mm": {"resolution": 3},
    "2 mm": {"resolution": 2, "snr": 16},
    "other sign": {"phase_sign": -1},
    "lesions": {"lesion": True, "small_lesions": True, "tissue_variation": 0.2, "snr": 150},
    "two echoes": {"echo_times": (0.0023, 0.0046), "snr": 16},
    "two late echoes": {"echo_times": (0.005, 0.02)},
    "three echoes": {"echo_times": TIMES, "snr": 16},
    "three echoes, SNR 150": {"echo_times": TIMES, "snr": 150},
    "six echoes, 7 T, far off resonance": {
        "echo_times": (0.003, 0.007, 0.011, 0.015, 0.019, 0.023),
        "field_strength": 7,
        "off_resonance": 100,
        "snr": 30,
    },
}


@pytest.mark.parametrize("name", GOOD)
def test_good_images_have_no_findings(evidence, make_phantom, name):
    options = {"resolution": 4, **GOOD[name]}
    head = make_phantom(PhantomParameters(**options))
    found = evidence(
        head.magnitude, head.phase, options.get("echo_times", (None,)), options["resolution"]
    )
    assert found.findings == ()
    assert found.snr == pytest.approx(options.get("snr", 50), rel=0.2)
    assert found.incoherent_fraction < 0.001
    assert all(misfit < 0.01 for misfit in found.echo_misfit)
    assert np.mean(found.signal[head.mask]) > 0.97


@pytest.mark.parametrize("axis", [1, 2])
def test_a_mirrored_phase_is_detected(head, evidence, axis):
    found = evidence(head.magnitude, [np.flip(head.phase[0], axis)])
    (finding,) = fatal(found)
    assert "does not belong to its magnitude" in finding.problem
    assert f"with the phase mirrored along axis {'ijk'[axis]}, only in 0.0%" in finding.problem


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shifted_phase_is_detected(head, evidence, axis):
    (finding,) = fatal(evidence(head.magnitude, [np.roll(head.phase[0], 2, axis)]))
    assert "does not belong to its magnitude" in finding.problem
    assert "mirrored" not in finding.problem


def test_only_the_phase_of_a_smaller_head_is_detected(head, evidence):
    """The other head has the same anatomy but is 12 % larger."""

    centre = np.array(head.phase[0].shape) / 2
    larger = ndimage.affine_transform(
        head.phase[0], np.eye(3) / 1.12, centre - centre / 1.12, order=0, mode="wrap"
    )
    smaller = ndimage.affine_transform(
        head.phase[0], np.eye(3) * 1.12, centre - centre * 1.12, order=0, mode="wrap"
    )
    assert fatal(evidence(head.magnitude, [smaller]))
    # the phase of a larger head is coherent wherever the magnitude has signal
    assert not fatal(evidence(head.magnitude, [larger]))


def test_neighbouring_slices_with_the_opposite_sign_are_detected(head, evidence):
    phase = head.phase[0].copy()
    phase[:, :, 25:31] *= -1
    (finding,) = fatal(evidence(head.magnitude, [phase]))
    assert "along axis k between slices (counted from 0) 24 and 25 " in finding.problem
    assert "30 and 31 " in finding.problem
    assert "opposite sign" in finding.problem


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("constant", [0.3, 1.5, 2.5])
def test_slices_with_different_constants_are_detected(head, evidence, axis, constant):
    phase = head.phase[0].copy()
    np.moveaxis(phase, axis, 0)[25:31] += constant
    in_plane = [other for other in range(3) if other != axis]
    (finding,) = fatal(evidence(head.magnitude, [phase]))
    assert f"24 and 25 ({constant:+.2f} rad)" in finding.problem
    assert f"30 and 31 ({-constant:+.2f} rad)" in finding.problem
    assert f"(--in-plane {'ijk'[axis]})" in finding.remedy
    assert fatal(evidence(head.magnitude, [phase], axes=in_plane)) == []


def test_random_constants_of_all_slices_are_detected(head, evidence):
    constants = np.random.default_rng(0).uniform(-np.pi, np.pi, head.phase[0].shape[2])
    found = fatal(evidence(head.magnitude, [wrap(head.phase[0] + constants)]))
    assert "more pairs" in found[0].problem


def with_offsets(head, sd):
    offsets = sd * np.random.default_rng(0).standard_normal(head.phase[0].shape[2])
    return [wrap(phase + offsets) for phase in head.phase]


def test_random_constants_are_accepted_for_in_plane_kernels(head, evidence):
    found = evidence(
        head.magnitude, with_offsets(head, 2.0), axes=(0, 1), slice_axis=2, frequency=F
    )
    assert found.findings == ()
    assert found.slice_offset is None


@pytest.mark.parametrize("sd", [0.005, 0.02])
def test_small_offsets_of_2d_slices_cause_a_warning(head, evidence, sd):
    found = evidence(head.magnitude, with_offsets(head, sd), slice_axis=2, frequency=F)
    assert found.slice_offset == pytest.approx(sd, rel=0.4)
    (finding,) = found.findings
    assert not finding.fatal
    assert f"with a standard deviation of {found.slice_offset:.2g} rad" in finding.problem
    assert "(--in-plane k)" in finding.remedy
    # a 3-D acquisition is not examined
    assert evidence(head.magnitude, with_offsets(head, sd), frequency=F).findings == ()


def test_a_2d_acquisition_without_offsets_has_no_findings(head, three_echoes, evidence):
    one = evidence(head.magnitude, head.phase, slice_axis=2, frequency=F)
    several = evidence(three_echoes.magnitude, three_echoes.phase, TIMES, slice_axis=2, frequency=F)
    for found in (one, several):
        assert found.findings == ()
        assert found.slice_offset < 0.002


def test_offsets_proportional_to_echo_time_are_removed_with_off_resonance(three_echoes, evidence):
    drift = 2 * np.random.default_rng(0).standard_normal(three_echoes.phase[0].shape[2])
    phases = [wrap(p + drift * t) for p, t in zip(three_echoes.phase, TIMES, strict=True)]
    found = evidence(three_echoes.magnitude, phases, TIMES, slice_axis=2, frequency=F)
    # at the first echo, the standard deviation of the drift is 0.008 rad
    assert found.slice_offset < 0.004


def test_offsets_of_few_slices_are_unknown():
    phase = np.zeros((9, 9, 4))
    assert np.isnan(slice_offset(np.exp(1j * phase), phase == 0, 2))
    assert check_offsets(np.nan, 2, (1, 1, 3), F, "transceive") == []


def changed(head, echo, change):
    return [change(p) if k == echo else p for k, p in enumerate(head.phase)]


@pytest.mark.parametrize(
    ("echo", "change"),
    [
        (1, np.negative),
        (2, np.negative),
        (1, lambda p: p / 2),
        (2, lambda p: p[:, ::-1]),
        (1, lambda p: p[:, :, ::-1]),
    ],
    ids=["second conjugated", "third conjugated", "second halved", "front to back", "upside down"],
)
def test_an_echo_of_another_acquisition_is_detected(three_echoes, evidence, echo, change):
    found = evidence(three_echoes.magnitude, changed(three_echoes, echo, change), TIMES)
    assert found.findings
    assert found.findings[0].echo == echo


def with_weak_third_echo(head, snr):
    """Return the magnitudes and phases of a head whose third echo has the given median SNR."""
    rng = np.random.default_rng(0)
    noise = np.median(head.magnitude[0][head.mask]) / 50
    amplitude = snr * noise / np.median(head.magnitude[2][head.mask])
    signal = amplitude * head.magnitude[2] * np.exp(1j * head.phase[2])
    signal += noise * (rng.normal(size=signal.shape) + 1j * rng.normal(size=signal.shape))
    return [*head.magnitude[:2], np.abs(signal)], [*head.phase[:2], np.angle(signal)]


@pytest.mark.parametrize("snr", [1, 2, 4, 6, 10])
def test_a_weak_late_echo_is_accepted(three_echoes, evidence, snr):
    assert evidence(*with_weak_third_echo(three_echoes, snr), TIMES).findings == ()


@pytest.mark.parametrize("snr", [3, 6, 10])
def test_a_weak_late_echo_that_is_wrong(three_echoes, evidence, snr):
    magnitude, phase = with_weak_third_echo(three_echoes, snr)
    phase[2] = -phase[2]
    found = evidence(magnitude, phase, TIMES).findings
    assert any("is inconsistent with the other echoes" in finding.problem for finding in found)


@pytest.mark.parametrize(
    "times", [(0.009, 0.004, 0.016), (0.004, 0.016, 0.009), (0.004, 0.009, 0.03)]
)
def test_wrong_echo_times_are_detected(three_echoes, evidence, times):
    found = evidence(three_echoes.magnitude, three_echoes.phase, times)
    assert any("EchoTime" in finding.remedy for finding in found.findings)


def test_the_opposite_sign_of_one_of_two_echoes_is_detected(two_echoes, evidence):
    times = (0.004, 0.009)
    found = evidence(two_echoes.magnitude, changed(two_echoes, 1, np.negative), times)
    (finding,) = fatal(found)
    assert "opposite sign" in finding.problem


@pytest.mark.parametrize("echo", [0, 1])
def test_a_halved_phase_of_one_of_two_echoes_is_detected(two_echoes, evidence, echo):
    halved = changed(two_echoes, echo, lambda p: p / 2)
    found = evidence(two_echoes.magnitude, halved, (0.004, 0.009))
    assert any("of a cycle" in finding.problem for finding in found.findings)
    assert any("phase curvature" in finding.problem for finding in found.findings)


def test_swapped_echo_times_of_two_echoes_cause_a_warning(two_echoes, evidence):
    (finding,) = evidence(two_echoes.magnitude, two_echoes.phase, (0.009, 0.004)).findings
    assert "brighter than the previous echo" in finding.problem
    assert not finding.fatal


def test_pure_noise_is_refused(evidence):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(20, 20, 20)) + 1j * rng.normal(size=(20, 20, 20))
    with pytest.raises(ValueError, match="signal-to-noise"):
        evidence([np.abs(noise)], [np.angle(noise)])


def test_isolated_bright_voxels_are_not_incoherent(head):
    """Bias correction can leave single voxels of strong signal at the edge of a head."""
    air = np.zeros(head.mask.shape, bool)
    air[1:4:2, 1:-1:3, 1:-1:3] = True
    magnitude = np.where(air, head.magnitude[0].max(), head.magnitude[0])
    everywhere = np.ones(air.shape, bool)
    assert incoherent_fraction(magnitude, head.phase[0], everywhere) < 0.001


def test_tissues_with_opposite_signs_are_recognised(head, evidence):
    """After an inversion pulse, tissues with a long T1 still have negative magnetisation."""
    inverted = head.labels == 1
    phase = wrap(head.phase[0] + np.pi * inverted)
    (finding,) = fatal(evidence(head.magnitude, [phase]))
    assert "jumps by half a cycle" in finding.problem
