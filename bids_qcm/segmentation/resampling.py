"""Labels and probabilities in another grid, and what they become there."""

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from numpy.typing import NDArray
from scipy import ndimage

PointMap = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Takes points (N, 3) in mm of the target's coordinates to those of the source, (N, 3) in mm.

A linear one may have a ``matrix`` (4, 4) that does the same, which makes resampling faster.
"""

_MOST_SAMPLES_PER_AXIS = 5
_POINTS_AT_ONCE = 1_000_000


def unmoved(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave points where they are: the point map of images in the same coordinates."""
    return points


def resample_labels(
    labels: NDArray[np.integer],
    affine: NDArray[np.floating],
    shape: tuple[int, int, int],
    target_affine: NDArray[np.floating],
    point_map: PointMap = unmoved,
) -> NDArray[np.int32]:
    """Take a segmentation to another grid: each label by itself, and then the largest.

    Parameters
    ----------
    labels : ndarray of int, shape (X, Y, Z)
        0 is background.
    affine : ndarray, shape (4, 4)
        Of the labels, voxel indices to mm.
    shape, target_affine
        Of the grid that is wanted.
    point_map : callable
        From the target's coordinates to those of the labels.

    Returns
    -------
    ndarray of int32, `shape`
        0 where the labels together fill less than half of a voxel, else the one that fills most.

    Notes
    -----
    Labels are interpolated linearly at points that lie, along each axis of a target voxel, at most
    one voxel of the source apart; their mean is the share of the voxel that the label fills.
    """
    present = [int(label) for label in np.unique(labels) if label != 0]
    if not present:
        return np.zeros(shape, np.int32)
    maps = (labels == label for label in present)
    shares = _resample(maps, len(present), affine, shape, target_affine, point_map)
    return largest(shares, present)


def resample_probabilities(
    probabilities: Sequence[NDArray[np.floating]],
    numbers: Sequence[int],
    affine: NDArray[np.floating],
    shape: tuple[int, int, int],
    target_affine: NDArray[np.floating],
    point_map: PointMap = unmoved,
) -> NDArray[np.int32]:
    """Take tissue probabilities to another grid, and label it; as `resample_labels`.

    Parameters
    ----------
    probabilities : sequence of ndarray of float, shape (X, Y, Z)
        Of each tissue.
    numbers : sequence of int
        The label of each tissue.
    affine, shape, target_affine, point_map
        As in :func:`resample_labels`.

    Returns
    -------
    ndarray of int32, `shape`
    """
    shares = _resample(iter(probabilities), len(numbers), affine, shape, target_affine, point_map)
    return largest(shares, numbers)


def resample_means(
    volumes: Sequence[NDArray],
    affine: NDArray[np.floating],
    shape: tuple[int, int, int],
    target_affine: NDArray[np.floating],
    point_map: PointMap = unmoved,
) -> NDArray[np.float32]:
    """Resample volumes to another grid: means over its voxels, 0 outside the source.

    Parameters
    ----------
    volumes : sequence of ndarray, shape (X, Y, Z)
        Finite.
    affine, shape, target_affine, point_map
        As in :func:`resample_labels`.

    Returns
    -------
    ndarray of float32, shape (number of volumes, *shape)
    """
    return _resample(iter(volumes), len(volumes), affine, shape, target_affine, point_map)


def largest(shares: NDArray[np.floating], numbers: Sequence[int]) -> NDArray[np.int32]:
    """Give each voxel the label of its largest share, where the shares reach a half together.

    Parameters
    ----------
    shares : ndarray of float, shape (L, ...)
        Share or probability of each label.
    numbers : sequence of int
        The L labels.

    Returns
    -------
    ndarray of int32, shape (...)
    """
    winners = np.asarray(numbers, np.int32)[np.argmax(shares, axis=0)]
    # a little less, for voxels that two labels fill exactly
    return np.where(shares.sum(axis=0) >= 0.5 - 1e-6, winners, np.int32(0))


def sample_nearest(
    labels: NDArray,
    affine: NDArray[np.floating],
    points: NDArray[np.float64],
    point_map: PointMap = unmoved,
) -> NDArray:
    """Give the value of the nearest voxel at points (N, 3) in mm; 0 outside."""
    indices = apply_affine(np.linalg.inv(affine), point_map(points))
    return ndimage.map_coordinates(labels, indices.T, order=0, mode="grid-constant", cval=0)


