"""Isotropic grids in MNI152 space, and how to take a map from one to another."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Grid:
    """Where voxels lie; the axes are right, anterior, superior.

    Parameters
    ----------
    origin
        Centre of the first voxel, (3,), mm.
    resolution
        Voxel size, mm.
    shape
        Voxels along each axis.
    """

    origin: np.ndarray
    resolution: float
    shape: tuple[int, int, int]

    @property
    def affine(self) -> np.ndarray:
        """Voxel indices to mm, (4, 4) float64."""
        affine = np.diag([self.resolution] * 3 + [1.0])
        affine[:3, 3] = self.origin
        return affine

    def centres(self, axis: int) -> np.ndarray:
        """Voxel centres along an axis, mm."""
        return self.origin[axis] + self.resolution * np.arange(self.shape[axis])


def grid_around(low: np.ndarray, high: np.ndarray, resolution: float, margin: int) -> Grid:
    """Make a grid that covers a box.

    Parameters
    ----------
    low, high
        Corners of the box, (3,), mm.
    resolution
        Voxel size, mm. Voxel centres are its multiples.
    margin
        Voxels to add on each side.

    Returns
    -------
    Grid
        The smallest such grid.
    """
    first = np.floor(np.asarray(low) / resolution) - margin
    last = np.ceil(np.asarray(high) / resolution) + margin
    x, y, z = (last - first + 1).astype(int).tolist()
    return Grid(first * resolution, resolution, (x, y, z))


def resample(values: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
    """Take a map to another grid, without aliasing and without losing volume.

    Each voxel of a coarser grid is the mean of the map over the voxel's own box; a finer grid is
    interpolated linearly. Both are the mean over a box as wide as the larger of the two voxels.
    Outside the source the map is 0.

    Parameters
    ----------
    values
        Shape of `source`.
    source, target
        Where the map is, and where it is wanted.

    Returns
    -------
    ndarray
        Shape of `target`, float32.
    """
    result = np.asarray(values, dtype=np.float32)
    for axis in range(3):
        weights = _box_weights(source, target, axis)
        result = np.moveaxis(np.tensordot(weights, result, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(result)


def _box_weights(source: Grid, target: Grid, axis: int) -> np.ndarray:
    """Return the share of each source voxel (columns) in each target voxel's box (rows)."""
    width = max(source.resolution, target.resolution)
    centres, edges = target.centres(axis)[:, None], source.centres(axis)[None, :]
    low = np.maximum(centres - width / 2, edges - source.resolution / 2)
    high = np.minimum(centres + width / 2, edges + source.resolution / 2)
    return (np.clip(high - low, 0, None) / width).astype(np.float32)
