"""Standard deviations from noise replicates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.methods import MAGNITUDE_DELTA

REPLICATES = 32
"""Replicates of the phase's noise from which a standard deviation is estimated."""

MAGNITUDE_REPLICATES = 3
"""Replicates of the magnitude's noise, which moves the weights."""

# Voxels over which the standard deviation of a large kernel hardly changes.
_FILL_STEPS = 3

Estimator = Callable[
    [Sequence[NDArray[np.float32]], NDArray[np.float32] | None, NDArray[np.bool_]],
    NDArray[np.float32],
]
"""From n phases, the z-scored magnitude and where, to their Laplacians there, (n, n_at)."""


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
    spacing: int = 1,
    replicates: int = REPLICATES,
) -> NDArray[np.float32]:
    """Estimate the standard deviation of an estimator that is linear in the phase.

    Parameters
    ----------
    estimate : callable
        ``estimate(phases, zscore, at)`` gives Laplacians in rad/m^2, (n, n_at), at the voxels of
        the support among `at`, in their order in memory.
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
    spacing : int
        Voxels along x and y between those of `at`, which are averaged with their neighbours alike.
    replicates : int
        How many; at least 3.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        In rad/m^2; NaN where no replicate is valid. Its relative precision in each voxel is that of
        n replicates, ``1 / sqrt(2 (n - 1))``: 13 % for 32.

    Notes
    -----
    Given the magnitude, the variance is that of what the estimator makes of noise alone. To it
    comes the variance of its mean as the magnitude's noise moves the weights: how far other
    magnitudes move the Laplacian of `phase`, less how far they move that of noise, since the noise
    in `phase` is counted already. With a magnitude, both are averaged over the nearest voxels that
    are alike in tissue and magnitude, since a voxel's own magnitude is one of many it could have
    had.
    """
    inside = support != 0
    sparse = at is not None
    at = inside if at is None else inside & at
    noises = _Replicates(noise.phase, inside, replicates)
    of_noise = estimate(noises, zscore, at)
    variance = _in_volume(_mean_square(of_noise), at)
    if zscore is None:
        if sparse:
            variance = _smoothed(variance, support, spacing=spacing)
        return np.sqrt(variance).astype(np.float32)
    moved, moved_noise = [], []
    magnitudes = _Replicates(np.full_like(zscore, noise.zscore), inside, MAGNITUDE_REPLICATES, 1)
    for i, shift in enumerate(magnitudes):
        of_phase, of_one = estimate([phase, noises[i]], zscore + shift, at)
        moved.append(of_phase - laplacian[at])
        moved_noise.append(of_one - of_noise[i])
    by_magnitude = _mean_square(np.stack(moved)) - _mean_square(np.stack(moved_noise))
    by_magnitude = _smoothed(_in_volume(by_magnitude, at), support, zscore, spacing)
    variance = _smoothed(variance, support, zscore, spacing) + np.fmax(by_magnitude, 0)
    return np.sqrt(variance).astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Replicates(Sequence[NDArray[np.float32]]):
    """Volumes of normal noise that are made when they are asked for, always the same.

    They are 0 outside.
    """

    sd: NDArray[np.float32]
    inside: NDArray[np.bool_]
    count: int
    stream: int = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> NDArray[np.float32]:
        if not 0 <= number < self.count:
            raise IndexError(number)
        sd = self.sd[self.inside]
        rng = np.random.default_rng([self.stream, number])
        volume = np.zeros_like(self.sd)
        volume[self.inside] = sd * rng.standard_normal(sd.shape, dtype=np.float32)
        return volume


def every_nth(support: NDArray[np.int32], spacing: int) -> NDArray[np.bool_]:
    """Choose voxels some spacing apart along x and y, and those whose tissue none of them near has.

    Parameters
    ----------
    support : ndarray of int32, shape (X, Y, Z)
        Tissue numbers; 0 is nowhere.
    spacing : int
        In voxels; at most 3.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
    """
    at = np.zeros(support.shape, dtype=bool)
    # from the second on, so that each voxel is one of them or next to one
    at[1::spacing, 1::spacing] = support[1::spacing, 1::spacing] != 0
    alone = np.isnan(_filled(np.where(at, 1.0, np.nan), support))
    return at | (alone & (support != 0))


def _mean_square(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Average the squares along the first axis, less those that are NaN; NaN where all are."""
    finite = np.isfinite(values)
    count = finite.sum(axis=0)
    total = np.sum(np.square(values), axis=0, where=finite, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _in_volume(values: NDArray[np.float64], at: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Put the values of some voxels into a volume, NaN elsewhere."""
    volume = np.full(at.shape, np.nan)
    volume[at] = values
    return volume


def _smoothed(
    values: NDArray[np.float64],
    support: NDArray[np.int32],
    zscore: NDArray[np.float32] | None = None,
    spacing: int = 1,
) -> NDArray[np.float64]:
    """Average over the nearest voxels alike; where none is known, fill in the same tissue."""
    if spacing > 1:
        means = mean_of_alike(values, support, zscore, spacing)
        values = np.where(np.isfinite(values), means, np.nan)
    return _filled(mean_of_alike(values, support, zscore), support)


def _filled(values: NDArray[np.float64], support: NDArray[np.int32]) -> NDArray[np.float64]:
    """Fill in what is NaN from the nearest voxels of the same tissue, step by step."""
    for _ in range(_FILL_STEPS):
        missing = np.isnan(values) & (support != 0)
        if not missing.any():
            break
        values = np.where(missing, mean_of_alike(values, support), values)
    return values


def mean_of_alike(
    values: NDArray[np.float64],
    support: NDArray[np.int32],
    zscore: NDArray[np.float32] | None = None,
    spacing: int = 1,
) -> NDArray[np.float64]:
    """Average over the 27 nearest voxels alike in tissue and magnitude, `spacing` apart in x and y.

    NaN are left out; where nothing is left, and outside the support, the mean is NaN.
    """
    known = np.isfinite(values) & (support != 0)
    total, count = np.zeros(values.shape), np.zeros(values.shape)
    across = (-spacing, 0, spacing)
    for offset in product(across, across, (-1, 0, 1)):
        here, there = _overlap(offset)
        alike = known[there] & (support[there] == support[here])
        if zscore is not None:
            alike &= np.abs(zscore[there] - zscore[here]) <= MAGNITUDE_DELTA
        total[here] += np.where(alike, values[there], 0)
        count[here] += alike
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _overlap(offset: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Give the part of a volume whose voxels have one at an offset, and the part of those."""
    here = tuple(slice(max(-step, 0), -step if step > 0 else None) for step in offset)
    there = tuple(slice(max(step, 0), step if step < 0 else None) for step in offset)
    return here, there
