"""Phase difference between the odd and even echoes of a bipolar readout."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_qcm.phase.echoes import fit_echo_lines
from bids_qcm.phase.planes import fit_plane, plane_phase
from bids_qcm.phase.unwrapping import wrap

LEAST_ALTERNATION = 0.05
"""Minimum root mean square, over the mask, of an alternation that is removed, in rad. A smaller
alternation does not change a map visibly."""

LARGEST_REMAINDER = 1 / 3
"""Maximum residual of the constant and linear fit, relative to the amplitude of the alternation.
With alternating readout polarity, only noise remains; with a conjugated echo, the residual is about
as large as the amplitude."""


# A number of cycles is likely if its sum of differences has a magnitude of at least this fraction
# of the largest magnitude.
_LIKELY = 0.999


class Alternation(NamedTuple):
    """Phase of even echoes relative to the line through the odd echoes.

    Attributes
    ----------
    constant : float
        Constant phase in rad, at the first voxel of the grid.
    gradient : tuple of 3 floats
        Gradient of the linear phase in rad per voxel along each axis.
    amplitude : float
        Root mean square of the alternation over the mask, in rad.
    """

    constant: float
    gradient: tuple[float, float, float]
    amplitude: float

    def phase(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the constant and linear phase on a grid, in rad."""
        return plane_phase(self.constant, self.gradient, shape)


def find_alternation(
    echoes: Sequence[NDArray[np.complexfloating]],
    echo_times: Sequence[float],
    mask: NDArray[np.bool_],
    echo_numbers: Sequence[int] = (),
) -> Alternation | None:
    """Find the constant and linear phase between odd and even echoes.

    Parameters
    ----------
    echoes : sequence of complex ndarrays, shape (X, Y, Z)
    echo_times : sequence of float
        Echo times in s; all must be different.
    mask : ndarray of bool, shape (X, Y, Z)
    echo_numbers : sequence of int
        Number of each echo in the readout train; the polarity alternates with this number. Needed
        only if an echo of the train is left out. Default: the echoes are numbered by increasing
        echo time.

    Returns
    -------
    Alternation or None
        None if there are fewer than three echoes, if all echoes have the same polarity, if odd and
        even echoes agree, or if their difference is neither constant nor linear.

    Notes
    -----
    A gradient delay or an eddy current shifts the echo in k-space by the same amount, but in
    opposite directions for the two polarities of the readout [1]_. The even echoes therefore differ
    from the line over echo time through the odd echoes by twice the resulting linear phase. If
    there are more even than odd echoes, the line is fitted to the even echoes.

    References
    ----------
    .. [1] Yu H, Shimakawa A, McKenzie CA, et al. Phase and amplitude correction for multi-echo
       water-fat separation with bipolar acquisitions. J Magn Reson Imaging 2010.
       doi:10.1002/jmri.22111
    """
    if len(echoes) < 3:
        return None
    times = np.asarray(echo_times, dtype=np.float64)
    order = np.argsort(times)
    is_even = _even(echo_times, echo_numbers)[order]
    odd, even = order[~is_even], order[is_even]
    straight, other = (odd, even) if len(odd) >= len(even) else (even, odd)
    if len(other) == 0:
        return None
    lines = fit_echo_lines([echoes[k] for k in straight], times[straight].tolist(), mask)
    differences = []
    for k in other:
        signal = echoes[k][lines.mask]
        line = lines.intercept + lines.slope * times[k]
        differences.append(signal * np.abs(signal) * np.exp(-1j * line))
    # One more cycle between the first two echoes of the line would shift each of the other echoes
    # by this constant.
    shifts = 2 * np.pi * (times[other] - times[straight[0]])
    shifts /= times[straight[1]] - times[straight[0]]
    cycles, difference = _likely_cycles(differences, shifts, lines.mask)
    if not difference.any():
        return None
    fit = fit_plane(difference, lines.mask)

    def rms(values: NDArray[np.floating]) -> float:
        return float(np.sqrt(np.sum(fit.weight * values**2) / np.sum(fit.weight)))

    turns = [(n - cycles[0]) * shifts[0] for n in cycles]
    turn = min(turns, key=lambda constant: rms(wrap(fit.plane - constant)))
    amplitude = rms(wrap(fit.plane - turn))
    if (
        amplitude < LEAST_ALTERNATION
        or rms(wrap(fit.angle - fit.plane)) > LARGEST_REMAINDER * amplitude
    ):
        return None
    sign = 1 if other is even else -1
    x, y, z = (sign * one for one in fit.gradient)
    return Alternation(sign * (fit.constant - turn), (x, y, z), amplitude)


def _likely_cycles(
    differences: Sequence[NDArray[np.complexfloating]],
    shifts: NDArray[np.float64],
    mask: NDArray[np.bool_],
) -> tuple[list[int], NDArray[np.complex64]]:
    """Return the likely numbers of extra cycles, and the sum of differences for the first number.

    With the right number of cycles, all differences have the same phase. If the echoes are evenly
    spaced, several numbers are equally likely.
    """
    totals = {
        n: sum(d * np.exp(-1j * n * shift) for d, shift in zip(differences, shifts, strict=True))
        for n in (0, 1, -1)
    }
    strengths = {n: float(np.abs(total).sum()) for n, total in totals.items()}
    likely = [n for n, one in strengths.items() if one >= _LIKELY * max(strengths.values())]
    volume = np.zeros(mask.shape, np.complex64)
    volume[mask] = totals[likely[0]]
    return likely, volume


def remove_alternation(
    echoes: Sequence[NDArray[np.complexfloating]],
    echo_times: Sequence[float],
    alternation: Alternation,
    echo_numbers: Sequence[int] = (),
) -> list[NDArray[np.complexfloating]]:
    """Remove an alternation from the even echoes so that they match the odd echoes.

    The odd echoes keep their own constant and linear phase, whose Laplacian is zero.
    """
    turn = np.exp(-1j * alternation.phase(echoes[0].shape))
    even = _even(echo_times, echo_numbers)
    return [echo * turn if is_even else echo for echo, is_even in zip(echoes, even, strict=True)]


def _even(echo_times: Sequence[float], echo_numbers: Sequence[int]) -> NDArray[np.bool_]:
    """Whether each echo has an even number; by default, echoes are numbered by echo time."""
    numbers = echo_numbers or np.argsort(np.argsort(echo_times)) + 1
    return np.asarray(numbers) % 2 == 0
