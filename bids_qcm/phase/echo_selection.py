"""Selection of the echoes whose phase is linear in echo time."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_qcm.phase.echoes import BLOCK, fit_echo_lines
from bids_qcm.phase.phi0 import complex_signal, correct_echoes
from bids_qcm.phase.thinning import thinned

TOLERATED_MISFIT = 0.02
"""Tolerated misfit of an echo in rad, in addition to its noise. Fat, vessels and several water
pools cause a misfit of up to 0.01 rad in heads."""

NOISE_FACTOR = 3.0
"""Maximum ratio of the misfit of an echo to the misfit that its noise causes. If the scanner has
interpolated an image to voxels of half the size in a plane, the misfit from noise doubles."""

# Number of early echoes among which three echoes must lie on a line.
_EARLIEST = 5


class LeftOut(NamedTuple):
    """An echo whose phase is inconsistent with the line through the other echoes.

    Attributes
    ----------
    echo : int
        Index of the echo.
    misfit : float
        Largest misfit, in rad, over the fitted echoes if this echo is included.
    limit : float
        Maximum allowed misfit, in rad, of the echo with the largest misfit.
    """

    echo: int
    misfit: float
    limit: float


def misfit_limit(of_noise: float) -> float:
    """Return the largest misfit of an echo on the line, from the misfit of its noise, in rad."""
    return max(TOLERATED_MISFIT, NOISE_FACTOR * of_noise)


def inconsistent_echoes(
    magnitudes: Sequence[NDArray[np.floating]],
    phases: Sequence[NDArray[np.floating]],
    echo_times: Sequence[float],
    mask: NDArray[np.bool_],
    noise: float,
    echo_numbers: Sequence[int] = (),
) -> list[LeftOut]:
    """Find echoes that are inconsistent with a line over echo time through the earlier echoes.

    Parameters
    ----------
    magnitudes, phases : sequences of ndarray of float, shape (X, Y, Z)
        One magnitude and one phase for each echo; phase in rad.
    echo_times : sequence of float
        Echo times in s; all must be different.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels with signal.
    noise : float
        Standard deviation of the noise in the real part of each echo.
    echo_numbers : sequence of int
        See :func:`bids_qcm.phase.polarity.find_alternation`.

    Returns
    -------
    list of LeftOut
        Inconsistent echoes, sorted by echo time. The list is empty for fewer than four echoes,
        because a misfit among three echoes does not show which echo is wrong. It is also empty if
        no three of the five earliest echoes lie on a line.

    Notes
    -----
    Here, echoes lie on a line if the misfit of each echo is at most :func:`misfit_limit`, both in
    single voxels and after averaging over blocks. Averaging reveals small errors; single voxels
    reveal errors that look as irregular as noise because of wraps. The search starts with the first
    three echoes that lie on a line. It then adds the other echoes in order of echo time, if all
    echoes still lie on a line.
    """
    if len(magnitudes) < 4:
        return []
    some = thinned(mask.shape)
    where = mask[some]
    compared = [complex_signal(m[some], p[some]) for m, p in zip(magnitudes, phases, strict=True)]
    order = np.argsort(echo_times).tolist()
    numbers = echo_numbers or [order.index(k) + 1 for k in range(len(compared))]

    def worst(subset: Sequence[int]) -> tuple[float, float]:
        """Return the misfit with the largest ratio to its limit, and this limit."""
        times = [echo_times[k] for k in subset]
        series = correct_echoes(
            [compared[k] for k in subset], times, where, [numbers[k] for k in subset]
        )
        lines = fit_echo_lines(series.echoes, times, where)
        found = [
            (misfit, misfit_limit(expected))
            for block in (1, BLOCK)
            for misfit, expected in zip(
                lines.misfit(block), lines.expected_misfit(noise, block), strict=True
            )
        ]
        return max(found, key=lambda one: one[0] / one[1])

    def consistent(subset: Sequence[int]) -> bool:
        misfit, limit = worst(subset)
        return misfit <= limit

    kept: tuple[int, ...] | None
    kept = next(filter(consistent, combinations(order[:_EARLIEST], 3)), None)
    if kept is None:
        return []
    left_out = []
    for echo in order:
        if echo in kept:
            continue
        misfit, limit = worst((*kept, echo))
        if misfit <= limit:
            kept = (*kept, echo)
        else:
            left_out.append(LeftOut(echo, misfit, limit))
    return left_out
