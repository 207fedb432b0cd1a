"""Difference between two maps of the same head, in units of noise."""

from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from bids_qcm.grids import Grid, Volume
from bids_qcm.segmentation.resampling import resample_nearest

LARGE_Z = 1.96
"""Absolute z that 5 % of voxels exceed if the maps differ only in noise."""


@dataclass(frozen=True, eq=False)
class NoisyMap:
    """A conductivity map and its noise standard deviation.

    Attributes
    ----------
    conductivity, std : ndarray of float, shape of `grid`
        Conductivity and its noise standard deviation, S/m; invalid where not finite.
    labels : ndarray of int, shape of `grid`
        Tissue labels in the mask, 0 outside. Without a segmentation, 1 in the mask.
    grid : Grid
    """

    conductivity: NDArray[np.floating]
    std: NDArray[np.floating]
    labels: NDArray[np.integer]
    grid: Grid


def difference_in_noise(
    first: NoisyMap, second: NoisyMap, pose: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Compute the difference between two maps, divided by its noise standard deviation.

    Parameters
    ----------
    first, second : NoisyMap
        Maps of the same head with independent noise.
    pose : ndarray of float, shape (4, 4)
        Rigid transform from points of the first map to points of the second map, mm.

    Returns
    -------
    ndarray of float32, shape of the first map
        `z = (second - first) / sqrt(first.std^2 + second.std^2)`. 0 outside the mask of the first
        map; NaN where a map is invalid or where the voxels have different labels.

    Notes
    -----
    The second map is resampled by nearest neighbour. Linear interpolation averages up to eight
    voxels. This averaging reduces the noise by a factor that depends on the unknown noise
    correlation between the voxels, so z would be too small. The value of the nearest voxel has
    exactly the noise standard deviation of this voxel. The centre of this voxel is up to half a
    voxel away. This distance matters only at tissue boundaries, where voxels with different labels
    are left out.
    """

    def transform(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(apply_affine(pose, points))

    # the resampling fills voxels outside the second grid with 0
    conductivity, std, labels = (
        resample_nearest(Volume(values, second.grid), first.grid, transform)
        for values in (second.conductivity, second.std, second.labels)
    )
    noise = np.hypot(first.std, std)
    same = (first.labels == labels) & (noise > 0)
    z = np.full(first.grid.shape, np.nan, np.float32)
    np.divide(conductivity - first.conductivity, noise, out=z, where=same, casting="same_kind")
    z[~np.isfinite(z)] = np.nan
    z[first.labels == 0] = 0
    return z
