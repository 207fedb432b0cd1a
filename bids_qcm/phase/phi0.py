"""Phase at echo time zero, computed from complex echoes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_qcm.phase.echoes import fit_echo_lines
from bids_qcm.phase.masking import blank_phase, signal_mask
from bids_qcm.phase.noise import acquired_frequencies, noise_level
from bids_qcm.phase.polarity import Alternation, find_alternation, remove_alternation
from bids_qcm.phase.slices import alternating_axes, flip_alternate_slices, slice_alignment
from bids_qcm.phase.unwrapping import unwrap


@dataclass(frozen=True)
class Phi0:
    """Phase at echo time zero, and the corrections that were applied to compute it.

    Attributes
    ----------
    phase : ndarray of float32, shape (X, Y, Z)
        Unwrapped phi0 in rad; 0 outside the mask.
    magnitude : ndarray of float32, shape (X, Y, Z)
        Root of the sum of squares over the echoes.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels with phi0.
    noise : ndarray of float32, shape (X, Y, Z)
        Standard deviation of the phase noise in rad; 0 outside the mask.
    magnitude_noise : float
        Standard deviation of the magnitude noise, in the unit of the magnitude.
    axes_flipped : tuple of int
        Axes along which pi was added to every second slice.
    alternation : Alternation or None
        Constant and linear phase that was removed from the even echoes.
    echo_misfit : tuple of float
        Deviation of each echo from the linear fit over echo time, in rad. Empty for one or two
        echoes, because a line fits them exactly.
    blank_fraction : float
        Fraction of the mask that was left out because the phase of an echo was deleted there.
    """

    phase: NDArray[np.float32]
    magnitude: NDArray[np.float32]
    mask: NDArray[np.bool_]
    noise: NDArray[np.float32]
    magnitude_noise: float
    axes_flipped: tuple[int, ...]
    alternation: Alternation | None
    echo_misfit: tuple[float, ...]
    blank_fraction: float


def compute_phi0(
    magnitudes: Sequence[NDArray[np.floating]],
    phases: Sequence[NDArray[np.floating]],
    echo_times: Sequence[float] = (),
    *,
    mask: NDArray[np.bool_] | None = None,
    echo_numbers: Sequence[int] = (),
    axes: Sequence[int] = (0, 1, 2),
) -> Phi0:
    """Compute phi0 from one or more echoes.

    Parameters
    ----------
    magnitudes, phases : sequences of ndarrays of float, shape (X, Y, Z)
        One magnitude and one phase for each echo; phase in rad, wrapped or not.
    echo_times : sequence of float
        Echo times in s. Not needed for a single echo, because its phase is used as phi0.
    mask : ndarray of bool, shape (X, Y, Z), optional
        Voxels for which phi0 is computed; default: the voxels with signal (see
        :func:`signal_mask`). Voxels are left out if a value is not finite, if they are in a block
        of deleted phase, or if they have no signal in one of the two earliest echoes.
    echo_numbers : sequence of int
        Number of each echo in the readout train; the polarity of a bipolar readout alternates with
        this number. Default: the echoes are numbered by increasing echo time.
    axes : sequence of int
        Axes along which the phase will be differentiated. With two axes, the slices are aligned;
        see ``slice_alignment`` in ``bids_qcm/phase/slices.py``.

    Returns
    -------
    Phi0

    Raises
    ------
    ValueError
        If the mask contains no signal, or if the echo times do not match the echoes.
    """
    # the root sum of squares
    magnitude = reduce(np.hypot, map(np.abs, magnitudes)).astype(np.float32, copy=False)
    if mask is None:
        mask = signal_mask(magnitudes[0], phases[0])
    good = np.logical_and.reduce(
        [np.isfinite(p) & np.isfinite(m) for p, m in zip(phases, magnitudes, strict=True)]
    )
    mask = mask & good & (magnitude > 0)
    blank = mask & np.logical_or.reduce([blank_phase(phase) for phase in phases])
    blank_fraction = float(blank.sum() / max(mask.sum(), 1))
    mask &= ~blank
    if not mask.any():
        raise ValueError("the mask contains no voxel with signal")
    series = complex_echoes(magnitudes, phases, echo_times, mask, echo_numbers, axes)
    misfit: tuple[float, ...] = ()
    if len(series.echoes) == 1:
        relative: NDArray[np.floating] = 1 / np.where(mask, magnitude, 1)
        wrapped = np.zeros(mask.shape, np.float32)
        wrapped[mask] = np.angle(series.echoes[0][mask])
    else:
        lines = fit_echo_lines(series.echoes, echo_times, mask)
        mask, wrapped, relative = lines.mask, lines.phase(), lines.noise()
        if len(series.echoes) > 2:
            misfit = lines.misfit()
    phase = unwrap(wrapped, mask)
    level = noise_level(phase, mask, relative)
    acquired = acquired_frequencies(series.echoes[0], level)
    if not all(axis.all() for axis in acquired):
        level = noise_level(phase, mask, relative, acquired)
    return Phi0(
        phase=phase,
        magnitude=magnitude,
        mask=mask,
        noise=np.where(mask, level * relative, 0).astype(np.float32),
        magnitude_noise=level,
        axes_flipped=series.axes_flipped,
        alternation=series.alternation,
        echo_misfit=misfit,
        blank_fraction=blank_fraction,
    )


class EchoSeries(NamedTuple):
    """Complex echoes with consistent phase, and the corrections that were applied.

    Attributes
    ----------
    echoes : list of ndarray of complex, shape (X, Y, Z)
        0 where a value is not finite.
    axes_flipped : tuple of int
        Axes along which pi was added to every second slice.
    alternation : Alternation or None
        Constant and linear phase that was removed from the even echoes.
    """

    echoes: list[NDArray[np.complexfloating]]
    axes_flipped: tuple[int, ...]
    alternation: Alternation | None


def complex_echoes(
    magnitudes: Sequence[NDArray[np.floating]],
    phases: Sequence[NDArray[np.floating]],
    echo_times: Sequence[float],
    mask: NDArray[np.bool_],
    echo_numbers: Sequence[int] = (),
    axes: Sequence[int] = (0, 1, 2),
) -> EchoSeries:
    """Combine magnitude and phase, and correct alternating slices and alternating readouts.

    Parameters
    ----------
    magnitudes, phases, echo_times, echo_numbers, axes
        See :func:`compute_phi0`.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels in which the phases of even and odd echoes are compared.

    Returns
    -------
    EchoSeries
    """
    echoes = [complex_signal(m, p) for m, p in zip(magnitudes, phases, strict=True)]
    return correct_echoes(echoes, echo_times, mask, echo_numbers, axes)


def correct_echoes(
    echoes: Sequence[NDArray[np.complexfloating]],
    echo_times: Sequence[float],
    mask: NDArray[np.bool_],
    echo_numbers: Sequence[int] = (),
    axes: Sequence[int] = (0, 1, 2),
) -> EchoSeries:
    """Correct alternating slices and alternating readouts in complex echoes.

    Parameters
    ----------
    echoes : sequence of complex ndarrays, shape (X, Y, Z)
    echo_times, mask, echo_numbers, axes
        See :func:`complex_echoes`.

    Returns
    -------
    EchoSeries
    """
    flipped = tuple(axis for axis in alternating_axes(echoes) if axis in axes)
    corrected = [flip_alternate_slices(echo, flipped) for echo in echoes]
    for axis in set(range(3)) - set(axes):
        # The offset of a slice is the same in all echoes, so all echoes have the same factors. With
        # different factors, off-resonance that varies across slices would make the phase nonlinear
        # in echo time.
        factors = slice_alignment(corrected[0], mask, axis)
        corrected = [echo * factors for echo in corrected]
    alternation = find_alternation(corrected, echo_times, mask, echo_numbers)
    if alternation is not None:
        corrected = remove_alternation(corrected, echo_times, alternation, echo_numbers)
    return EchoSeries(corrected, flipped, alternation)


def complex_signal(
    magnitude: NDArray[np.floating], phase: NDArray[np.floating]
) -> NDArray[np.complex64]:
    """Return the complex signal; 0 where a value is not finite."""
    signal = np.empty(phase.shape, dtype=np.complex64)
    # slice by slice, which needs less memory
    for one, m, p in zip(signal, magnitude, phase, strict=True):
        where = np.isfinite(p) & np.isfinite(m)
        radians = np.where(where, p, 0).astype(np.float32)
        known = np.where(where, m, 0).astype(np.float32)
        # several times as fast as the exponential of complex numbers
        one.real, one.imag = known * np.cos(radians), known * np.sin(radians)
    return signal
