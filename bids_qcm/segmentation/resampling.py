"""Resampling of labels, probabilities and volumes to another grid."""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.grids import Grid, Volume

PointMap = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Function that maps points from target coordinates to source coordinates, both (N, 3) in mm.

A linear function may have an attribute ``matrix``, (4, 4), with which resampling is faster.
"""

_MOST_SAMPLES_PER_AXIS = 5
_POINTS_AT_ONCE = 1_000_000

# Spacing of the points with which a mask is first located in the target grid. All voxels near the
# mask are mapped afterwards.
_COARSE_MM = 8.0


def identity(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points unchanged: the point map of two images in the same coordinate system."""
    return points


def resample_labels(
    labels: Volume, target: Grid, point_map: PointMap = identity
) -> NDArray[np.int32]:
    """Resample a segmentation to another grid.

    Parameters
    ----------
    labels : Volume of int
        0 is background.
    target : Grid
    point_map : callable
        Function that maps points from target coordinates to coordinates of the labels, in mm.

    Returns
    -------
    ndarray of int32, shape of `target`
        Label with the largest share of each voxel; 0 where all labels together fill less than half
        of the voxel.

    Notes
    -----
    Each label is interpolated linearly at regularly spaced points in the target voxel, and the mean
    over the points is the share of the voxel that the label fills. Along each axis, the distance
    between the points is at most one source voxel, with at most five points.
    """
    present = [int(label) for label in np.unique(labels.values) if label != 0]
    if not present:
        return np.zeros(target.shape, np.int32)
    maps = (labels.values == label for label in present)
    return label_of_largest_share(
        _resample(maps, len(present), labels.grid, target, point_map), present
    )


def resample_probabilities(
    probabilities: Sequence[NDArray[np.floating]],
    numbers: Sequence[int],
    source: Grid,
    target: Grid,
    point_map: PointMap = identity,
) -> NDArray[np.int32]:
    """Resample tissue probabilities to another grid, and label each voxel.

    Parameters
    ----------
    probabilities : sequence of ndarray of float, shape of `source`
        Probability map of each tissue.
    numbers : sequence of int
        Label of each tissue.
    source : Grid
        Grid of the probability maps.
    target, point_map
        As in :func:`resample_labels`.

    Returns
    -------
    ndarray of int32, shape of `target`
        Label of the most probable tissue; 0 where the sum of the probabilities is below one half.
    """
    shares = _resample(iter(probabilities), len(numbers), source, target, point_map)
    return label_of_largest_share(shares, numbers)


def resample_means(
    volumes: Sequence[NDArray[np.floating] | NDArray[np.bool_]],
    source: Grid,
    target: Grid,
    point_map: PointMap = identity,
) -> NDArray[np.float32]:
    """Resample volumes to another grid by averaging over each target voxel.

    Parameters
    ----------
    volumes : sequence of ndarray, shape of `source`
        Volumes with finite values.
    source, target, point_map
        As in :func:`resample_probabilities`.

    Returns
    -------
    ndarray of float32, shape (number of volumes, *target.shape)
        0 outside the source grid.
    """
    return _resample(iter(volumes), len(volumes), source, target, point_map)


