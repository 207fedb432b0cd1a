"""The evidence that a conductivity map holds on its own quality; arrays only."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from bids_qcm.checks.literature import literature_conductivity
from bids_qcm.checks.plausible import PLAUSIBLE, is_implausible

LEAST_VOXELS = 30
"""A tissue with fewer valid voxels has no ratio to the literature."""

SLABS = 10
"""Slabs of equal voxel count that a trend is found from."""

_LEAST_PER_SLAB = 20


@dataclass(frozen=True)
class Evidence:
    """Evidence on the quality of one conductivity map.

    Attributes
    ----------
    implausible_fraction : float
        Share of the mask's voxels whose conductivity no tissue has, see `is_implausible`.
    invalid_fraction : float
        Share of the mask's voxels that are not finite.
    median : float
        Median of the valid voxels, S/m; NaN without a valid voxel.
    medians, literature_ratio : mapping of str to float
        By tissue name, for tissues that the literature has: median in S/m, and median over the
        conductivity of the literature.
    noise_ratio : float or None
        Noise standard deviation over the absolute value of the median, both of the median voxel;
        None if the noise standard deviation is not known.
    expected_implausible : float or None
        Share of implausible voxels that the noise alone explains, likewise.
    trend_inferior_superior, trend_left_right : float
        Relative change of the conductivity from one end of the mask to the other, see
        :func:`relative_trend`; NaN if it cannot be found.
    reduced_chi_square, prior_chi_square : float or None
        Of an inversion: misfit of the phase, and deviation of the conductivity from the prior.
    largest_voxel_size : float
        Longest edge of a voxel, mm.
    n_failed_checks : int
        Errors in the images that the user made warnings.
    """

    implausible_fraction: float
    invalid_fraction: float
    median: float
    medians: Mapping[str, float] = field(default_factory=dict)
    literature_ratio: Mapping[str, float] = field(default_factory=dict)
    noise_ratio: float | None = None
    expected_implausible: float | None = None
    trend_inferior_superior: float = np.nan
    trend_left_right: float = np.nan
    reduced_chi_square: float | None = None
    prior_chi_square: float | None = None
    largest_voxel_size: float = 0.0
    n_failed_checks: int = 0


def gather_evidence(
    conductivity: NDArray[np.floating],
    mask: NDArray[np.bool_],
    affine: NDArray[np.floating],
    *,
    frequency: float,
    labels: NDArray[np.integer] | None = None,
    names: Mapping[int, str] | None = None,
    std: NDArray[np.floating] | None = None,
    reduced_chi_square: float | None = None,
    prior_chi_square: float | None = None,
    n_failed_checks: int = 0,
) -> Evidence:
    """Gather the evidence that a map holds on its own quality.

    Parameters
    ----------
    conductivity : ndarray of float, shape (X, Y, Z)
        S/m; invalid where not finite.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels that were mapped.
    affine : ndarray of float, shape (4, 4)
        From voxel indices to mm; the axes of the world run to the right, front and top.
    frequency : float
        Larmor frequency, Hz.
    labels : ndarray of int, shape (X, Y, Z), optional
        Tissues; 0 is none.
    names : mapping of int to str, optional
        Name of each label, required with labels.
    std : ndarray of float, shape (X, Y, Z), optional
        Noise standard deviation, S/m.
    reduced_chi_square, prior_chi_square : float, optional
        Goodness of fit of an inversion.
    n_failed_checks : int
        Errors in the images that the user made warnings.

    Returns
    -------
    Evidence

    Raises
    ------
    ValueError
        If the mask is empty.
    """
    if not mask.any():
        raise ValueError("the mask is empty")
    values = conductivity[mask].astype(np.float64)
    valid = np.isfinite(values)
    median = float(np.median(values[valid])) if valid.any() else float("nan")
    tissues = np.zeros(values.shape, np.int32) if labels is None else labels[mask]
    medians = _medians(values, valid, tissues, names or {})
    literature = literature_conductivity(frequency)
    noise = {}
    if std is not None:
        noise = _noise(values[valid], std[mask][valid], median)
    to_world = np.asarray(affine, np.float64)[:3]
    positions = np.argwhere(mask)[valid] @ to_world[:, :3].T
    relative = _relative_to_tissue(values[valid], tissues[valid], median)
    return Evidence(
        implausible_fraction=float(is_implausible(values).mean()),
        invalid_fraction=float(1 - valid.mean()),
        median=median,
        medians=medians,
        literature_ratio={
            name: value / literature[name] for name, value in medians.items() if name in literature
        },
        trend_inferior_superior=relative_trend(relative, positions[:, 2]),
        trend_left_right=relative_trend(relative, positions[:, 0]),
        reduced_chi_square=reduced_chi_square,
        prior_chi_square=prior_chi_square,
        largest_voxel_size=float(np.linalg.norm(to_world[:, :3], axis=0).max()),
        n_failed_checks=n_failed_checks,
        **noise,
    )


def relative_trend(relative: NDArray[np.floating], positions: NDArray[np.floating]) -> float:
    """Return the change of a quantity along an axis, from one end to the other.

    Parameters
    ----------
    relative : ndarray of float, shape (N,)
        Finite values around 1.
    positions : ndarray of float, shape (N,)
        Along the axis, in any unit.

    Returns
    -------
    float
        Slope of the medians of ten slabs with equally many voxels, times the distance from the
        middle of the first slab to the middle of the last one. The slope is the median of the
        slopes between any two slabs [1]_, so that up to a quarter of the slabs may be outliers. NaN
        for fewer than 200 values, or if all are in one place.

    References
    ----------
    .. [1] Sen PK. Estimates of the regression coefficient based on Kendall's tau. J Am Stat Assoc
       1968. doi:10.1080/01621459.1968.10480934
    """
    if relative.size < SLABS * _LEAST_PER_SLAB:
        return float("nan")
    # voxels of one slice have one position: in random order, each slab takes a fair share of them
    order = np.random.default_rng(0).permutation(relative.size)
    slabs = np.array_split(order[np.argsort(positions[order], kind="stable")], SLABS)
    places = np.array([np.median(positions[slab]) for slab in slabs])
    medians = np.array([np.median(relative[slab]) for slab in slabs])
    extent = places[-1] - places[0]
    if not extent > 0:
        return float("nan")
    first, second = np.triu_indices(SLABS, 1)
    apart = places[second] > places[first]
    first, second = first[apart], second[apart]
    slopes = (medians[second] - medians[first]) / (places[second] - places[first])
    return float(np.median(slopes) * extent)


def _medians(
    values: NDArray[np.floating],
    valid: NDArray[np.bool_],
    tissues: NDArray[np.integer],
    names: Mapping[int, str],
) -> dict[str, float]:
    """Return the median conductivity of each tissue that has enough valid voxels, by name."""
    found = {}
    for label, name in names.items():
        chosen = values[valid & (tissues == label)]
        if chosen.size >= LEAST_VOXELS:
            found[name] = float(np.median(chosen))
    return found


def _noise(
    values: NDArray[np.floating], std: NDArray[np.floating], median: float
) -> dict[str, float]:
    """Return the noise ratio and the share of implausible voxels that the noise explains."""
    known = np.isfinite(std) & (std > 0)
    if not known.any():
        return {}
    low, high = PLAUSIBLE
    centre = max(median, 0.0)
    outside = ndtr((low - centre) / std[known]) + ndtr((centre - high) / std[known])
    return {
        "noise_ratio": float(np.median(std[known]) / max(abs(median), 1e-6)),
        "expected_implausible": float(outside.sum() / values.size),
    }


def _relative_to_tissue(
    values: NDArray[np.floating], tissues: NDArray[np.integer], median: float
) -> NDArray[np.floating]:
    """Divide each voxel by its tissue's median, or by the median of all where that is not positive.

    The share of a tissue in a slab then makes no trend.
    """
    relative = values / median if median > 0 else np.ones(0)
    if median > 0:
        for label in np.unique(tissues):
            chosen = tissues == label
            middle = np.median(values[chosen])
            if chosen.sum() >= LEAST_VOXELS and middle > 0:
                relative[chosen] = values[chosen] / middle
    return relative
