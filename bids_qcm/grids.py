"""Voxel grids, and volumes of values on a grid."""

import math
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Maximum distance between positions that count as equal. Converters round the affine of a scan
# differently.
_TOLERANCE_MM = 0.1


@dataclass(frozen=True, eq=False)
class Grid:
    """The voxel grid of an image in scanner coordinates.

    Attributes
    ----------
    shape : tuple of 3 ints
    affine : ndarray of float, shape (4, 4)
        Maps voxel indices to scanner coordinates in mm (RAS axes: right, anterior, superior).
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Unrounded voxel size in mm, shape (3,)."""
        return np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Voxel size in mm, rounded to 1e-6 mm."""
        x, y, z = self.spacing.round(6).tolist()
        return x, y, z

    def orientation(self, axis: int) -> str:
        """Return the orientation of slices stacked along an axis: sagittal, coronal or axial."""
        return ("sagittal", "coronal", "axial")[np.abs(self.affine[:3, axis]).argmax()]

    def matches(self, other: "Grid") -> bool:
        """Whether both grids have the same shape and all voxel positions agree within 0.1 mm."""
        if self.shape != other.shape:
            return False
        # The difference between two affine maps is affine, so its norm is largest at a corner.
        corners = np.array(list(product(*((0, n - 1) for n in self.shape))))
        distance = Grid(self.shape, self.affine - other.affine).at(corners)
        return bool(np.all(np.linalg.norm(distance, axis=1) <= _TOLERANCE_MM))

    def at(self, indices: ArrayLike) -> NDArray[np.float64]:
        """Convert voxel indices to coordinates in mm. Both have shape (..., 3)."""
        return np.asarray(indices) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def points(self, step: int = 1) -> NDArray[np.float64]:
        """Return the centres in mm, shape (N, 3), of every `step`-th voxel along each axis."""
        axes = [np.arange(step // 2, n, step) for n in self.shape]
        indices = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        return self.at(indices)

    def part(self, box: tuple[slice, ...]) -> "Grid":
        """Return the part of the grid inside a box of voxel indices."""
        x, y, z = (len(range(*part.indices(n))) for part, n in zip(box, self.shape, strict=True))
        affine = self.affine.copy()
        affine[:3, 3] = self.at([part.start for part in box])
        return Grid((x, y, z), affine)


@dataclass(frozen=True, eq=False)
class Volume:
    """Values on a voxel grid.

    Attributes
    ----------
    values : ndarray, shape of `grid`
    grid : Grid
    path : Path or None
        File from which the values were read, for use in messages; None for computed values.
    """

    values: NDArray[Any]
    grid: Grid
    path: Path | None = None

    @property
    def origin(self) -> Path | str:
        """File of the values or, if they were computed, a description; used in messages."""
        return self.path or "computed values"
