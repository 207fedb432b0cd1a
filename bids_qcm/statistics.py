"""Statistics of conductivity in tissues, computed from arrays."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

EROSIONS = (0, 2, 4)
"""Erosion radii of tissues in voxels, as in the MR-EPT guidelines (doi:10.1002/jmri.70230)."""

REGION_EROSIONS = (0, 1)
"""Erosion radii of the regions of an atlas in voxels. Larger radii would leave few regions."""

WHOLE_MASK = 0
"""Label of the whole mask in a list of tissues. Tissues have other labels."""


@dataclass(frozen=True)
class Statistics:
    """Statistics of the conductivity in a region.

    Attributes
    ----------
    n : int
        Number of voxels in the region, including invalid voxels.
    mean, sd, median, iqr : float
        Mean, sample standard deviation (n - 1), median, and interquartile range (Hazen's formula)
        of the valid voxels, in S/m. NaN if there are too few valid voxels.
    invalid_fraction : float
        Fraction of the region's voxels that are invalid; NaN for an empty region.
    """

    n: int
    mean: float
    sd: float
    median: float
    iqr: float
    invalid_fraction: float


@dataclass(frozen=True, eq=False)
class Region:
    """A tissue after erosion.

    Attributes
    ----------
    label : int
        Label of the tissue.
    erosion : int
        Erosion radius in voxels.
    voxels : ndarray of bool, shape (X, Y, Z)
        Mask of the eroded tissue.
    """

    label: int
    erosion: int
    voxels: NDArray[np.bool_]


def describe(values: NDArray[np.floating]) -> Statistics:
    """Compute the statistics of a region.

    Parameters
    ----------
    values : ndarray, any shape
        Conductivity in S/m; values that are not finite are invalid.

    Returns
    -------
    Statistics
        Statistics as defined in the MR-EPT guidelines [1]_.

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
    """Erode each tissue with balls of several radii.

    The radius in voxels is the same along all axes, regardless of the voxel size. A tissue is
    eroded at its border with other labels, including 0, but not at the border of the volume,
    because the tissue may continue there. Therefore, a single slice is eroded only in its plane.

    Parameters
    ----------
    labels : ndarray of int, shape (X, Y, Z)
        Tissue labels; 0 is background.
    erosions : sequence of int
        Erosion radii in voxels. A radius of 0 does not change the tissue.

    Yields
    ------
    Region
        Regions sorted by label, then by erosion. A region without remaining voxels is empty.
    """
    # import here, because skimage.morphology is slow to import
    from skimage.morphology import ball

    for label in np.unique(labels[labels != 0]).tolist():
        tissue = labels == label
        (tight,) = ndimage.find_objects(tissue.view(np.uint8))
        # A margin of one voxel is sufficient, because the nearest voxel outside a tissue is next to
        # it.
        box = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in tight)
        for erosion in erosions:
            eroded = np.zeros_like(tissue)
            # for these small radii, a ball is several times as fast as a distance map
            eroded[box] = ndimage.binary_erosion(tissue[box], ball(erosion), border_value=1)
            yield Region(label, erosion, eroded)


class RunningMoments:
    """Mean and standard deviation, by Welford's method, of maps that are added one at a time.

    Parameters
    ----------
    shape : tuple of int
        Shape of the maps.

    Attributes
    ----------
    n : ndarray of int32
        Number of valid values in each voxel.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.n = np.zeros(shape, np.int32)
        self._mean = np.zeros(shape)
        self._squares = np.zeros(shape)

    def add(self, values: NDArray[np.floating]) -> None:
        """Add a map; voxels that are not finite are ignored."""
        valid = np.isfinite(values)
        self.n += valid
        before = np.where(valid, values - self._mean, 0)
        self._mean += before / np.maximum(self.n, 1)
        self._squares += before * np.where(valid, values - self._mean, 0)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean; NaN where there is no value."""
        return np.where(self.n > 0, self._mean, np.nan)

    @property
    def sd(self) -> NDArray[np.float64]:
        """Standard deviation (n - 1); NaN where there are fewer than two values."""
        variance = self._squares / np.maximum(self.n - 1, 1)
        return np.where(self.n > 1, np.sqrt(variance), np.nan)


@dataclass(frozen=True)
class TissueStatistics(Statistics):
    """Statistics of a tissue after erosion.

    Attributes
    ----------
    label : int
        Label of the tissue, or `WHOLE_MASK`.
    erosion : int
        Erosion radius in voxels.
    """

    label: int
    erosion: int


