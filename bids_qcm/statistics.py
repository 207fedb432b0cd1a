"""Statistics of conductivity in tissues; arrays only."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

EROSIONS = (0, 2, 4)
"""Voxels to erode tissues by, as in the MR-EPT guidelines (doi:10.1002/jmri.70230)."""

WHOLE_MASK = 0
"""Stands for all of the mask where a tissue's label would; no tissue has it."""


@dataclass(frozen=True)
class Statistics:
    """What the conductivity of a region is like.

    Attributes
    ----------
    n : int
        Voxels of the region, invalid ones included.
    mean, sd, median, iqr : float
        Of the valid voxels, S/m: mean, standard deviation (of a sample: n - 1), median, and the
        distance between the quartiles by Hazen's formula. NaN where there are too few voxels.
    invalid_fraction : float
        Share of the region's voxels that are invalid; NaN without voxels.
    """

    n: int
    mean: float
    sd: float
    median: float
    iqr: float
    invalid_fraction: float


@dataclass(frozen=True, eq=False)
class Region:
    """What erosion leaves of a tissue.

    Attributes
    ----------
    label : int
    erosion : int
        Voxels.
    voxels : ndarray of bool, shape (X, Y, Z)
    """

    label: int
    erosion: int
    voxels: NDArray[np.bool_]


def describe(values: NDArray[np.floating]) -> Statistics:
    """Give the statistics of a region's voxels.

    Parameters
    ----------
    values : ndarray, any shape
        S/m; invalid where not finite.

    Returns
    -------
    Statistics
        As the MR-EPT guidelines define them, see [1]_.

    References
    ----------
    .. [1] Mandija S, et al. J Magn Reson Imaging 2026. doi:10.1002/jmri.70230
    """
    valid = values[np.isfinite(values)].astype(np.float64)
    mean = median = iqr = sd = np.nan
    if valid.size:
        mean = valid.mean()
        lower, median, upper = np.quantile(valid, (0.25, 0.5, 0.75), method="hazen")
        iqr = upper - lower
    if valid.size > 1:
        sd = valid.std(ddof=1)
    invalid = 1 - valid.size / values.size if values.size else np.nan
    return Statistics(values.size, float(mean), float(sd), float(median), float(iqr), invalid)


def eroded_tissues(
    labels: NDArray[np.integer], erosions: Sequence[int] = EROSIONS
) -> Iterator[Region]:
    """Erode each tissue with balls.

    The radius counts voxels along every axis, whatever their size in mm. All that has another
    label, 0 included, erodes a tissue; the border of the volume does not, because the tissue may go
    on there. So a single slice is eroded in its plane.

    Parameters
    ----------
    labels : ndarray of int, shape (X, Y, Z)
        Tissues; 0 is none.
    erosions : sequence of int
        Radii in voxels; a radius of 0 leaves the tissue whole.

    Yields
    ------
    Region
        Tissues by label, each by erosion; without voxels where nothing is left.
    """
    for label in np.unique(labels[labels != 0]).tolist():
        tissue = labels == label
        # a ball fits where nothing else is within its radius: one distance serves all radii
        depth = np.inf if tissue.all() else ndimage.distance_transform_edt(tissue)
        for erosion in erosions:
            yield Region(label, erosion, tissue & (depth > erosion))


@dataclass(frozen=True)
class TissueStatistics(Statistics):
    """Statistics of a tissue after erosion.

    Attributes
    ----------
    label : int
        `WHOLE_MASK` for the mask as a whole.
    erosion : int
        Voxels.
    """

    label: int
    erosion: int


def tissue_statistics(
    conductivity: NDArray[np.floating],
    mask: NDArray[np.bool_],
    labels: NDArray[np.integer] | None = None,
    erosions: Sequence[int] = EROSIONS,
) -> list[TissueStatistics]:
    """Give the statistics of the mask as a whole, and of each tissue in it.

    Parameters
    ----------
    conductivity : ndarray of float, shape (X, Y, Z)
        S/m; invalid where not finite.
    mask : ndarray of bool, shape (X, Y, Z)
        Where there is conductivity. Tissues are eroded before they are cut to it.
    labels : ndarray of int, shape (X, Y, Z), optional
        Tissues; 0 is none.
    erosions : sequence of int
        As in :func:`eroded_tissues`.

    Returns
    -------
    list of TissueStatistics
        The mask first, without erosion; then tissues by label, each by erosion. Tissues without a
        voxel in the mask are left out.
    """
    regions = [Region(WHOLE_MASK, 0, mask)]
    if labels is not None:
        present = np.isin(labels, np.unique(labels[mask]))
        regions += eroded_tissues(np.where(present, labels, 0), erosions)
    return [
        TissueStatistics(
            **asdict(describe(conductivity[region.voxels & mask])),
            label=region.label,
            erosion=region.erosion,
        )
        for region in regions
    ]
