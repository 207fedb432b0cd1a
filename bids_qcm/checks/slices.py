"""Phase that jumps between slices."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.checks.findings import Finding
from bids_qcm.phase.coherence import unit_signal

LARGEST_JUMP = 0.2
"""In rad. Heads have 0.07 or less between neighbouring slices, and phantoms 0.03."""

# Thin slices at the ends of the head hold little but its surface.
_LEAST_AREA = 0.4
_MOST_NAMED = 6


class Jump(NamedTuple):
    """A jump of the phase between two neighbouring slices.

    Attributes
    ----------
    axis : int
        Along which slices are stacked.
    index : int
        Of the slice before the jump.
    size : float
        In rad: the part that all voxels of the slice share.
    reverses : bool
        Whether the slice behind the jump fits the one before it better with the opposite sign.
    """

    axis: int
    index: int
    size: float
    reverses: bool


def find_jumps(
    signals: Sequence[NDArray[np.complexfloating]], mask: NDArray[np.bool_]
) -> list[Jump]:
    """Find where the phase jumps between neighbouring slices, along each axis.

    Parameters
    ----------
    signals : sequence of ndarray of complex, shape (X, Y, Z)
        The echoes, with alternating slices flipped already.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels with signal.

    Returns
    -------
    list of Jump
        Each jump once, whichever echo shows it.

    Notes
    -----
    The angle of a slice's mean second difference across slices, ``S[k+1] S[k-1] conj(S[k])^2``,
    is free of linear phase and of wraps. A jump of c between slices k and k + 1 adds c to it at k
    and takes c from it at k + 1. Half the difference of the two is c, and curvature, which is
    alike in neighbouring slices, drops out.
    """
    found: dict[tuple[int, int], Jump] = {}
    for signal in signals:
        unit = unit_signal(signal, mask)
        for axis in range(3):
            for jump in _jumps_along(unit, mask, axis):
                found.setdefault((jump.axis, jump.index), jump)
    return sorted(found.values())


def check_slices(
    signals: Sequence[NDArray[np.complexfloating]],
    mask: NDArray[np.bool_],
    in_plane: Sequence[int] = (0, 1, 2),
) -> list[Finding]:
    """Check that the phase does not jump between slices.

    Parameters
    ----------
    signals, mask
        As for :func:`find_jumps`.
    in_plane : sequence of int
        Axes that the kernels differentiate along. Constants that differ between slices along
        another axis do no harm.

    Returns
    -------
    list of Finding
        One for each axis with jumps, which names the slices, counted from 0.
    """
    jumps = find_jumps(signals, mask)
    found = []
    for axis in range(3):
        along = [jump for jump in jumps if jump.axis == axis]
        reversing = any(jump.reverses for jump in along)
        if not along or (axis not in in_plane and not reversing):
            continue
        named = ", ".join(
            f"{jump.index} and {jump.index + 1} ({jump.size:+.2f} rad)"
            for jump in along[:_MOST_NAMED]
        )
        more = f" and {len(along) - _MOST_NAMED} more pairs" if len(along) > _MOST_NAMED else ""
        problem = (
            f"has a phase that jumps along axis {'ijk'[axis]}, counted from 0, between slices "
            f"{named}{more}"
        )
        remedy = "convert it again"
        if reversing:
            problem += "; slices behind a jump have the opposite sign"
        else:
            radius = " ".join("0" if a == axis else "R" for a in range(3))
            remedy += (
                ", or, if the slices were acquired one by one, use in-plane kernels "
                f"(--fit-radius {radius})"
            )
        found.append(Finding(0, 1, problem, remedy))
    return found


def _jumps_along(
    unit: NDArray[np.complexfloating], mask: NDArray[np.bool_], axis: int
) -> list[Jump]:
    s, m = np.moveaxis(unit, axis, 0), np.moveaxis(mask, axis, 0)
    if len(s) < 4:
        return []
    area = np.count_nonzero(m[2:] & m[1:-1] & m[:-2], axis=(1, 2))
    # voxels outside the mask are 0 and add nothing
    angle = np.angle(np.sum(s[2:] * s[:-2] * s[1:-1].conj() ** 2, axis=(1, 2)))
    sizes = (angle[:-1] - angle[1:]) / 2
    large = np.minimum(area[:-1], area[1:]) >= _LEAST_AREA * max(1, area.max())
    found = []
    # a jump leaves half its size, with the opposite sign, on both sides
    peak = ndimage.maximum_filter1d(np.abs(sizes), 3) == np.abs(sizes)
    for k in np.flatnonzero(large & peak & (np.abs(sizes) > LARGEST_JUMP)) + 1:
        same, opposite = (abs(np.sum(s[k + 1] * before)) for before in (s[k].conj(), s[k]))
        found.append(Jump(axis, int(k), float(sizes[k - 1]), bool(opposite > same)))
    return found
