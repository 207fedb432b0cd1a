"""Checks of all images of an acquisition."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.checks.echoes import (
    check_curvature,
    check_decay,
    check_misfit,
)
from bids_qcm.checks.findings import Finding
from bids_qcm.checks.flatness import check_flatness
from bids_qcm.checks.pairs import check_coherence
from bids_qcm.checks.singularities import check_singularities
from bids_qcm.checks.slices import check_offsets, check_slices, slice_offset
from bids_qcm.checks.values import (
    check_cycle,
    check_distinct,
    check_magnitude,
    check_parts,
    check_rounding,
    check_wraps,
)
from bids_qcm.phase.echoes import EchoLines, fit_echo_lines
from bids_qcm.phase.masking import LEAST_SNR, NoiseFloor, Signal, find_signal
from bids_qcm.phase.phi0 import EchoSeries, complex_echoes, complex_signal
from bids_qcm.phase.slices import flip_alternate_slices
from bids_qcm.physics import PhaseType

_ALL_AXES = (0, 1, 2)

# Minimum fraction of the voxels with signal in which an echo must be above the noise to be checked
# for phase jumps. In a few noisy voxels, noise looks like a jump.
_LEAST_CLEAR = 0.5

Pair = tuple[NDArray[np.floating], NDArray[np.floating]]


@dataclass(frozen=True)
class ImageEvidence:
    """Quality measures and findings for the images of an acquisition.

    Attributes
    ----------
    signal : ndarray of bool, shape (X, Y, Z)
        Voxels with an SNR above 5 in the first echo.
    snr : float
        Median signal-to-noise ratio of the first echo over `signal`.
    incoherent_fraction : float
        Maximum over all echoes; see :func:`bids_qcm.checks.pairs.incoherent_fraction`.
    echo_misfit : tuple of float
        Deviation of each echo from the linear fit over echo time, in rad; empty for fewer than
        three echoes.
    slice_offset : float or None
        Standard deviation of the phase offsets of slices in rad; None unless it was measured.
    findings : tuple of Finding
        Fatal findings first.
    """

    signal: NDArray[np.bool_]
    snr: float
    incoherent_fraction: float
    echo_misfit: tuple[float, ...]
    slice_offset: float | None
    findings: tuple[Finding, ...]


def check_roles(images: Sequence[Pair], *, cartesian: bool) -> list[Finding]:
    """Check that the values of each image match the part declared in its file name.

    Parameters
    ----------
    images : sequence of pairs of ndarray of float, shape (X, Y, Z)
        Both parts of each echo, as stored: magnitude and phase, or real and imaginary part.
    cartesian : bool
        Whether the parts are real and imaginary parts.

    Returns
    -------
    list of Finding
    """
    found = check_distinct(images)
    for echo, (first, second) in enumerate(images):
        found += check_parts(first, second, echo) if cartesian else check_magnitude(first, echo)
    return found


def check_acquisition(
    magnitudes: Sequence[NDArray[np.floating]],
    phases: Sequence[NDArray[np.floating]],
    echo_times: Sequence[float],
    voxel_size: Sequence[float],
    *,
    axes: Sequence[int] = _ALL_AXES,
    slice_axis: int | None = None,
    phase_type: PhaseType = "transceive",
    echo_numbers: Sequence[int] = (),
    frequency: float | None = None,
    signal: Signal | None = None,
) -> ImageEvidence:
    """Check that magnitude and phase, slices and echoes are consistent.

    Parameters
    ----------
    magnitudes, phases : sequences of ndarray of float, shape (X, Y, Z)
        One magnitude and one phase for each echo; phase in rad.
    echo_times : sequence of float
        Echo times in s; not needed for a single echo.
    voxel_size : sequence of 3 floats
        Voxel size in mm.
    axes : sequence of int
        Axes along which the kernels differentiate.
    slice_axis : int, optional
        Axis across the slices of a 2-D acquisition. If the kernels differentiate along this axis,
        the phase offsets of slices are measured.
    phase_type : {"transceive", "transmit"}
        A transmit phase may cover half a cycle only.
    echo_numbers : sequence of int
        See :func:`bids_qcm.phase.polarity.find_alternation`.
    frequency : float, optional
        Larmor frequency in Hz. It is needed to check the phase offsets of slices, and to check that
        the phase at echo time zero is not flat.
    signal : Signal, optional
        Result of :func:`bids_qcm.phase.masking.find_signal` for the first echo, if it is known.

    Returns
    -------
    ImageEvidence

    Raises
    ------
    ValueError
        If no voxel has signal.
    """
    pairs = list(zip(magnitudes, phases, strict=True))
    if signal is None:
        signal = find_signal(magnitudes[0], phases[0], axes)
    # the slices of a 2-D acquisition may differ by constants, which are not wraps
    within = [axis for axis in axes if axis != slice_axis]
    clear = [_above_noise(magnitude, signal.noise) for magnitude in magnitudes]
    findings = _check_values(pairs, signal.mask, clear, within, phase_type)
    wrong_values = {finding.echo for finding in findings if finding.fatal}
    series = complex_echoes(magnitudes, phases, echo_times, signal.mask, echo_numbers, axes)
    visible = [bool(np.mean(where[signal.mask]) > _LEAST_CLEAR) for where in clear]
    unaligned = compress(_unaligned(pairs, series, axes), visible)
    jumps = check_slices(list(unaligned), signal.mask, axes, slice_axis)
    coherent = [
        check_coherence(magnitude, phase, where, echo, axes)
        for echo, ((magnitude, phase), where) in enumerate(zip(pairs, clear, strict=True))
    ]
    # phase jumps and wrong values also cause incoherence, so report only the cause
    findings += jumps or [
        finding for _, found in coherent for finding in found if finding.echo not in wrong_values
    ]
    if not _has_fatal(findings):
        findings += check_singularities(magnitudes[0], phases[0], clear[0], within)
    misfit: tuple[float, ...] = ()
    at_zero = series.echoes[0]
    if len(pairs) > 1 and not _has_fatal(findings):
        lines = fit_echo_lines(series.echoes, echo_times, signal.mask)
        at_zero = lines.mask * np.exp(1j * lines.phase())
        misfit, of_echoes = _check_echoes(series, lines, echo_times, signal, voxel_size)
        findings += [*of_echoes, *check_decay(magnitudes, echo_times, signal.mask)]
    if frequency is not None and len(axes) == len(_ALL_AXES) and not _has_fatal(findings):
        findings += check_flatness(at_zero, signal.mask, voxel_size, frequency, phase_type)
    offset = None
    if slice_axis is not None and slice_axis in axes and frequency is not None and not jumps:
        offset = slice_offset(at_zero, signal.mask, slice_axis)
        findings += check_offsets(offset, slice_axis, voxel_size, frequency, phase_type)
    return ImageEvidence(
        signal=signal.mask,
        snr=_median_snr(magnitudes[0], signal),
        incoherent_fraction=max(fraction for fraction, _ in coherent),
        echo_misfit=misfit,
        slice_offset=offset,
        findings=tuple(sorted(findings, key=lambda finding: not finding.fatal)),
    )


def _check_values(
    pairs: Sequence[Pair],
    mask: NDArray[np.bool_],
    clear: Sequence[NDArray[np.bool_]],
    axes: Sequence[int],
    phase_type: PhaseType,
) -> list[Finding]:
    """Check the phase values of each echo, whose voxels above the noise are in `clear`."""
    may_be_half = phase_type == "transmit"
    findings: list[Finding] = []
    for echo, (magnitude, phase) in enumerate(pairs):
        # a rounded or interpolated phase does not show the size of a cycle
        findings += (
            check_rounding(phase, mask, echo)
            or check_wraps(phase, mask & clear[echo], echo, axes)
            or check_cycle(phase, magnitude, mask, echo, axes=axes, may_be_half=may_be_half)
        )
    return findings


def _has_fatal(findings: Sequence[Finding]) -> bool:
    return any(finding.fatal for finding in findings)


def _above_noise(magnitude: NDArray[np.floating], noise: NoiseFloor) -> NDArray[np.bool_]:
    """Return the voxels with a signal-to-noise ratio above 5, from averages over blocks.

    If single voxels were selected, noise would select voxels that are not adjacent to each other.
    """
    known = np.where(np.isfinite(magnitude), magnitude, 0)
    above: NDArray[np.bool_] = ndimage.uniform_filter(known, 3) > noise.threshold(LEAST_SNR)
    return above


def _unaligned(
    pairs: Sequence[Pair], series: EchoSeries, axes: Sequence[int]
) -> Sequence[NDArray[np.complexfloating]]:
    """Return the complex echoes before slices are aligned.

    The alignment of slices hides whether the sign of some slices is reversed.
    """
    if len(axes) == len(_ALL_AXES):
        return series.echoes
    return [flip_alternate_slices(complex_signal(*pair), series.axes_flipped) for pair in pairs]


def _check_echoes(
    series: EchoSeries,
    lines: EchoLines,
    echo_times: Sequence[float],
    signal: Signal,
    voxel_size: Sequence[float],
) -> tuple[tuple[float, ...], list[Finding]]:
    """Check that the phases of several echoes are consistent; return also the misfit.

    With three or more echoes, the misfit detects that an echo is wrong. The curvature then shows
    which echo is wrong.
    """
    if len(series.echoes) == 2:
        return (), check_curvature(series.echoes, signal.mask, voxel_size)
    misfit = lines.misfit()
    doubtful = check_misfit(misfit, lines.expected_misfit(signal.noise.sd), echo_times)
    if not doubtful:
        return misfit, []
    return misfit, [*check_curvature(series.echoes, signal.mask, voxel_size), *doubtful]


def _median_snr(magnitude: NDArray[np.floating], signal: Signal) -> float:
    if signal.noise.sd == 0:
        return float("inf")
    return float(np.median(magnitude[signal.mask]) / signal.noise.sd)
