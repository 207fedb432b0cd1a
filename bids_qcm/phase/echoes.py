"""Extrapolation of several echoes to echo time zero."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_qcm.phase.unwrapping import unwrap, wrap


def phase_at_zero(
    echoes: Sequence[NDArray[np.complexfloating]],
    echo_times: Sequence[float],
    mask: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Fit a line over echo time to the phase of each voxel and take its value at zero.

    Parameters
    ----------
    echoes : sequence of complex ndarrays, shape (X, Y, Z)
        At least two.
    echo_times : sequence of float
        In s, all different.
    mask : ndarray of bool, shape (X, Y, Z)
        Where to fit.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        In rad, spatially wrapped; NaN outside the mask and where one of the two earliest echoes
        has no signal.

    Raises
    ------
    ValueError
        If there are fewer than two echoes, equal or missing echo times, or no voxel to fit.

    Notes
    -----
    Weighted least squares with weights ``|S|^2``, the inverse variance of the phase. The wraps
    over echo time are taken from the line through the echoes before; the first slope is the
    spatially unwrapped phase between the two earliest echoes.
    """
    times = np.asarray(echo_times, dtype=np.float64)
    different = np.unique(times[np.isfinite(times)])
    if len(echoes) < 2 or times.shape != (len(echoes),) or different.size < len(echoes):
        raise ValueError(f"{len(echoes)} echoes need as many different echo times, got {times}")
    order = np.argsort(times)
    first, second = (echoes[k] for k in order[:2])
    mask = mask & (first != 0) & (second != 0)
    if not mask.any():
        raise ValueError("no voxel of the mask has signal in the two earliest echoes")
    slope = unwrap(np.angle(second * first.conj()), mask)[mask] / np.diff(times[order[:2]])
    intercept = np.angle(first[mask]) - slope * times[order[0]]
    sums = np.zeros((5, intercept.size))
    for used, k in enumerate(order, start=1):
        signal = echoes[k][mask]
        predicted = intercept + slope * times[k]
        phase = predicted + wrap(np.angle(signal) - predicted)
        weight = np.abs(signal).astype(np.float64) ** 2
        for total, term in zip(
            sums, (1, times[k], times[k] ** 2, phase, phase * times[k]), strict=True
        ):
            total += weight * term
        if used > 1:
            intercept, slope = _line(sums, intercept, slope)
    result = np.full(mask.shape, np.nan, dtype=np.float32)
    result[mask] = wrap(intercept)
    return result


def _line(
    sums: NDArray[np.float64], intercept: NDArray[np.float64], slope: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Solve for the line; where one echo outweighs the others to rounding, keep what it was."""
    w, wt, wtt, wp, wtp = sums
    determinant = w * wtt - wt**2
    solvable = determinant > 1e-12 * w * wtt
    safe = np.where(solvable, determinant, 1)
    return (
        np.where(solvable, (wtt * wp - wt * wtp) / safe, intercept),
        np.where(solvable, (w * wtp - wt * wp) / safe, slope),
    )
