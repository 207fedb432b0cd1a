"""Difference between two maps of the same head, in units of noise."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

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


class Summary(NamedTuple):
    """Summary of a difference in units of its noise.

    Attributes
    ----------
    n : int
        Number of voxels with a value.
    share : float
        These voxels as a fraction of the mask.
    exceeding : float
        Fraction of these voxels whose absolute z exceeds 1.96; NaN without voxels.
    """

    n: int
    share: float
    exceeding: float


def summarise(z: NDArray[np.floating], mask: NDArray[np.bool_]) -> Summary:
    """Summarise a difference in units of its noise.

    Parameters
    ----------
    z : ndarray of float, shape (X, Y, Z)
        Invalid where not finite.
    mask : ndarray of bool, shape (X, Y, Z)
        At least one voxel.

    Returns
    -------
    Summary
    """
    inside = z[mask]
    values = inside[np.isfinite(inside)]
    exceeding = float(np.mean(np.abs(values) > LARGE_Z)) if values.size else np.nan
    return Summary(values.size, values.size / inside.size, exceeding)


def tissues_in_mask(
    mask: NDArray[np.bool_], segmentation: NDArray[np.integer] | None
) -> NDArray[np.integer]:
    """Return the tissue labels in a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
    segmentation : ndarray of int, shape (X, Y, Z), or None
        Labels that are not negative, or None for a single tissue.

    Returns
    -------
    ndarray of int, shape (X, Y, Z)
        Positive in the mask and 0 outside. Voxels without a label form a separate tissue.
    """
    return mask.astype(np.int32) if segmentation is None else mask * (segmentation + 1)


def have_same_names(first: Mapping[int, str], second: Mapping[int, str]) -> bool:
    """Whether the labels of two segmentations mean the same.

    Each table contains the names of the labels that occur, keyed by label. One of the tables may
    lack labels, because a small tissue may be absent from a scan.
    """
    return first.items() <= second.items() or second.items() <= first.items()


def mean_movement(pose: NDArray[np.floating], mask: Volume) -> float:
    """Return the mean distance in mm by which a rigid transform, (4, 4), moves a mask."""
    points = mask.grid.points()[mask.values.ravel()]
    return float(np.linalg.norm(apply_affine(pose, points) - points, axis=1).mean())
