"""Estimate standard deviations from noise replicates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.kernels import Triple
from bids_qcm.recon.methods import MAGNITUDE_DELTA

REPLICATES = 32
"""Number of replicates of the phase noise from which a standard deviation is estimated."""

NOISE_MAPS = 16
"""Number of noise maps, from which standard errors of regional means are computed.

The relative error of such a standard error is ``1 / sqrt(2 NOISE_MAPS)``, which is 18 %.
"""

MAGNITUDE_REPLICATES = 3
"""Number of replicates of the magnitude noise, which changes the weights."""

# Distance in voxels over which the standard deviation of a large kernel hardly changes. Missing
# values are filled in over at most this distance.
_FILL_STEPS = 3

# Maximum spacing in voxels of the voxels in which the noise is computed.
_LARGEST_SPACING = 3

Estimator = Callable[
    [Sequence[NDArray[np.float32]], NDArray[np.float32] | None, NDArray[np.bool_]],
    NDArray[np.float32],
]
"""Function of n phases, the z-scored magnitude and a mask.

It returns the Laplacians of the phases at the voxels of the mask, shape (n, n_at).
"""


@dataclass(frozen=True, eq=False)
class Noise:
    """Standard deviations of the noise, which is independent between voxels.

    Attributes
    ----------
    phase : ndarray of float32, shape (X, Y, Z)
        Standard deviation of the phase in rad, finite everywhere.
    zscore : float
        Standard deviation of the z-scored magnitude.
    """

    phase: NDArray[np.float32]
    zscore: float


class Replicated(NamedTuple):
    """Noise of an estimator.

    Attributes
    ----------
    std : ndarray of float32, shape (X, Y, Z)
        Standard deviation in rad/m^2; NaN where no replicate is valid.
    noise : ndarray of float32, shape (replicates, n_at)
        The estimator applied to phase noise alone, in rad/m^2, at the voxels that are both in the
        support and in `at`, in C order; NaN where invalid.
    """

    std: NDArray[np.float32]
    noise: NDArray[np.float32]


def replicate_noise(
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
) -> Replicated:
    """Estimate the noise of an estimator that is linear in the phase.

    Parameters
    ----------
    estimate : callable
        ``estimate(phases, zscore, at)`` returns Laplacians in rad/m^2, shape (n, n_at), at the
        voxels that are both in the support and in `at`, in C order.
    phase : ndarray of float32, shape (X, Y, Z)
        Phase in rad.
    laplacian : ndarray of float32, shape (X, Y, Z)
        Laplacian of `phase` from the same estimator, in rad/m^2.
    support : ndarray of int32, shape (X, Y, Z)
        Tissue numbers; 0 outside the support.
    noise : Noise
    zscore : ndarray of float32, shape (X, Y, Z), or None
        z-scored magnitude; None if the estimator does not use it.
    at : ndarray of bool, shape (X, Y, Z), optional
        Voxels at which the estimator is evaluated; default: all. A selection is sufficient if the
        kernels are so large that the variance hardly changes from voxel to voxel. Other voxels near
        the selected voxels are assigned the mean of their neighbours.
    spacing : int
        Spacing of the voxels of `at` along x and y. Each selected voxel is averaged with its
        selected neighbours of the same tissue and similar magnitude.
    replicates : int
        Number of replicates; at least 3.

    Returns
    -------
    Replicated
        Before averaging over neighbours, the relative error of the standard deviation in each voxel
        is ``1 / sqrt(2 (n - 1))`` for n replicates, which is 13 % for 32 replicates.

    Notes
    -----
    For a given magnitude, the variance is the mean square of the estimator applied to noise alone.
    The magnitude noise adds a second variance, because it changes the weights and therefore the
    Laplacian of `phase`. This variance is estimated from other realisations of the magnitude: it is
    the mean squared change of the Laplacian of `phase` minus the mean squared change of the
    Laplacian of noise. The latter is subtracted because the noise in `phase` is already included in
    the first variance. If the estimator uses a magnitude, both variances are averaged over the
    nearest voxels of the same tissue and similar magnitude, because the magnitude of a single voxel
    is only one of many possible realisations.
    """
    inside = support != 0
    sparse = at is not None
    at = inside if at is None else inside & at
    noises = NoisePhases(noise.phase, inside, replicates)
    of_noise = estimate(noises, zscore, at)
    variance = _in_volume(_mean_square(of_noise), at)
    if zscore is None:
        if sparse:
            variance = _smoothed(variance, support, spacing=spacing)
        return Replicated(np.sqrt(variance).astype(np.float32), of_noise)
    moved, moved_noise = [], []
    magnitudes = NoisePhases(np.full_like(zscore, noise.zscore), inside, MAGNITUDE_REPLICATES, 1)
    for i, shift in enumerate(magnitudes):
        of_phase, of_one = estimate([phase, noises[i]], zscore + shift, at)
        moved.append(of_phase - laplacian[at])
        moved_noise.append(of_one - of_noise[i])
    by_magnitude = _mean_square(np.stack(moved)) - _mean_square(np.stack(moved_noise))
    by_magnitude = _smoothed(_in_volume(by_magnitude, at), support, zscore, spacing)
    variance = _smoothed(variance, support, zscore, spacing) + np.fmax(by_magnitude, 0)
    return Replicated(np.sqrt(variance).astype(np.float32), of_noise)


@dataclass(frozen=True, eq=False)
class NoisePhases(Sequence[NDArray[np.float32]]):
    """Reproducible volumes of normal noise, which are generated on access.

    Attributes
    ----------
    sd : ndarray of float32, shape (X, Y, Z)
        Standard deviation of the noise.
    inside : ndarray of bool, shape (X, Y, Z)
        Mask; the volumes are 0 outside it.
    number : int
        Number of volumes.
    stream : int
        Number of the random stream; the noise of different streams is independent.
    """

    sd: NDArray[np.float32]
    inside: NDArray[np.bool_]
    number: int
    stream: int = 0

    def __len__(self) -> int:
        return self.number

    # only integer indices are supported
    def __getitem__(self, index: int) -> NDArray[np.float32]:  # type: ignore[override]
        if not 0 <= index < self.number:
            raise IndexError(index)
        sd = self.sd[self.inside]
        rng = np.random.default_rng([self.stream, index])
        volume = np.zeros_like(self.sd)
        volume[self.inside] = sd * rng.standard_normal(sd.shape, dtype=np.float32)
        return volume


def spacing_of_noise(
    radius: Triple, voxel_size: Triple, axes: Sequence[int], per_radius: float
) -> int:
    """Return the spacing, along x and y, of the voxels in which the noise is computed.

    Parameters
    ----------
    radius, voxel_size : tuple of 3 floats
        Radius of the kernel and size of the voxels, mm.
    axes : sequence of int
        Axes along which the phase is differentiated.
    per_radius : float
        Distance over which the noise hardly changes, as a fraction of the radius.

    Returns
    -------
    int
        Spacing in voxels, for :func:`select_at_spacing`: 1, 2 or 3.
    """
    reach = min(radius[axis] / voxel_size[axis] for axis in axes)
    return min(max(int(reach * per_radius), 1), _LARGEST_SPACING)


def select_at_spacing(support: NDArray[np.int32], spacing: int) -> NDArray[np.bool_]:
    """Select voxels at a given spacing along x and y.

    Voxels that have no selected voxel of the same tissue nearby are also selected.

    Parameters
    ----------
    support : ndarray of int32, shape (X, Y, Z)
        Tissue numbers; 0 outside the support.
    spacing : int
        Spacing in voxels; at most 3. A spacing of 1 selects the whole support.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
        The selected voxels.
    """
    if spacing == 1:
        return support != 0
    at = np.zeros(support.shape, dtype=bool)
    # start at index 1, so that each voxel is selected or is next to a selected voxel
    at[1::spacing, 1::spacing] = support[1::spacing, 1::spacing] != 0
    alone = np.isnan(_filled(np.where(at, 1.0, np.nan), support))
    return at | (alone & (support != 0))


def spread(
    values: NDArray[np.float32], at: NDArray[np.bool_], support: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Spread values of selected voxels to all voxels of the support.

    Parameters
    ----------
    values : ndarray of float32, shape (n, n_at)
        Values at the voxels that are both in the support and in `at`, in C order; all n rows are
        NaN at the same voxels.
    at : ndarray of bool, shape (X, Y, Z)
        The selected voxels.
    support : ndarray of int32, shape (X, Y, Z)
        Tissue numbers; 0 outside the support.

    Returns
    -------
    ndarray of float32, shape (n, n_support)
        Each voxel has the values of the nearest selected voxel of its tissue that is not NaN; NaN
        in a tissue without such a voxel.

    Notes
    -----
    The noise of a large kernel hardly changes over a few voxels. The nearest voxel is used instead
    of a mean of neighbours, because a mean would reduce the noise.
    """
    # import here, because the command line imports this module, and this import is slow
    from scipy.ndimage import distance_transform_edt, find_objects

    column = np.full(support.shape, -1)
    column[at & (support != 0)] = np.where(np.isfinite(values[0]), np.arange(values.shape[1]), -1)
    for label in np.unique(support[support != 0]):
        (box,) = find_objects((support == label).view(np.uint8))
        tissue, columns = support[box] == label, column[box]
        known = tissue & (columns >= 0)
        if known.any():
            nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
            columns[tissue] = columns[tuple(nearest)][tissue]
    found = column[support != 0]
    everywhere = values[:, found]
    everywhere[:, found < 0] = np.nan
    return everywhere


