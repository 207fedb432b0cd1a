"""Check that the magnitude and the phase of an echo belong together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.checks.findings import Finding
from bids_qcm.phase.coherence import phase_coherence
from bids_qcm.phase.masking import LEAST_COHERENCE, blank_phase, typical_signal

# Minimum magnitude of a voxel with strong signal, relative to the typical signal.
_STRONG = 0.5

LARGEST_INCOHERENT = 0.02
"""Maximum fraction of voxels with strong signal and incoherent phase. A larger fraction raises an
error."""

EXPECTED_INCOHERENT = 0.004
"""Maximum fraction of voxels with strong signal and incoherent phase that does not cause a warning.
The fraction is at most 0.0002 in 3 T heads and all kinds of phantoms. The fraction is 0.009 to 0.2
if the phase is mirrored, is shifted by two voxels, or belongs to another head."""


def strong_signal(magnitude: NDArray[np.floating], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voxels with more than half of the typical signal of the voxels in `known`."""
    values = np.where(known, magnitude, 0)
    strong: NDArray[np.bool_] = values > _STRONG * typical_signal(values)
    return strong


def incoherent_fraction(
    magnitude: NDArray[np.floating],
    phase: NDArray[np.floating],
    where: NDArray[np.bool_],
    axes: Sequence[int] = (0, 1, 2),
) -> float:
    """Return the fraction of voxels with strong signal in which the phase is incoherent.

    Parameters
    ----------
    magnitude : ndarray of float, shape (X, Y, Z)
        Magnitude in any unit.
    phase : ndarray of float, shape (X, Y, Z)
        Phase in rad.
    where : ndarray of bool, shape (X, Y, Z)
        Voxels with a sufficient signal-to-noise ratio. Voxels with strong signal outside `where`
        and their neighbours are not counted, because noise makes even correct phase incoherent.
        Isolated voxels with strong signal are not counted either.
    axes : sequence of int
        Axes along which neighbours are compared.

    Returns
    -------
    float
        Among the voxels with strong signal, the fraction whose neighbourhood has incoherent phase;
        0 if no voxel is counted.
    """
    known = np.isfinite(magnitude) & np.isfinite(phase)
    strong = strong_signal(magnitude, known) & ~blank_phase(np.where(known, phase, 0))
    coherence = phase_coherence(phase, strong, axes)
    # the coherence of a voxel contains the noise of its neighbours
    noisy = ndimage.binary_dilation(strong & ~where, np.ones((3, 3, 3), bool))
    # the coherence is 0 where no row of three voxels has strong signal
    counted = coherence[strong & ~noisy & (coherence != 0)]
    return np.count_nonzero(counted < LEAST_COHERENCE) / max(1, counted.size)


def check_coherence(
    magnitude: NDArray[np.floating],
    phase: NDArray[np.floating],
    where: NDArray[np.bool_],
    echo: int,
    axes: Sequence[int] = (0, 1, 2),
) -> tuple[float, list[Finding]]:
    """Check that the phase is coherent in voxels with strong signal.

    Parameters
    ----------
    magnitude, phase, where, axes
        See :func:`incoherent_fraction`.
    echo : int
        Index of the echo.

    Returns
    -------
    fraction : float
        Result of :func:`incoherent_fraction`.
    findings : list of Finding
        At most one finding. If twice the phase is coherent, the message states that tissues have
        opposite signs. If a mirrored phase fits better, the message names the axis.
    """
    fraction = incoherent_fraction(magnitude, phase, where, axes)
    if fraction <= EXPECTED_INCOHERENT:
        return fraction, []
    fatal = fraction > LARGEST_INCOHERENT
    # a jump of half a cycle becomes a whole cycle, which the coherence ignores
    doubled = incoherent_fraction(magnitude, 2 * phase, where, axes)
    if doubled < fraction / 2:
        problem = (
            f"jumps by half a cycle: the phase is incoherent in {fraction:.1%} of the voxels with "
            f"strong signal (expected: below {EXPECTED_INCOHERENT:.1%}), but twice the phase only "
            f"in {doubled:.1%}. Tissues or slices may have opposite signs, for example after an "
            "inversion pulse"
        )
        remedy = "use an acquisition in which the signal of all tissues has the same sign"
        return fraction, [Finding(echo, 1, problem, remedy, fatal=fatal)]
    problem = (
        f"does not belong to its magnitude: the phase is incoherent in {fraction:.1%} of the "
        f"voxels with strong signal (expected: below {EXPECTED_INCOHERENT:.1%})"
    )
    mirrored = {
        axis: incoherent_fraction(magnitude, np.flip(phase, axis), where, axes) for axis in range(3)
    }
    best = min(mirrored, key=lambda axis: mirrored[axis])
    if mirrored[best] < fraction / 2:
        problem += (
            f"; with the phase mirrored along axis {'ijk'[best]}, only in {mirrored[best]:.1%}"
        )
    remedy = "use the magnitude and the phase of the same acquisition, converted together"
    return fraction, [Finding(echo, 1, problem, remedy, fatal=fatal)]
