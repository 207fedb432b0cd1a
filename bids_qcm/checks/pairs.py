"""Whether the magnitude and the phase of an echo belong together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_qcm.checks.findings import Finding
from bids_qcm.phase.coherence import phase_coherence
from bids_qcm.phase.masking import LEAST_COHERENCE, blank_phase, typical_signal

STRONG = 0.5
"""Share of the typical signal above which a voxel counts as strong."""

LARGEST_INCOHERENT = 0.02
DOUBTFUL_INCOHERENT = 0.004
"""Share of the strong voxels whose phase is as incoherent as noise: at most 0.0002 in 3 T heads and
phantoms of all kinds, 0.009 to 0.2 where the phase is mirrored, shifted by two voxels, or of
another head."""


def incoherent_fraction(
    magnitude: NDArray[np.floating],
    phase: NDArray[np.floating],
    axes: Sequence[int] = (0, 1, 2),
) -> float:
    """Compute how often strong signal comes with incoherent phase.

    Parameters
    ----------
    magnitude : ndarray of float, shape (X, Y, Z)
        Any unit.
    phase : ndarray of float, shape (X, Y, Z)
        In rad.
    axes : sequence of int
        Axes to compare neighbours along.

    Returns
    -------
    float
        Share of the strong voxels in whose neighbourhood the phase is incoherent. Weak voxels do
        not count, because a true phase may be incoherent there.
    """
    known = np.isfinite(magnitude) & np.isfinite(phase)
    values = np.where(known, magnitude, 0)
    strong = values > STRONG * typical_signal(values)
    strong &= ~blank_phase(np.where(known, phase, 0))
    incoherent = strong & (phase_coherence(phase, strong, axes) < LEAST_COHERENCE)
    return np.count_nonzero(incoherent) / max(1, np.count_nonzero(strong))


def check_coherence(
    magnitude: NDArray[np.floating],
    phase: NDArray[np.floating],
    echo: int,
    axes: Sequence[int] = (0, 1, 2),
) -> tuple[float, list[Finding]]:
    """Check that the phase is coherent where the magnitude is strong.

    Parameters
    ----------
    magnitude, phase, axes
        As for :func:`incoherent_fraction`.
    echo : int
        Index of the echo.

    Returns
    -------
    fraction : float
        From :func:`incoherent_fraction`.
    findings : list of Finding
        An incoherent phase that another orientation would fit better names this orientation.
    """
    fraction = incoherent_fraction(magnitude, phase, axes)
    if fraction <= DOUBTFUL_INCOHERENT:
        return fraction, []
    problem = (
        f"does not belong to its magnitude: the phase is incoherent in {fraction:.1%} of the "
        f"voxels with strong signal (a true pair: below {DOUBTFUL_INCOHERENT:.1%})"
    )
    mirrored = {
        axis: incoherent_fraction(magnitude, np.flip(phase, axis), axes) for axis in range(3)
    }
    best = min(mirrored, key=lambda axis: mirrored[axis])
    if mirrored[best] < fraction / 2:
        problem += f"; mirrored along axis {'ijk'[best]} it would be {mirrored[best]:.1%}"
    remedy = "use magnitude and phase of one acquisition, converted together"
    return fraction, [Finding(echo, 1, problem, remedy, fatal=fraction > LARGEST_INCOHERENT)]