def _mean_square(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean square along the first axis, ignoring NaN; NaN where all values are NaN."""
    finite = np.isfinite(values)
    count = finite.sum(axis=0)
    total = np.sum(np.square(values), axis=0, where=finite, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _in_volume(values: NDArray[np.float64], at: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Insert the values of selected voxels into a volume; other voxels are NaN."""
    volume = np.full(at.shape, np.nan)
    volume[at] = values
    return volume


def _smoothed(
    values: NDArray[np.float64],
    support: NDArray[np.int32],
    zscore: NDArray[np.float32] | None = None,
    spacing: int = 1,
) -> NDArray[np.float64]:
    """Average over the nearest similar voxels, and replace NaN with values of the same tissue."""
    if spacing > 1:
        means = mean_of_similar(values, support, zscore, spacing)
        values = np.where(np.isfinite(values), means, np.nan)
    return _filled(mean_of_similar(values, support, zscore), support)


def _filled(values: NDArray[np.float64], support: NDArray[np.int32]) -> NDArray[np.float64]:
    """Repeatedly replace NaN with the mean of the neighbours in the same tissue."""
    for _ in range(_FILL_STEPS):
        missing = np.isnan(values) & (support != 0)
        if not missing.any():
            break
        values = np.where(missing, mean_of_similar(values, support), values)
    return values


def mean_of_similar(
    values: NDArray[np.float64],
    support: NDArray[np.int32],
    zscore: NDArray[np.float32] | None = None,
    spacing: int = 1,
) -> NDArray[np.float64]:
    """Average over the nearest voxels of the same tissue and similar magnitude.

    The nearest voxels form a 3 x 3 x 3 neighbourhood with a spacing of `spacing` voxels along x and
    y. NaN values are ignored. The mean is NaN outside the support and where no value remains.
    """
    known = np.isfinite(values) & (support != 0)
    total, count = np.zeros(values.shape), np.zeros(values.shape)
    across = (-spacing, 0, spacing)
    for offset in product(across, across, (-1, 0, 1)):
        here, there = _overlap(offset)
        similar = known[there] & (support[there] == support[here])
        if zscore is not None:
            similar &= np.abs(zscore[there] - zscore[here]) <= MAGNITUDE_DELTA
        total[here] += np.where(similar, values[there], 0)
        count[here] += similar
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _overlap(offset: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the slices of all voxels that have a neighbour at an offset.

    The second element of the result contains the slices of the neighbours.
    """
    here = tuple(slice(max(-step, 0), -step if step > 0 else None) for step in offset)
    there = tuple(slice(max(step, 0), step if step < 0 else None) for step in offset)
    return here, there
