"""Extrapolation of the phase of several echoes to echo time zero."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.phase.noise import NORMAL_MEDIAN
from bids_qcm.phase.unwrapping import unwrap, wrap

# Numbers of whole cycles to try between the two earliest echoes, in order of likelihood.
_CYCLES = (0, 1, -1, 2, -2, 3, -3)

# Approximate number of voxels in which the numbers of cycles are compared.
_SAMPLES = 10_000

# Minimum determinant of the normal equations, relative to w * wtt. Below this limit, one echo has
# nearly all the weight, and rounding errors make the fit ill-conditioned.
_SMALLEST_DETERMINANT = 1e-12

BLOCK = 5
"""Edge length of the blocks over which residuals are averaged, in voxels."""


class EchoLines(NamedTuple):
    """Linear fits of the phase over echo time, one for each voxel of a mask.

    Attributes
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        The n voxels with a fitted line.
    order : tuple of int
        Indices of the echoes by increasing echo time.
    times : ndarray of float, shape (echoes,)
        Echo times in increasing order, in s.
    signals : list of ndarray of complex, shape (n,)
        Complex signal of each echo, by increasing echo time.
    intercept : ndarray of float, shape (n,)
        Phase at echo time zero, in rad.
    slope : ndarray of float, shape (n,)
        Slope of the phase over echo time, in rad/s.
    """

    mask: NDArray[np.bool_]
    order: tuple[int, ...]
    times: NDArray[np.float64]
    signals: list[NDArray[np.complexfloating]]
    intercept: NDArray[np.float64]
    slope: NDArray[np.float64]

    def phase(self) -> NDArray[np.float32]:
        """Return the wrapped phase at echo time zero, (X, Y, Z), in rad; NaN outside the mask."""
        return self._volume(wrap(self.intercept))

    def noise(self) -> NDArray[np.float32]:
        """Return the standard deviation of the phase at echo time zero, (X, Y, Z), in rad.

        The standard deviation assumes unit noise in the real part of each echo, and is NaN outside
        the mask. Its square is ``sum(w t^2) / (sum(w) sum(w t^2) - sum(w t)^2)``.
        """
        return self._volume(np.sqrt(_intercept_variance(self.signals, self.times)))

    def misfit(self, block: int = BLOCK) -> tuple[float, ...]:
        """Return the deviation of each echo from the lines, in rad.

        Parameters
        ----------
        block : int
            Edge length of the blocks over which residuals are averaged, in voxels.

        Returns
        -------
        tuple of float
            Standard deviation of the residual for each echo, in the original order of the echoes.
            The standard deviation is estimated from the median absolute residual over the mask,
            after complex averaging over blocks. Averaging over 5 x 5 x 5 voxels suppresses noise by
            a factor of up to 11 but preserves the error of an echo. The median ignores voxels in
            which the phase is not linear in echo time, such as fat, vessels and voxels next to air.
            For two echoes, the deviation is 0, because a line fits them exactly.
        """
        found = np.zeros(len(self.order))
        if len(self.order) > 2:
            for echo, signal, time in zip(self.order, self.signals, self.times, strict=True):
                line = self.intercept + self.slope * time
                residual = block_average(
                    signal * np.abs(signal) * np.exp(-1j * line), self.mask, block
                )
                found[echo] = np.median(np.abs(np.angle(residual))) / NORMAL_MEDIAN
        return tuple(found.tolist())

    def expected_misfit(self, noise: float, block: int = BLOCK) -> tuple[float, ...]:
        """Return the misfit of each echo that is expected from noise alone, in rad.

        Parameters
        ----------
        noise : float
            Standard deviation of the noise in the real part of each echo.
        block : int
            See :meth:`misfit`.

        Returns
        -------
        tuple of float
            Expected misfits in the original order of the echoes.

        Notes
        -----
        The phase of an echo has the noise variance ``noise^2 / |S|^2``. The fitted line absorbs
        ``noise^2 (sum(w t'^2) - 2 t sum(w t') + t^2 sum(w)) / D`` of this variance, where t is the
        echo time, ``w = |S|^2`` and ``D = sum(w) sum(w t'^2) - sum(w t')^2``. The block average
        weights each voxel with ``|S|^2``, so that its variance is
        ``sum(|S|^4 v) / sum(|S|^2)^2`` for the voxel variances v.
        """
        w, wt, wtt = _weight_sums(self.signals, self.times)
        determinant = _determinant(w, wt, wtt)
        expected = np.zeros(len(self.order))
        for echo, signal, time in zip(self.order, self.signals, self.times, strict=True):
            weight = np.abs(signal).astype(np.float64) ** 2
            leverage = weight * (wtt - 2 * time * wt + time**2 * w) / determinant
            power = block_average(weight * np.maximum(1 - leverage, 0), self.mask, block).real
            total = block_average(weight, self.mask, block).real * np.sqrt(block**self.mask.ndim)
            expected[echo] = noise * np.median(np.sqrt(power) / np.maximum(total, 1e-30))
        return tuple(expected.tolist())

    def _volume(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        volume = np.full(self.mask.shape, np.nan, dtype=np.float32)
        volume[self.mask] = values
        return volume


def fit_echo_lines(
    echoes: Sequence[NDArray[np.complexfloating]],
    echo_times: Sequence[float],
    mask: NDArray[np.bool_],
) -> EchoLines:
    """Fit the phase of each voxel as a linear function of echo time.

    Parameters
    ----------
    echoes : sequence of complex ndarrays, shape (X, Y, Z)
        At least two.
    echo_times : sequence of float
        Echo times in s; all must be different.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels to fit. Voxels without signal in one of the two earliest echoes are left out.

    Returns
    -------
    EchoLines

    Raises
    ------
    ValueError
        If there are fewer than two echoes, if echo times are equal or missing, or if no voxel can
        be fitted.

    Notes
    -----
    The weights of the least-squares fit are ``|S|^2``, which is proportional to the inverse
    variance of the phase. Each echo is unwrapped over echo time relative to the line through the
    earlier echoes. The initial slope follows from the spatially unwrapped phase difference of the
    two earliest echoes, plus the number of whole cycles that best fits the other echoes.
    """
    times = np.asarray(echo_times, dtype=np.float64)
    different = np.unique(times[np.isfinite(times)])
    if len(echoes) < 2 or times.shape != (len(echoes),) or different.size < len(echoes):
        raise ValueError(
            "at least two echoes with different echo times are needed, but there are "
            f"{len(echoes)} echoes with the echo times {times}"
        )
    order = np.argsort(times)
    times = times[order]
    first, second = (echoes[k] for k in order[:2])
    mask = mask & (first != 0) & (second != 0)
    if not mask.any():
        raise ValueError("no voxel of the mask has signal in the two earliest echoes")
    slope = unwrap(np.angle(second * first.conj()), mask)[mask] / (times[1] - times[0])
    signals = [echoes[k][mask] for k in order]
    slope += _missing_cycles(signals, times, slope)
    intercept, slope, _ = _fit_lines(signals, times, slope)
    return EchoLines(mask, tuple(order.tolist()), times, signals, intercept, slope)


def block_average(
    signal: NDArray[np.complexfloating], mask: NDArray[np.bool_], block: int = BLOCK
) -> NDArray[np.complexfloating]:
    """Average a signal of shape (n,) over the block around each voxel of the mask."""
    volume = np.zeros(mask.shape, np.complex64)
    volume[mask] = signal
    return (
        ndimage.uniform_filter(volume.real, block, mode="constant")
        + 1j * ndimage.uniform_filter(volume.imag, block, mode="constant")
    )[mask]


def _intercept_variance(
    signals: Sequence[NDArray[np.complexfloating]], times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the variance of each line at echo time zero for unit-variance signal noise."""
    w, wt, wtt = _weight_sums(signals, times)
    return wtt / _determinant(w, wt, wtt)