def tissue_statistics(
    conductivity: NDArray[np.floating],
    mask: NDArray[np.bool_],
    labels: NDArray[np.integer] | None = None,
    erosions: Sequence[int] = EROSIONS,
) -> list[TissueStatistics]:
    """Compute the statistics of the whole mask and of each tissue in the mask.

    Parameters
    ----------
    conductivity : ndarray of float, shape (X, Y, Z)
        Conductivity in S/m; values that are not finite are invalid.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels with conductivity. Tissues are eroded first and then restricted to the mask.
    labels : ndarray of int, shape (X, Y, Z), optional
        Tissue labels; 0 is background.
    erosions : sequence of int
        As in :func:`eroded_tissues`.

    Returns
    -------
    list of TissueStatistics
        Statistics of the whole mask without erosion, followed by the statistics of the tissues,
        sorted by label and then by erosion. Tissues without a voxel in the mask are left out.
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


@dataclass(frozen=True)
class RegionStatistics(TissueStatistics):
    """Statistics of a region after erosion.

    Attributes
    ----------
    standard_error : float
        Standard error of the mean due to noise, S/m; NaN without noise maps.
    """

    standard_error: float


def region_statistics(
    conductivity: NDArray[np.floating],
    mask: NDArray[np.bool_],
    labels: NDArray[np.integer],
    noise: NDArray[np.floating] | None = None,
) -> list[RegionStatistics]:
    """Compute the statistics of each region of an atlas, without erosion and eroded by one voxel.

    Parameters
    ----------
    conductivity, mask
        As in :func:`tissue_statistics`.
    labels : ndarray of int, shape (X, Y, Z)
        Labels of the regions; 0 is background.
    noise : ndarray of float, shape (n, n_mask), optional
        Noise maps in S/m at the voxels of the mask, as in :func:`standard_error`.

    Returns
    -------
    list of RegionStatistics
        Sorted by label and by erosion, which is 0 or 1. Regions without a voxel in the mask are
        left out. The erosion is the same as in :func:`eroded_tissues`.
    """
    values, whole = conductivity[mask], labels[mask]
    groups = {
        0: _voxels_of_labels(whole),
        1: _voxels_of_labels(np.where(_is_inside_region(labels)[mask], whole, 0)),
    }
    found = []
    for label in sorted(groups[0]):
        for erosion in REGION_EROSIONS:
            voxels = groups[erosion].get(label, np.array([], np.intp))
            error = np.nan
            if noise is not None:
                own = noise[:, voxels]
                error = standard_error(own, mean_weights(values[voxels], own))
            found.append(
                RegionStatistics(
                    **asdict(describe(values[voxels])),
                    label=label,
                    erosion=erosion,
                    standard_error=error,
                )
            )
    return found


def mean_weights(
    values: NDArray[np.floating],
    noise: NDArray[np.floating],
    region: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Return the weights of voxels in the mean of a region, for `standard_error`.

    Parameters
    ----------
    values : ndarray of float, shape (n_mask,)
        Conductivity at the voxels of the mask.
    noise : ndarray of float, shape (n, n_mask)
        Noise maps at the voxels of the mask.
    region : ndarray of bool, shape (n_mask,), optional
        Voxels of the region; by default, all voxels.

    Returns
    -------
    ndarray of float, shape (n_mask,)
        Equal weights with the sum 1 at the voxels of the region whose conductivity and noise are
        finite, and 0 elsewhere. All weights are NaN if there is no such voxel.
    """
    valid = np.isfinite(values) & np.isfinite(noise).all(axis=0)
    if region is not None:
        valid &= region
    n = np.count_nonzero(valid)
    return valid / n if n else np.full(valid.shape, np.nan)


def standard_error(noise: NDArray[np.floating], weights: NDArray[np.floating]) -> float:
    """Return the standard error of a linear function of a conductivity map.

    Parameters
    ----------
    noise : ndarray of float, shape (n, n_mask)
        Noise of the map in n independent realisations, S/m, at the voxels of the mask, in C order;
        NaN where invalid.
    weights : ndarray of float, shape (n_mask,)
        Weight of each voxel in the function, as from :func:`mean_weights` for a mean; invalid
        voxels need the weight 0.

    Returns
    -------
    float
        Root mean square of the function over the noise maps, S/m. Its relative error is ``1 /
        sqrt(2 n)``. NaN if there are no voxels or weights are NaN.

    Notes
    -----
    Kernels and smoothing correlate the noise of neighbouring voxels, so the standard deviation
    divided by the square root of the number of voxels would be several times too small. For the
    difference between two means, pass the difference between their weights.

    Examples
    --------
    Two voxels that share their noise are as uncertain as one voxel, and their difference is exact:

    >>> import numpy as np
    >>> noise = np.array([[0.1, 0.1], [-0.1, -0.1]])
    >>> standard_error(noise, np.array([0.5, 0.5]))
    0.1
    >>> standard_error(noise, np.array([1.0, -1.0]))
    0.0
    """
    if not weights.size or np.isnan(weights).any():
        return float("nan")
    used = weights != 0
    if not used.all():  # usually, all voxels are used, so avoid a slow copy
        noise, weights = noise[:, used], weights[used]
    results = noise.astype(np.float64) @ weights
    return float(np.sqrt(np.mean(results**2)))


def _voxels_of_labels(labels: NDArray[np.integer]) -> dict[int, NDArray[np.intp]]:
    """Return the indices of the voxels of each label other than 0, from labels of shape (n,)."""
    order = np.argsort(labels, kind="stable")
    present, first = np.unique(labels[order], return_index=True)
    groups = zip(present.tolist(), np.split(order, first[1:]), strict=True)
    return {label: voxels for label, voxels in groups if label != 0}


def _is_inside_region(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Whether all six neighbours of each voxel in the volume have the label of the voxel."""
    inside = np.ones(labels.shape, bool)
    for axis in range(labels.ndim):
        before, after = (np.moveaxis(inside, axis, 0)[part] for part in (np.s_[:-1], np.s_[1:]))
        same = np.diff(np.moveaxis(labels, axis, 0), axis=0) == 0
        before &= same
        after &= same
    return inside
