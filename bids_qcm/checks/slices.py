"""Check for phase jumps and phase offsets between slices."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.checks.findings import Finding
from bids_qcm.phase.coherence import unit_signal
from bids_qcm.phase.noise import NORMAL_MEDIAN
from bids_qcm.physics import PhaseType, conductivity_factor
from bids_qcm.recon.methods import METHODS, TARGET_STD
from bids_qcm.recon.stencils import derivative_stencils

LARGEST_JUMP = 0.2
"""Maximum phase jump between neighbouring slices, in rad. The largest observed jump is 0.07 in
heads and 0.03 in phantoms."""

# Minimum area of a slice, relative to the largest slice. Small slices at the ends of the head
# contain mainly its surface.
_LEAST_AREA = 0.4
_MOST_NAMED = 6

FEWEST_SLICES = 5
"""Minimum number of slices from which phase offsets can be measured."""

# Variance of the fourth difference (1, -4, 6, -4, 1) of independent offsets with variance 1.
_FOURTH_DIFFERENCE = 70.0

# Variance of a second difference, and of the median of n normal values with variance n.
_SECOND_DIFFERENCE, _MEDIAN = 6.0, np.pi / 2

# A quadratic fit is unique if its radius is at least two voxels.
_LEAST_REACH = 2.0


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


def find_offsets_besides_bands(
    signal: NDArray[np.complexfloating], mask: NDArray[np.bool_]
) -> list[Jump]:
    """Find phase jumps between slices of a balanced SSFP image that are not caused by bands.

    Parameters
    ----------
    signal : ndarray of complex, shape (X, Y, Z)
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels with signal.

    Returns
    -------
    list of Jump
        The jump sizes refer to the squared image and are twice as large as in the image itself.

    Notes
    -----
    The phase jumps by half a cycle at a band, so the phase of the squared image does not jump. It
    changes quickly within a band, so voxels below half of the median magnitude are left out.
    """
    magnitude = np.abs(signal)
    bright = mask & (magnitude > np.median(magnitude[mask]) / 2)
    return [one for one in find_jumps([signal**2], bright) if abs(one.size) > 2 * LARGEST_JUMP]


def check_slices(
    signals: Sequence[NDArray[np.complexfloating]],
    mask: NDArray[np.bool_],
    in_plane: Sequence[int] = (0, 1, 2),
    slice_axis: int | None = None,
) -> list[Finding]:
    """Check that the phase does not jump between slices.

    Parameters
    ----------
    signals, mask
        See :func:`find_jumps`.
    in_plane : sequence of int
        Axes along which the kernels differentiate. Constant phase offsets between slices along
        another axis are harmless.
    slice_axis : int, optional
        Axis across the slices of a 2-D acquisition, whose phases may differ by constants.

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
        elif axis == slice_axis:
            remedy = _in_plane(axis)
        else:
            remedy += f"; for a 2-D multislice acquisition, {_in_plane(axis)} instead"
        found.append(Finding(0, 1, problem, remedy))
    return found


def slice_offset(signal: NDArray[np.complexfloating], mask: NDArray[np.bool_], axis: int) -> float:
    """Measure the phase offsets of the slices of a 2-D acquisition.

    Parameters
    ----------
    signal : ndarray of complex, shape (X, Y, Z)
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels with signal.
    axis : int
        Axis along which slices are stacked.

    Returns
    -------
    float
        Standard deviation of the offsets over the slices in rad, without the contribution of noise;
        NaN for fewer than five slices.

    Notes
    -----
    For each slice, the median of the second difference across slices is computed over the voxels.
    The second difference of these medians is the fourth difference of the offsets, which has 70
    times their variance if they are independent. The smooth phase of the object hardly contributes.
    The standard deviation over the slices is estimated from the median absolute value. Constants in
    bands of several slices are found by :func:`find_jumps` instead.
    """
    s = np.moveaxis(unit_signal(signal, mask), axis, 0)
    second = s[2:] * s[:-2] * s[1:-1].conj() ** 2
    common = second != 0
    area = np.count_nonzero(common, axis=(1, 2))
    if len(s) < FEWEST_SLICES or not area.any():
        return float("nan")
    medians, noise = np.zeros(len(second)), np.zeros(len(second))
    for k in np.flatnonzero(area):
        mean = np.sum(second[k])
        angle = np.angle(second[k][common[k]] * mean.conj())
        middle = np.median(angle)
        medians[k] = np.angle(mean) + middle
        spread = np.median(np.abs(angle - middle)) / NORMAL_MEDIAN
        noise[k] = _MEDIAN * spread**2 / _SECOND_DIFFERENCE / area[k]
    large = area >= _LEAST_AREA * area.max()
    used = large[2:] & large[1:-1] & large[:-2]
    if not used.any():
        return float("nan")
    fourth = np.abs(np.diff(medians, 2)[used])
    variance = (np.median(fourth) / NORMAL_MEDIAN) ** 2 / _FOURTH_DIFFERENCE
    return float(np.sqrt(max(0.0, variance - np.median(noise[large]))))


def check_offsets(
    offset: float,
    axis: int,
    voxel_size: Sequence[float],
    frequency: float,
    phase_type: PhaseType,
) -> list[Finding]:
    """Check that kernels may extend across the slices of a 2-D acquisition.

    Parameters
    ----------
    offset : float
        Standard deviation of the phase offsets of slices in rad; NaN if it is unknown.
    axis : int
        Axis along which slices are stacked.
    voxel_size : sequence of 3 floats
        Voxel size in mm.
    frequency : float
        Larmor frequency in Hz.
    phase_type : {"transceive", "transmit"}

    Returns
    -------
    list of Finding
        Empty if the offsets change the Laplacian of a quadratic fit by less than the target of
        automatic radii. The finding is not fatal, because the offset above which in-plane kernels
        have the smaller error depends on the method. Much larger offsets contain jumps that
        :func:`check_slices` finds.
    """
    error = conductivity_factor(frequency, phase_type) * offset * _gain(axis, voxel_size)
    if not error > TARGET_STD:
        return []
    problem = (
        f"has phase offsets between slices along axis {'ijk'[axis]} with a standard deviation of "
        f"{offset:.2g} rad, which cause errors of about {error:.2g} S/m in the Laplacian of a "
        "quadratic fit, and smaller errors in surface integrals and inversions"
    )
    remedy = f"compare the map with an in-plane map (--in-plane {'ijk'[axis]})"
    return [Finding(0, 1, problem, remedy, fatal=False)]


def _in_plane(axis: int) -> str:
    """Return the remedy for phase offsets between slices."""
    return f"differentiate the phase only within slices (--in-plane {'ijk'[axis]})"


def _gain(axis: int, voxel_size: Sequence[float]) -> float:
    """Return the standard deviation of the Laplacian in 1/m^2 for offsets of 1 rad.

    The Laplacian is computed by a quadratic fit with the published radius.
    """
    x, y, z = (float(size) for size in voxel_size)
    published = METHODS["laplacian"].fit_radius or 0.0
    rx, ry, rz = (max(published, _LEAST_REACH * size) for size in (x, y, z))
    laplacian = derivative_stencils((rx, ry, rz), (x, y, z))[3]
    of_slices = np.moveaxis(laplacian, axis, 0).sum(axis=(1, 2))
    return float(np.linalg.norm(of_slices))


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
