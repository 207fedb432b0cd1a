"""Standard deviations from noise replicates."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.methods import MAGNITUDE_DELTA

REPLICATES = 24
"""Replicates of the phase's noise from which a standard deviation is estimated."""

MAGNITUDE_REPLICATES = 3
"""Replicates of the magnitude's noise, which moves the weights."""

# Voxels over which the standard deviation of a large kernel hardly changes.
_FILL_STEPS = 3

# Replicates of the phase that are estimated at once; more would take more memory.
_TOGETHER = 8

Estimator = Callable[
    [NDArray[np.float32], NDArray[np.float32] | None, NDArray[np.bool_]], NDArray[np.float32]
]
"""From several phases, the z-scored magnitude and where, to their Laplacians."""


@dataclass(frozen=True, eq=False)
class Noise:
    """Noise that is independent between voxels.

    Attributes
    ----------
    phase : ndarray of float32, shape (X, Y, Z)
        Standard deviation of the phase in rad, finite everywhere.
    zscore : float
        Standard deviation of the z-scored magnitude.
    """

    phase: NDArray[np.float32]
    zscore: float


def replicate_std(
    estimate: Estimator,
    phase: NDArray[np.float32],
    laplacian: NDArray[np.float32],
    support: NDArray[np.int32],
    noise: Noise,
    zscore: NDArray[np.float32] | None,
    *,
    at: NDArray[np.bool_] | None = None,
    replicates: int = REPLICATES,
) -> NDArray[np.float32]:
    """Estimate the standard deviation of an estimator that is linear in the phase.

    Parameters
    ----------
    estimate : callable
        ``estimate(phases, zscore, at)`` gives Laplacians (n, X, Y, Z) in rad/m^2.
    phase : ndarray of float32, shape (X, Y, Z)
        In rad.
    laplacian : ndarray of float32, shape (X, Y, Z)
        What the estimator makes of it, in rad/m^2.
    support : ndarray of int32, shape (X, Y, Z)
        Tissue numbers; 0 is nowhere.
    noise : Noise
    zscore : ndarray of float32, shape (X, Y, Z), or None
        z-scored magnitude, if the estimator uses it.
    at : ndarray of bool, shape (X, Y, Z), optional
        Estimate at these voxels only, for kernels so large that the variance hardly changes from
        voxel to voxel; the others near them get the mean of their neighbours.
    replicates : int
        A multiple of 8.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        In rad/m^2; NaN where no replicate is valid. Its relative precision in each voxel is that of
        n replicates, ``1 / sqrt(2 (n - 1))``: 15 % for 24.

    Notes
    -----
    Given the magnitude, the variance is that of what the estimator makes of noise alone. To it
    comes the variance of its mean as the magnitude's noise moves the weights: how far other
    magnitudes move the Laplacian of `phase`, less how far they move that of noise, since the noise
    in `phase` is counted already. With a magnitude, both are averaged over the nearest voxels that
    are alike in tissue and magnitude, since a voxel's own magnitude is one of many it could have
    had.
    """
    rng = np.random.default_rng(0)

    def normal() -> NDArray[np.float32]:
        return rng.standard_normal(support.shape, dtype=np.float32)

    sparse = at is not None
    if at is None:
        at = support != 0
    of_noise, moved, moved_noise = (_MeanSquare(support.shape) for _ in range(3))
    first = []
    phases = np.empty((_TOGETHER, *support.shape), dtype=np.float32)
    for _ in range(0, replicates, _TOGETHER):
        for one in phases:
            np.multiply(noise.phase, normal(), out=one)
        laplacians = estimate(phases, zscore, at)
        of_noise.add(laplacians)
        if not first:
            pairs = zip(phases, laplacians[:MAGNITUDE_REPLICATES], strict=False)
            # copies: the next replicates take the place of these
            first = [(one.copy(), other.copy()) for one, other in pairs]
        del laplacians
    del phases
    variance = of_noise.mean()
    if zscore is not None:
        for noise_phase, noise_laplacian in first:
            other = np.where(support != 0, zscore + np.float32(noise.zscore) * normal(), 0)
            laplacians = estimate(np.stack([phase, noise_phase]), other, at)
            moved.add(laplacians[:1] - laplacian)
            moved_noise.add(laplacians[1:] - noise_laplacian)
        shift = _smoothed(moved.mean() - moved_noise.mean(), support, zscore)
        variance = _smoothed(variance, support, zscore) + np.fmax(shift, 0)
    elif sparse:
        variance = _smoothed(variance, support)
    return np.sqrt(variance).astype(np.float32)


def every_third(support: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Choose every third voxel along x and y, and those whose tissue none of them near has.

    Parameters
    ----------
    support : ndarray of int32, shape (X, Y, Z)
        Tissue numbers; 0 is nowhere.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
    """
    at = np.zeros(support.shape, dtype=bool)
    # from the second on, so that each voxel is one of them or next to one
    at[1::3, 1::3] = support[1::3, 1::3] != 0
    alone = np.isnan(_filled(np.where(at, 1.0, np.nan), support))
    return at | (alone & (support != 0))


class _MeanSquare:
    """Mean square of volumes over those in which a voxel is not NaN."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._sum = np.zeros(shape)
        self._count = np.zeros(shape, dtype=np.int32)

    def add(self, volumes: NDArray[np.float32]) -> None:
        for values in volumes:
            finite = np.isfinite(values)
            self._count += finite
            self._sum += np.where(finite, values, 0).astype(np.float64) ** 2

    def mean(self) -> NDArray[np.float64]:
        return np.where(self._count > 0, self._sum / np.maximum(self._count, 1), np.nan)


def _smoothed(
    values: NDArray[np.float64],
    support: NDArray[np.int32],
    zscore: NDArray[np.float32] | None = None,
) -> NDArray[np.float64]:
    """Average over the nearest voxels alike; where none is known, fill in the same tissue."""
    return _filled(_mean_of_alike(values, support, zscore), support)


def _filled(values: NDArray[np.float64], support: NDArray[np.int32]) -> NDArray[np.float64]:
    """Fill in what is NaN from the nearest voxels of the same tissue, step by step."""
    for _ in range(_FILL_STEPS):
        values = np.where(np.isnan(values), _mean_of_alike(values, support), values)
    return values


def _mean_of_alike(
    values: NDArray[np.float64],
    support: NDArray[np.int32],
    zscore: NDArray[np.float32] | None = None,
) -> NDArray[np.float64]:
    """Average over the 27 nearest voxels of the same tissue and a similar magnitude.

    NaN are left out; where nothing is left, and outside the support, the mean is NaN.
    """
    known = np.isfinite(values) & (support != 0)
    total, count = np.zeros(values.shape), np.zeros(values.shape)
    for offset in product((-1, 0, 1), repeat=3):
        here, there = _overlap(offset)
        alike = known[there] & (support[there] == support[here])
        if zscore is not None:
            alike &= np.abs(zscore[there] - zscore[here]) <= MAGNITUDE_DELTA
        total[here] += np.where(alike, values[there], 0)
        count[here] += alike
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _overlap(offset: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Give the part of a volume whose voxels have one at an offset, and the part of those."""
    ends = {-1: (slice(1, None), slice(None, -1)), 0: (slice(None),) * 2}
    ends[1] = ends[-1][::-1]
    here, there = zip(*(ends[step] for step in offset), strict=True)
    return here, there