def grid_points(
    shape: tuple[int, int, int], affine: NDArray[np.floating], step: int = 1
) -> NDArray[np.float64]:
    """Give the centres of a grid's voxels in mm, (N, 3), or of every `step`-th along each axis."""
    axes = [np.arange(step // 2, n, step) for n in shape]
    indices = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return apply_affine(affine, indices)


def _resample(
    maps: Iterator[NDArray],
    n_maps: int,
    affine: NDArray[np.floating],
    shape: tuple[int, int, int],
    target_affine: NDArray[np.floating],
    point_map: PointMap,
) -> NDArray[np.float32]:
    """Give the mean of each map over each voxel of the target, (L, *shape); 0 outside."""
    points = grid_points(shape, target_affine)
    cut = [_cut(volume) for volume in maps]
    (inside,) = np.nonzero(_near(cut, points, affine, target_affine, point_map))
    offsets = _offsets(affine, target_affine)
    shares = np.zeros((n_maps, len(points)), np.float32)
    for start in range(0, len(inside), _POINTS_AT_ONCE):
        part = inside[start : start + _POINTS_AT_ONCE]
        for indices in _displaced_indices(points[part], offsets, affine, point_map):
            for share, (values, origin) in zip(shares, cut, strict=True):
                share[part] += ndimage.map_coordinates(
                    values, indices - origin, order=1, mode="constant", output=np.float32
                )
    return (shares / len(offsets)).reshape(n_maps, *shape)


def _displaced_indices(
    points: NDArray[np.float64],
    offsets: NDArray[np.float64],
    affine: NDArray[np.floating],
    point_map: PointMap,
) -> Iterator[NDArray[np.float64]]:
    """Give the source's indices of the points, moved by each offset, (3, N)."""
    to_index = np.linalg.inv(affine)
    matrix = np.eye(4) if point_map is unmoved else getattr(point_map, "matrix", None)
    if matrix is None:
        for offset in offsets:
            yield apply_affine(to_index, point_map(points + offset)).T
        return
    centres = apply_affine(to_index @ matrix, points).T
    for offset in offsets:
        yield centres + ((to_index @ matrix)[:3, :3] @ offset)[:, None]


def _cut(volume: NDArray) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Cut a volume to what is not 0 and a rim of zeros, which interpolation reaches.

    The second is the index of the first voxel, (3, 1).
    """
    filled = volume != 0
    if not filled.any():
        return np.zeros((1, 1, 1), np.float32), np.zeros((3, 1), np.int64)
    (box,) = ndimage.find_objects(filled.astype(np.uint8))
    origin = np.array([[part.start - 1] for part in box])
    return np.pad(volume[box].astype(np.float32), 1), origin


def _near(
    cut: list[tuple[NDArray[np.float32], NDArray[np.int64]]],
    points: NDArray[np.float64],
    affine: NDArray[np.floating],
    target_affine: NDArray[np.floating],
    point_map: PointMap,
) -> NDArray[np.bool_]:
    """Tell which voxels of the target reach into what is not 0 of the source."""
    indices = apply_affine(np.linalg.inv(affine), point_map(points))
    reach = 1 + max(voxel_sizes(target_affine)) / min(voxel_sizes(affine))
    low = np.min([origin[:, 0] for _, origin in cut], axis=0) - reach
    high = np.max([origin[:, 0] + values.shape for values, origin in cut], axis=0) + reach
    return np.all((indices > low) & (indices < high), axis=1)


def _offsets(
    affine: NDArray[np.floating], target_affine: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Spread points evenly over a target voxel, relative to its centre, (N, 3) in mm."""
    ratio = voxel_sizes(target_affine) / min(voxel_sizes(affine))
    # not two points where sizes differ by rounding
    numbers = np.clip(np.ceil(ratio - 1e-3), 1, _MOST_SAMPLES_PER_AXIS).astype(int)
    fractions = product(*((np.arange(n) + 0.5) / n - 0.5 for n in numbers))
    return np.array(list(fractions)) @ np.asarray(target_affine)[:3, :3].T
