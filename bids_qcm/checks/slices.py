"""Check for phase jumps between slices."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.checks.findings import Finding
from bids_qcm.phase.coherence import unit_signal

LARGEST_JUMP = 0.2
"""Maximum phase jump between neighbouring slices, in rad. The largest observed jump is 0.07 in
heads and 0.03 in phantoms."""

# Minimum area of a slice, relative to the largest slice. Small slices at the ends of the head
# contain mainly its surface.
_LEAST_AREA = 0.4
_MOST_NAMED = 6


class Jump(NamedTuple):
    """Phase jump between two neighbouring slices.

    Attributes
    ----------
    axis : int
        Axis along which slices are stacked.
    slice_index : int
        Index of the slice before the jump.
    size : float
        Phase offset that is common to all voxels of the slice, in rad.
    reverses : bool
        Whether the slice after the jump matches the slice before the jump better if its sign is
        reversed.
    """

    axis: int
    slice_index: int
    size: float
    reverses: bool


def find_jumps(
    signals: Sequence[NDArray[np.complexfloating]], mask: NDArray[np.bool_]
) -> list[Jump]:
    """Find phase jumps between neighbouring slices along each axis.

    Parameters
    ----------
    signals : sequence of ndarray of complex, shape (X, Y, Z)
        Complex echoes after the correction of alternating slices.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels with signal.

    Returns
    -------
    list of Jump
        Each jump is listed once, even if several echoes have it.

    Notes
    -----
    The angle of the mean of ``S[k+1] S[k-1] conj(S[k])^2`` over slice k is the second difference
    across slices. This angle depends neither on linear phase nor on wraps. A jump of c between
    slices k and k + 1 increases the angle at k by c and decreases the angle at k + 1 by c, so that
    half the difference of the two angles is c. Curvature cancels in this difference, because it is
    similar in neighbouring slices.
    """
    found: dict[tuple[int, int], Jump] = {}
    for signal in signals:
        unit = unit_signal(signal, mask)
        for axis in range(3):
            for jump in _jumps_along(unit, mask, axis):
                found.setdefault((jump.axis, jump.slice_index), jump)
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
        See :func:`find_jumps`.
    in_plane : sequence of int
        Axes along which the kernels differentiate. Constant phase offsets between slices along
        another axis are harmless.

    Returns
    -------
    list of Finding
        One finding for each axis with jumps. The message lists the slices, counted from 0.
    """
    jumps = find_jumps(signals, mask)
    found = []
    for axis in range(3):
        along = [jump for jump in jumps if jump.axis == axis]
        reversing = any(jump.reverses for jump in along)
        if not along or (axis not in in_plane and not reversing):
            continue
        named = ", ".join(
            f"{jump.slice_index} and {jump.slice_index + 1} ({jump.size:+.2f} rad)"
            for jump in along[:_MOST_NAMED]
        )
        more = f" and {len(along) - _MOST_NAMED} more pairs" if len(along) > _MOST_NAMED else ""
        problem = (
            f"has phase jumps along axis {'ijk'[axis]} between slices (counted from 0) "
            f"{named}{more}"
        )
        remedy = "convert the DICOM files again"
        if reversing:
            problem += "; the slices after a jump have the opposite sign"
        else:
            radius = " ".join("0" if a == axis else "R" for a in range(3))
            remedy += (
                "; for a 2-D multislice acquisition, use in-plane kernels instead "
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
    # voxels outside the mask are 0 and therefore do not contribute to the sum
    angle = np.angle(np.sum(s[2:] * s[:-2] * s[1:-1].conj() ** 2, axis=(1, 2)))
    sizes = (angle[:-1] - angle[1:]) / 2
    large = np.minimum(area[:-1], area[1:]) >= _LEAST_AREA * max(1, area.max())
    found = []
    # use only local maxima, because a jump also causes values of half its size and the opposite
    # sign at the neighbouring slices
    peak = ndimage.maximum_filter1d(np.abs(sizes), 3) == np.abs(sizes)
    for k in np.flatnonzero(large & peak & (np.abs(sizes) > LARGEST_JUMP)) + 1:
        same, opposite = (abs(np.sum(s[k + 1] * before)) for before in (s[k].conj(), s[k]))
        found.append(Jump(axis, int(k), float(sizes[k - 1]), bool(opposite > same)))
    return found
