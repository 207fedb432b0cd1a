"""Complex averaging of repeated acquisitions."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_qcm.phase.echoes import block_average
from bids_qcm.phase.noise import NORMAL_MEDIAN
from bids_qcm.phase.planes import PlaneFit, fit_plane, plane_phase

MUCH_LESS = 0.5
"""A repetition counts as having the opposite sign if negating its phase reduces its deviation to
less than this fraction."""


class Average(NamedTuple):
    """Average of repetitions.

    Attributes
    ----------
    signal : ndarray of complex64, shape (X, Y, Z)
    remainders : list of float
        For each repetition after the first, the phase difference from the first repetition that
        remains after removal of a constant and linear phase, or of a constant phase between phase
        cycles, in rad.
    reversed : list of bool
        For each of these repetitions, whether its phase has the opposite sign: the negated phase
        deviates by less than half as much.
    """

    signal: NDArray[np.complex64]
    remainders: list[float]
    reversed: list[bool]


def average_repetitions(
    repetitions: Iterable[NDArray[np.complexfloating]], mask: NDArray[np.bool_]
) -> Average:
    """Average repetitions after removal of the constant and linear phase between them.

    Parameters
    ----------
    repetitions : iterable of complex ndarrays, shape (X, Y, Z)
        At least one.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels with signal in which the phases are compared; not empty.

    Returns
    -------
    Average

    Notes
    -----
    Between repetitions, the scanner frequency drifts and the receiver phase changes, which adds a
    constant phase. A readout of the opposite polarity adds a linear phase, and it reverses the sign
    of the eddy-current phase. The mean contains only the linear phase of the first repetition,
    whose Laplacian is zero. The eddy-current phase cancels.
    """
    remaining = iter(repetitions)
    first = next(remaining)
    total = first.astype(np.complex64)
    remainders, reversed_ = [], []
    for other in remaining:
        fit, remainder = _fit(other * first.conj(), mask)
        _, of_negative = _fit(other.conj() * first.conj(), mask)
        total += other * np.exp(-1j * plane_phase(fit.constant, fit.gradient, mask.shape))
        remainders.append(remainder)
        reversed_.append(of_negative < MUCH_LESS * remainder)
    return Average(total / (1 + len(remainders)), remainders, reversed_)


def _fit(
    difference: NDArray[np.complexfloating], mask: NDArray[np.bool_]
) -> tuple[PlaneFit, float]:
    """Fit a constant and linear phase. Return the fit and the deviation from it, in rad."""
    fit = fit_plane(difference, mask)
    rest = block_average(difference[mask] * np.exp(-1j * fit.plane), mask)
    return fit, float(np.median(np.abs(np.angle(rest))) / NORMAL_MEDIAN)
