"""The phase at echo time zero, from complex echoes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_qcm.phase.echoes import phase_at_zero
from bids_qcm.phase.masking import blank_phase, signal_mask
from bids_qcm.phase.noise import noise_level
from bids_qcm.phase.slices import alternating_axes, flip_alternate_slices
from bids_qcm.phase.unwrapping import centred, unwrap


@dataclass(frozen=True)
class Phi0:
    """The phase at echo time zero and what was done to get it.

    Attributes
    ----------
    phase : ndarray of float32, shape (X, Y, Z)
        phi0 in rad, unwrapped; 0 outside the mask.
    magnitude : ndarray of float32, shape (X, Y, Z)
        Root of the sum of squares over the echoes.
    mask : ndarray of bool, shape (X, Y, Z)
        Where phi0 is given.
    noise : ndarray of float32, shape (X, Y, Z)
        Standard deviation of the phase's noise in rad; 0 outside the mask.
    magnitude_noise : float
        Standard deviation of the magnitude's noise, in its unit.
    axes_flipped : tuple of int
        Along which every second slice got pi added.
    unwrapped : bool
        Whether the phase was unwrapped here, not stored so.
    blank_fraction : float
        Share of the mask that was left out because an echo's phase was deleted there.
    """

    phase: NDArray[np.float32]
    magnitude: NDArray[np.float32]
    mask: NDArray[np.bool_]
    noise: NDArray[np.float32]
    magnitude_noise: float
    axes_flipped: tuple[int, ...]
    unwrapped: bool
    blank_fraction: float


def compute_phi0(
    magnitudes: Sequence[NDArray[np.floating]],
    phases: Sequence[NDArray[np.floating]],
    echo_times: Sequence[float] = (),
    *,
    mask: NDArray[np.bool_] | None = None,
    unwrapped: bool = False,
) -> Phi0:
    """Compute phi0 from one or more echoes.

    Parameters
    ----------
    magnitudes, phases : sequences of ndarrays of float, shape (X, Y, Z)
        One of each per echo; phase in rad.
    echo_times : sequence of float
        In s; not needed for a single echo, whose phase is phi0 as it is.
    mask : ndarray of bool, shape (X, Y, Z), optional
        Where to compute; default: the reliable signal of the magnitude. Voxels with a value that
        is not finite, in a block whose phase was deleted, or without signal in one of the two
        earliest echoes are left out.
    unwrapped : bool
        The phase is unwrapped already. A single echo then keeps it as it is.

    Returns
    -------
    Phi0

    Raises
    ------
    ValueError
        If the mask holds no signal, or the echo times do not fit the echoes.
    """
    magnitude = np.sqrt(sum(np.square(m, dtype=np.float64) for m in magnitudes))
    if mask is None:
        mask = signal_mask(magnitude)
    good = [np.isfinite(p) & np.isfinite(m) for p, m in zip(phases, magnitudes, strict=True)]
    mask = mask & np.logical_and.reduce(good) & (magnitude > 0)
    blank = mask & np.logical_or.reduce([blank_phase(phase) for phase in phases])
    blank_fraction = float(blank.sum() / max(mask.sum(), 1))
    mask &= ~blank
    if not mask.any():
        raise ValueError("the mask holds no voxel with signal")
    echoes = [_signal(m, p, g) for m, p, g in zip(magnitudes, phases, good, strict=True)]
    axes = alternating_axes(echoes)
    echoes = [flip_alternate_slices(echo, axes) for echo in echoes]
    keep = unwrapped and len(echoes) == 1 and not axes
    if len(echoes) == 1:
        relative = 1 / np.where(mask, magnitude, 1)
        phase = centred(phases[0], mask) if keep else unwrap(np.angle(echoes[0]), mask)
    else:
        wrapped, relative = phase_at_zero(echoes, echo_times, mask)
        mask = np.isfinite(wrapped)
        phase = unwrap(wrapped, mask)
    phase = np.where(mask, phase, 0).astype(np.float32)
    level = noise_level(phase, mask, relative)
    return Phi0(
        phase=phase,
        magnitude=magnitude.astype(np.float32),
        mask=mask,
        noise=np.where(mask, level * relative, 0).astype(np.float32),
        magnitude_noise=level,
        axes_flipped=axes,
        unwrapped=not keep,
        blank_fraction=blank_fraction,
    )


def _signal(
    magnitude: NDArray[np.floating], phase: NDArray[np.floating], where: NDArray[np.bool_]
) -> NDArray[np.complex64]:
    """Give the complex signal, 0 elsewhere."""
    # float32 first, or the exponential would be complex128
    radians = np.where(where, phase, 0).astype(np.float32)
    return np.where(where, magnitude, 0).astype(np.float32) * np.exp(1j * radians)
