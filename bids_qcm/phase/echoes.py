"""Extrapolation of several echoes to echo time zero."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_qcm.phase.unwrapping import unwrap, wrap

# Whole cycles tried between the two earliest echoes, the likeliest first, and on how many voxels.
_CYCLES = (0, 1, -1, 2, -2, 3, -3)
_SAMPLES = 10_000

# Share of w * wtt below which one echo outweighs the others to rounding.
_SMALLEST_DETERMINANT = 1e-12


def phase_at_zero(
    echoes: Sequence[NDArray[np.complexfloating]],
    echo_times: Sequence[float],
    mask: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
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
    phase : ndarray of float32, shape (X, Y, Z)
        In rad, spatially wrapped; NaN outside the mask and where one of the two earliest echoes
        has no signal.
    noise : ndarray of float32, shape (X, Y, Z)
        Standard deviation of its noise in rad, per unit of that of an echo's real part; NaN
        likewise.

    Raises
    ------
    ValueError
        If there are fewer than two echoes, equal or missing echo times, or no voxel to fit.

    Notes
    -----
    Weighted least squares with weights ``|S|^2``, the inverse variance of the phase; the variance
    of the value at zero is ``sum(w t^2) / (sum(w) sum(w t^2) - sum(w t)^2)``. The wraps
    over echo time are taken from the line through the echoes before; the first slope is the
    spatially unwrapped phase between the two earliest echoes, with the whole cycles that fit the
    other echoes best.
    """
    times = np.asarray(echo_times, dtype=np.float64)
    different = np.unique(times[np.isfinite(times)])
    if len(echoes) < 2 or times.shape != (len(echoes),) or different.size < len(echoes):
        raise ValueError(f"{len(echoes)} echoes need as many different echo times, got {times}")
    order = np.argsort(times)
    times = times[order]
    first, second = (echoes[k] for k in order[:2])
    mask = mask & (first != 0) & (second != 0)
    if not mask.any():
        raise ValueError("no voxel of the mask has signal in the two earliest echoes")
    slope = unwrap(np.angle(second * first.conj()), mask)[mask] / (times[1] - times[0])
    signals = [echoes[k][mask] for k in order]
    slope += _missing_cycles(signals, times, slope)
    intercept, _ = _fit_lines(signals, times, slope)
    phase = np.full(mask.shape, np.nan, dtype=np.float32)
    phase[mask] = wrap(intercept)
    noise = np.full(mask.shape, np.nan, dtype=np.float32)
    noise[mask] = np.sqrt(_intercept_variance(signals, times))
    return phase, noise


def _intercept_variance(
    signals: Sequence[NDArray[np.complexfloating]], times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give the variance of each line's value at zero, where the noise of the signals is 1."""
    weights = [np.abs(signal).astype(np.float64) ** 2 for signal in signals]
    w, wt, wtt = (sum(weights[k] * times[k] ** p for k in range(len(times))) for p in range(3))
    return wtt / np.maximum(w * wtt - wt**2, _SMALLEST_DETERMINANT * w * wtt)


def _missing_cycles(
    signals: Sequence[NDArray[np.complexfloating]],
    times: NDArray[np.float64],
    slope: NDArray[np.float64],
) -> float:
    """Find what whole cycles between the two earliest echoes add to the slope, in rad/s.

    Two echoes, or evenly spaced ones, fit as well with any number of cycles: the phase at zero
    then differs by a constant. Unevenly spaced ones do not, and their misfit would go with T2*.
    """
    every = max(1, slope.size // _SAMPLES)
    sample = [signal[::every] for signal in signals]
    cycle = 2 * np.pi / (times[1] - times[0])
    misfits = np.array([_fit_lines(sample, times, slope[::every] + n * cycle)[1] for n in _CYCLES])
    good = np.flatnonzero(misfits <= misfits.min() * (1 + 1e-6) + 1e-9)
    return cycle * _CYCLES[good[0]]


def _fit_lines(
    signals: Sequence[NDArray[np.complexfloating]],
    times: NDArray[np.float64],
    slope: NDArray[np.float64],
) -> tuple[NDArray[np.float64], float]:
    """Fit a line to each voxel's phase, echo by echo.

    Parameters
    ----------
    signals : sequence of complex ndarrays, shape (n,)
        In the order of the echo times.
    times : ndarray of float, shape (echoes,)
        In s.
    slope : ndarray of float, shape (n,)
        First guess, in rad/s.

    Returns
    -------
    intercept : ndarray of float, shape (n,)
        In rad.
    misfit : float
        Weighted mean square of the residuals, in rad^2.
    """
    intercept = np.angle(signals[0]) - slope * times[0]
    sums = np.zeros((5, intercept.size))
    squares = 0.0
    for used, (signal, time) in enumerate(zip(signals, times, strict=True), start=1):
        predicted = intercept + slope * time
        phase = predicted + wrap(np.angle(signal) - predicted)
        weight = np.abs(signal).astype(np.float64) ** 2
        for total, term in zip(sums, (1, time, time**2, phase, phase * time), strict=True):
            total += weight * term
        squares += np.sum(weight * phase**2)
        if used > 1:
            intercept, slope = _line(sums, intercept, slope)
    residual = squares - np.sum(intercept * sums[3] + slope * sums[4])
    return intercept, float(residual / np.sum(sums[0]))


def _line(
    sums: NDArray[np.float64], intercept: NDArray[np.float64], slope: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Solve for the line; where one echo outweighs the others to rounding, keep what it was."""
    w, wt, wtt, wp, wtp = sums
    determinant = w * wtt - wt**2
    solvable = determinant > _SMALLEST_DETERMINANT * w * wtt
    safe = np.where(solvable, determinant, 1)
    return (
        np.where(solvable, (wtt * wp - wt * wtp) / safe, intercept),
        np.where(solvable, (w * wtp - wt * wp) / safe, slope),
    )
