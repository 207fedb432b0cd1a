"""Isotropic grids in MNI152 space, and resampling between grids."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bids_qcm.grids import Grid


@dataclass(frozen=True, eq=False, init=False)
class IsotropicGrid(Grid):
    """Isotropic voxel grid with RAS axes (right, anterior, superior).

    Parameters
    ----------
    origin
        Centre of the first voxel in mm, shape (3,).
    resolution
        Voxel size in mm.
    shape
        Number of voxels along each axis.
    """

    def __init__(
        self, origin: NDArray[np.float64], resolution: float, shape: tuple[int, int, int]
    ) -> None:
        affine = np.diag([resolution] * 3 + [1.0])
        affine[:3, 3] = origin
        super().__init__(shape, affine)

    @property
    def origin(self) -> NDArray[np.float64]:
        """Centre of the first voxel in mm, shape (3,)."""
        return self.affine[:3, 3]

    @property
    def resolution(self) -> float:
        """Voxel size in mm."""
        return float(self.affine[0, 0])

    def centres(self, axis: int) -> NDArray[np.float64]:
        """Return the voxel centres along an axis in mm."""
        return self.origin[axis] + self.resolution * np.arange(self.shape[axis])


def grid_around(low: ArrayLike, high: ArrayLike, resolution: float, margin: int) -> IsotropicGrid:
    """Return the smallest grid that covers a box and a margin.

    Parameters
    ----------
    low, high
        Corners of the box in mm, shape (3,).
    resolution
        Voxel size in mm. The coordinates of the voxel centres are multiples of the voxel size.
    margin
        Number of voxels to add on each side.

    Returns
    -------
    IsotropicGrid
    """
    first = np.floor(np.asarray(low) / resolution) - margin
    last = np.ceil(np.asarray(high) / resolution) + margin
    x, y, z = (last - first + 1).astype(int).tolist()
    return IsotropicGrid(first * resolution, resolution, (x, y, z))


def resample(values: np.ndarray, source: IsotropicGrid, target: IsotropicGrid) -> np.ndarray:
    """Resample a map to another grid without aliasing, and preserve its integral.

    On a coarser grid, each voxel is the mean of the map over the volume of the voxel. On a finer
    grid, the map is interpolated linearly. In both cases, the result is the mean over a box that is
    as wide as the larger of the two voxel sizes. The map is assumed to be 0 outside the source
    grid.

    Parameters
    ----------
    values
        Map on the `source` grid.
    source, target
        Grid of the map, and grid of the result.

    Returns
    -------
    ndarray
        Map on the `target` grid, float32.
    """
    result = np.asarray(values, dtype=np.float32)
    for axis in range(3):
        weights = _box_weights(source, target, axis)
        result = np.moveaxis(np.tensordot(weights, result, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(result)


def _box_weights(source: IsotropicGrid, target: IsotropicGrid, axis: int) -> np.ndarray:
    """Return the weight of each source voxel (columns) in each target voxel (rows)."""
    width = max(source.resolution, target.resolution)
    centres, edges = target.centres(axis)[:, None], source.centres(axis)[None, :]
    low = np.maximum(centres - width / 2, edges - source.resolution / 2)
    high = np.minimum(centres + width / 2, edges + source.resolution / 2)
    return (np.clip(high - low, 0, None) / width).astype(np.float32)