def _determinant(
    w: NDArray[np.float64], wt: NDArray[np.float64], wtt: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the determinant of each line's normal equations, limited to the rounding error."""
    return np.maximum(w * wtt - wt**2, _SMALLEST_DETERMINANT * w * wtt)


def _weight_sums(
    signals: Sequence[NDArray[np.complexfloating]], times: NDArray[np.float64]
) -> tuple[NDArray[np.float64], ...]:
    """Return the sums of ``|S|^2``, ``|S|^2 t`` and ``|S|^2 t^2`` over the echoes."""
    weights = [np.abs(signal).astype(np.float64) ** 2 for signal in signals]
    return tuple(sum(weights[k] * times[k] ** p for k in range(len(times))) for p in range(3))


def _missing_cycles(
    signals: Sequence[NDArray[np.complexfloating]],
    times: NDArray[np.float64],
    slope: NDArray[np.float64],
) -> float:
    """Return the slope of the whole cycles missed between the two earliest echoes, in rad/s.

    Two echoes, or evenly spaced echoes, fit equally well with any number of cycles; the number then
    changes the phase at echo time zero only by a constant. Unevenly spaced echoes fit only with the
    right number of cycles; a wrong number causes a phase error that depends on T2*.
    """
    every = max(1, slope.size // _SAMPLES)
    sample = [signal[::every] for signal in signals]
    cycle = 2 * np.pi / (times[1] - times[0])
    misfits = np.array([_fit_lines(sample, times, slope[::every] + n * cycle)[2] for n in _CYCLES])
    good = np.flatnonzero(misfits <= misfits.min() * (1 + 1e-6) + 1e-9)
    return cycle * _CYCLES[good[0]]


def _fit_lines(
    signals: Sequence[NDArray[np.complexfloating]],
    times: NDArray[np.float64],
    slope: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Fit a line to the phase of each voxel, and add one echo at a time.

    Parameters
    ----------
    signals : sequence of complex ndarrays, shape (n,)
        Echoes by increasing echo time.
    times : ndarray of float, shape (echoes,)
        Echo times in s.
    slope : ndarray of float, shape (n,)
        Initial slope, in rad/s.

    Returns
    -------
    intercept : ndarray of float, shape (n,)
        Phase at echo time zero in rad.
    slope : ndarray of float, shape (n,)
        Slope of the phase over echo time in rad/s.
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
            intercept, slope = _solve_line(sums, intercept, slope)
    residual = squares - np.sum(intercept * sums[3] + slope * sums[4])
    return intercept, slope, float(residual / np.sum(sums[0]))


def _solve_line(
    sums: NDArray[np.float64], intercept: NDArray[np.float64], slope: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Solve the normal equations for the line in each voxel.

    Where one echo has nearly all the weight, the equations are singular and the previous line is
    kept.
    """
    w, wt, wtt, wp, wtp = sums
    determinant = w * wtt - wt**2
    solvable = determinant > _SMALLEST_DETERMINANT * w * wtt
    safe = np.where(solvable, determinant, 1)
    return (
        np.where(solvable, (wtt * wp - wt * wtp) / safe, intercept),
        np.where(solvable, (w * wtp - wt * wp) / safe, slope),
    )
