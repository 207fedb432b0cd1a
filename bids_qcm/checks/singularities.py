"""Check that the phase has no singularities in voxels with strong signal."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.checks.findings import Finding
from bids_qcm.checks.pairs import strong_signal

LEAST_LOOPS = 10
"""Minimum number of parallel loops with a singularity. A singular line through a head passes
through many slices. The number is 0 in phantoms and in a 3 T head."""

# Minimum sum of the signed changes relative to the sum of their absolute values. The share is 1 for
# a singular line, and at most 0.24 in the phase of a 3 T head that was multiplied by 3.
_SAME_SIGN = 0.5


def count_singularities(
    magnitude: NDArray[np.floating],
    phase: NDArray[np.floating],
    where: NDArray[np.bool_],
    axes: Sequence[int] = (0, 1, 2),
) -> int:
    """Count the loops of four voxels around which the phase changes by a cycle.

    Parameters
    ----------
    magnitude : ndarray of float, shape (X, Y, Z)
        Magnitude in any unit.
    phase : ndarray of float, shape (X, Y, Z)
        Phase in rad.
    where : ndarray of bool, shape (X, Y, Z)
        Voxels with a sufficient signal-to-noise ratio.
    axes : sequence of int
        Axes along which neighbours are compared.

    Returns
    -------
    int
        Absolute sum of the signed changes in cycles, and the maximum over the orientations of the
        loops; 0 if both signs are frequent. Only voxels with strong signal whose neighbours also
        have strong signal are used.

    Notes
    -----
    The phase differences around a loop add up to zero, unless the signal vanishes inside the loop.
    In a sum of signals that vanishes, the signal is weak in the neighbouring voxels, too. Strong
    signal around a singularity therefore shows that the phase and the magnitude were computed in
    different ways. Steep phase, for example next to air in a late echo, causes pairs of opposite
    signs.
    """
    known = np.isfinite(magnitude) & np.isfinite(phase) & where
    strong = ndimage.binary_erosion(strong_signal(magnitude, known))
    values = np.where(known, phase, 0)
    wraps = {axis: _wraps_along(values, axis) for axis in axes}
    counts = [0]
    for one, other in combinations(axes, 2):
        # the phase differences around a loop add up to zero, so that only the wraps remain
        first, second, inside = (
            np.moveaxis(image, (one, other), (0, 1)) for image in (wraps[one], wraps[other], strong)
        )
        whole = inside[:-1, :-1] & inside[1:, :-1] & inside[1:, 1:] & inside[:-1, 1:]
        cycles = (first[:, 1:] - first[:, :-1] - second[1:] + second[:-1])[whole]
        net, total = abs(int(cycles.sum())), int(np.abs(cycles).sum())
        counts.append(net if net > _SAME_SIGN * total else 0)
    return max(counts)


def _wraps_along(phase: NDArray[np.floating], axis: int) -> NDArray[np.int32]:
    """Return the phase differences along an axis, rounded to whole cycles."""
    return np.round(np.diff(phase, axis=axis) / (2 * np.pi)).astype(np.int32)


def check_singularities(
    magnitude: NDArray[np.floating],
    phase: NDArray[np.floating],
    where: NDArray[np.bool_],
    axes: Sequence[int] = (0, 1, 2),
) -> list[Finding]:
    """Check that the phase of the first echo has no singularities in voxels with strong signal.

    Parameters
    ----------
    magnitude, phase, where, axes
        See :func:`count_singularities`.

    Returns
    -------
    list of Finding
        At most one warning.
    """
    count = count_singularities(magnitude, phase, where, axes)
    if count < LEAST_LOOPS:
        return []
    return [
        Finding(
            0,
            1,
            f"has phase singularities: the phase changes by a cycle around {count} loops of four "
            "voxels with strong signal. The coil combination may have failed, and the map is wrong "
            "near the singularities",
            "use the images of the individual coils (coil-1, coil-2, ...), or another coil "
            "combination",
            fatal=False,
        )
    ]