def resample_inside(
    maps: Sequence[NDArray[np.floating]],
    mask: NDArray[np.bool_],
    source: Grid,
    target: Grid,
    point_map: PointMap = identity,
) -> NDArray[np.float32]:
    """Resample maps that are defined only in a mask, without mixing in values from outside.

    Parameters
    ----------
    maps : sequence of ndarray of float, shape of `source`
        Maps; a voxel of the mask is invalid if the map is not finite there.
    mask : ndarray of bool, shape of `source`
        At least one voxel.
    source, target, point_map
        As in :func:`resample_probabilities`.

    Returns
    -------
    ndarray of float32, shape (number of maps, *target.shape)
        Mean over the valid part of each target voxel. 0 where less than half of the target voxel
        is in the mask, and NaN where less than half of the part in the mask is valid.
    """
    box = box_of_mask(Volume(mask, source), target, point_map)
    valid = [mask & np.isfinite(one) for one in maps]
    values = [np.where(own, one, 0) for own, one in zip(valid, maps, strict=True)]
    shares = resample_means([mask, *valid, *values], source, target.part(box), point_map)
    inside, share_valid, total = shares[0], shares[1 : 1 + len(maps)], shares[1 + len(maps) :]
    enough = (share_valid > 0) & (share_valid >= inside / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.where(enough, total / share_valid, np.nan)
    resampled = np.zeros((len(maps), *target.shape), np.float32)
    # The tolerance allows for rounding where exactly one half of the voxel is in the mask.
    resampled[:, *box] = np.where(inside >= 0.5 - 1e-6, means, 0)
    return resampled


def resample_nearest(labels: Volume, target: Grid, point_map: PointMap = identity) -> NDArray[Any]:
    """Resample labels to another grid (nearest neighbour); 0 outside the source grid."""
    resampled = np.zeros(target.shape, labels.values.dtype)
    filled = labels.values != 0
    if filled.any():
        box = box_of_mask(Volume(filled, labels.grid), target, point_map)
        part = target.part(box)
        resampled[box] = sample_nearest(labels, part.points(), point_map).reshape(part.shape)
    return resampled


def box_of_mask(mask: Volume, target: Grid, point_map: PointMap = identity) -> tuple[slice, ...]:
    """Return a box of target voxels that contains all voxels that overlap a mask.

    Parameters
    ----------
    mask : Volume of bool
        At least one voxel.
    target, point_map
        As in :func:`resample_labels`.

    Returns
    -------
    tuple of 3 slices
        Box with a margin of up to 16 mm; empty if the mask lies outside the target grid.
    """
    step = np.clip(np.round(_COARSE_MM / target.spacing).astype(int), 1, target.shape)
    shape = -(-np.array(target.shape) // step)
    affine = target.affine @ np.diag([*step, 1])
    affine[:3, 3] = target.at((step - 1) / 2)
    coarse = Grid(tuple(shape.tolist()), affine)
    indices = _source_indices(coarse.points(), mask.grid, point_map)
    near = _overlaps_source([_crop(mask.values)], indices, mask.grid, coarse)
    if not near.any():
        return (slice(0, 0),) * 3
    (found,) = ndimage.find_objects(near.reshape(coarse.shape).astype(np.uint8))
    return tuple(
        slice(max(0, (one.start - 1) * n), min(length, (one.stop + 1) * n))
        for one, n, length in zip(found, step.tolist(), target.shape, strict=True)
    )


def label_of_largest_share(
    shares: NDArray[np.floating], numbers: Sequence[int]
) -> NDArray[np.int32]:
    """Return the label with the largest share in each voxel.

    Parameters
    ----------
    shares : ndarray of float, shape (L, ...)
        Share or probability of each label.
    numbers : sequence of int
        The L labels.

    Returns
    -------
    ndarray of int32, shape (...)
        0 where the sum of the shares is below one half.
    """
    winners = np.asarray(numbers, np.int32)[np.argmax(shares, axis=0)]
    # The tolerance allows for rounding where the sum of the shares is exactly one half.
    return np.where(shares.sum(axis=0) >= 0.5 - 1e-6, winners, np.int32(0))


def sample_nearest(
    labels: Volume, points: NDArray[np.float64], point_map: PointMap = identity
) -> NDArray[Any]:
    """Return the value of the nearest voxel at points (N, 3) in mm; 0 outside the volume."""
    indices = apply_affine(np.linalg.inv(labels.grid.affine), point_map(points))
    return ndimage.map_coordinates(labels.values, indices.T, order=0, mode="grid-constant", cval=0)


def _resample(
    maps: Iterator[NDArray[np.floating] | NDArray[np.bool_]],
    n_maps: int,
    source: Grid,
    target: Grid,
    point_map: PointMap,
) -> NDArray[np.float32]:
    """Return the mean of each map over each target voxel, (L, *shape); 0 outside the source."""
    points = target.points()
    cropped = [_crop(volume) for volume in maps]
    centres = _source_indices(points, source, point_map)
    (inside,) = np.nonzero(_overlaps_source(cropped, centres, source, target))
    offsets = _sample_offsets(source, target)
    shares = np.zeros((n_maps, len(points)), np.float32)
    for start in range(0, len(inside), _POINTS_AT_ONCE):
        part = inside[start : start + _POINTS_AT_ONCE]
        for indices in _displaced_indices(
            points[part], centres[:, part], offsets, source, point_map
        ):
            for share, (values, origin) in zip(shares, cropped, strict=True):
                share[part] += ndimage.map_coordinates(
                    values, indices - origin, order=1, mode="constant", output=np.float32
                )
    return (shares / np.float32(len(offsets))).reshape(n_maps, *target.shape)


def _source_indices(
    points: NDArray[np.float64], source: Grid, point_map: PointMap
) -> NDArray[np.float64]:
    """Return the source indices of points in target coordinates, (3, N)."""
    return apply_affine(np.linalg.inv(source.affine), point_map(points)).T


def _displaced_indices(
    points: NDArray[np.float64],
    centres: NDArray[np.float64],
    offsets: NDArray[np.float64],
    source: Grid,
    point_map: PointMap,
) -> Iterator[NDArray[np.float64]]:
    """Yield the source indices of the points, displaced by each offset, (3, N).

    `centres` are the source indices of the points without displacement.
    """
    matrix = np.eye(4) if point_map is identity else getattr(point_map, "matrix", None)
    for offset in offsets:
        if not offset.any():
            yield centres
        elif matrix is None:
            yield _source_indices(points + offset, source, point_map)
        else:
            linear = (np.linalg.inv(source.affine) @ matrix)[:3, :3]
            yield centres + (linear @ offset)[:, None]


def _crop(
    volume: NDArray[np.floating] | NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Crop a volume to its nonzero voxels and a margin of one voxel for the interpolation.

    Returns
    -------
    values : ndarray of float32
        Cropped volume.
    origin : ndarray of int, shape (3, 1)
        Index of the first voxel of `values` in the volume.
    """
    filled = volume != 0
    if not filled.any():
        return np.zeros((1, 1, 1), np.float32), np.zeros((3, 1), np.int64)
    (box,) = ndimage.find_objects(filled.astype(np.uint8))
    origin = np.array([[part.start - 1] for part in box])
    return np.pad(volume[box].astype(np.float32), 1), origin


def _overlaps_source(
    cropped: list[tuple[NDArray[np.float32], NDArray[np.int64]]],
    centres: NDArray[np.float64],
    source: Grid,
    target: Grid,
) -> NDArray[np.bool_]:
    """Whether each target voxel overlaps the nonzero voxels of the source.

    `centres` are the source indices of the target voxels, (3, N).
    """
    reach = 1 + max(target.spacing) / min(source.spacing)
    low = np.min([origin[:, 0] for _, origin in cropped], axis=0) - reach
    high = np.max([origin[:, 0] + values.shape for values, origin in cropped], axis=0) + reach
    return np.all((low < centres.T) & (high > centres.T), axis=1)


def _sample_offsets(source: Grid, target: Grid) -> NDArray[np.float64]:
    """Return evenly spaced points in a target voxel, relative to the voxel centre, (N, 3) in mm."""
    ratio = target.spacing / min(source.spacing)
    # The tolerance avoids a second point where the voxel sizes differ only by rounding.
    numbers = np.clip(np.ceil(ratio - 1e-3), 1, _MOST_SAMPLES_PER_AXIS).astype(int)
    fractions = product(*((np.arange(n) + 0.5) / n - 0.5 for n in numbers))
    return np.array(list(fractions)) @ target.affine[:3, :3].T
