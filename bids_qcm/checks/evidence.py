"""Quality measures of a conductivity map, computed from arrays."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from bids_qcm.checks.literature import literature_conductivity
from bids_qcm.checks.plausible import PLAUSIBLE, is_implausible
from bids_qcm.grids import Volume
from bids_qcm.physics import IN_PLANE_LOSS

LEAST_VOXELS = 30
"""Minimum number of valid voxels for computing the median of a tissue."""

SLABS = 10
"""Number of slabs for computing a trend. All slabs contain the same number of voxels."""

_LEAST_PER_SLAB = 20


@dataclass(frozen=True)
class Evidence:
    """Quality measures of one conductivity map.

    Attributes
    ----------
    implausible_fraction : float
        Fraction of the mask's voxels with an implausible conductivity; see `is_implausible`.
    invalid_fraction : float
        Fraction of the mask's voxels with a value that is not finite.
    median : float
        Median over the valid voxels in S/m; NaN if no voxel is valid.
    medians : mapping of str to float
        Median conductivity of each tissue in S/m, keyed by tissue name.
    literature_ratio : mapping of str to float
        Ratio of the median conductivity to the literature value, keyed by tissue name. Contains
        only tissues with a literature value.
    noise_ratio : float or None
        Median noise standard deviation, divided by the absolute value of the median conductivity;
        None if the noise standard deviation is not known.
    expected_implausible : float or None
        Fraction of implausible voxels that is expected from noise alone; None if the noise standard
        deviation is not known.
    trend_inferior_superior, trend_left_right : float
        Relative change of the conductivity from one end of the mask to the other end; NaN if the
        change cannot be computed. See :func:`relative_trend`.
    reduced_chi_square, prior_chi_square : float or None
        For an inversion, the misfit of the phase and the deviation of the conductivity from the
        prior; None for other methods.
    largest_voxel_size : float
        Longest edge of a voxel in mm.
    n_failed_checks : int
        Number of failed image checks that the user turned into warnings.
    in_plane_loss : float
        Expected fraction of the conductivity of the brain that is missing because the phase was not
        differentiated across slices; 0 if it was differentiated along all axes.
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
    in_plane_loss: float = 0.0


def gather_evidence(
    condmap: Volume,
    mask: NDArray[np.bool_],
    *,
    frequency: float,
    labels: NDArray[np.integer] | None = None,
    names: Mapping[int, str] | None = None,
    std: NDArray[np.floating] | None = None,
    reduced_chi_square: float | None = None,
    prior_chi_square: float | None = None,
    n_failed_checks: int = 0,
    axis_left_out: int | None = None,
) -> Evidence:
    """Compute the quality measures of a map.

    Parameters
    ----------
    condmap : Volume of float
        Conductivity in S/m; values that are not finite are invalid.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels for which conductivity was computed.
    frequency : float
        Larmor frequency in Hz.
    labels : ndarray of int, shape (X, Y, Z), optional
        Tissue labels; 0 is background.
    names : mapping of int to str, optional
        Name of each label; required if `labels` is passed.
    std : ndarray of float, shape (X, Y, Z), optional
        Noise standard deviation in S/m.
    reduced_chi_square, prior_chi_square : float, optional
        Reduced and prior chi-square of an inversion.
    n_failed_checks : int
        Number of failed image checks that the user turned into warnings.
    axis_left_out : int, optional
        Axis along which the phase was not differentiated.

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
    values = condmap.values[mask].astype(np.float64)
    valid = np.isfinite(values)
    median = float(np.median(values[valid])) if valid.any() else float("nan")
    tissues = np.zeros(values.shape, np.int32) if labels is None else labels[mask]
    medians = _medians(values, valid, tissues, names or {})
    literature = literature_conductivity(frequency, medians)
    noise = {}
    if std is not None:
        noise = _noise(values[valid], std[mask][valid], median)
    to_world = condmap.grid.affine[:3]
    positions = np.argwhere(mask)[valid] @ to_world[:, :3].T
    relative = _relative_to_tissue(values[valid], tissues[valid], median)
    return Evidence(
        implausible_fraction=float(is_implausible(values).mean()),
        invalid_fraction=float(1 - valid.mean()),
        median=median,
        medians=medians,
        literature_ratio={name: medians[name] / value for name, value in literature.items()},
        trend_inferior_superior=relative_trend(relative, positions[:, 2]),
        trend_left_right=relative_trend(relative, positions[:, 0]),
        reduced_chi_square=reduced_chi_square,
        prior_chi_square=prior_chi_square,
        largest_voxel_size=float(np.linalg.norm(to_world[:, :3], axis=0).max()),
        n_failed_checks=n_failed_checks,
        in_plane_loss=0.0
        if axis_left_out is None
        else IN_PLANE_LOSS[condmap.grid.orientation(axis_left_out)],
        **noise,
    )


def relative_trend(relative: NDArray[np.floating], positions: NDArray[np.floating]) -> float:
    """Return the change of a quantity along an axis, from one end to the other.

    Parameters
    ----------
    relative : ndarray of float, shape (N,)
        Values of the quantity; finite and around 1.
    positions : ndarray of float, shape (N,)
        Positions along the axis, in any unit.

    Returns
    -------
    float
        The voxels are divided into ten slabs with the same number of voxels. The result is the
        slope of the slabs' medians, multiplied by the distance from the middle of the first slab to
        the middle of the last slab. The slope is the median of the slopes between all pairs of
        slabs [1]_, so that up to a quarter of the slabs may be outliers. NaN for fewer than 200
        values, or if all positions are equal.

    References
    ----------
    .. [1] Sen PK. Estimates of the regression coefficient based on Kendall's tau. J Am Stat Assoc
       1968. doi:10.1080/01621459.1968.10480934
    """
    if relative.size < SLABS * _LEAST_PER_SLAB:
        return float("nan")
    # All voxels of a slice have the same position. Shuffle them, so that a slice on the border of
    # two slabs is divided without bias.
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
    """Return the median of each tissue with enough valid voxels, keyed by tissue name."""
    found = {}
    for label, name in names.items():
        chosen = values[valid & (tissues == label)]
        if chosen.size >= LEAST_VOXELS:
            found[name] = float(np.median(chosen))
    return found


def _noise(
    values: NDArray[np.floating], std: NDArray[np.floating], median: float
) -> dict[str, float]:
    """Return the noise ratio and the fraction of implausible voxels expected from noise."""
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
    """Divide each voxel by the median of its tissue.

    This normalisation prevents a trend if the slabs contain different proportions of the tissues.
    If the median of a tissue is not positive or the tissue has too few voxels, its voxels are
    divided by the median of all voxels. The result is empty if the median of all voxels is not
    positive.
    """
    relative = values / median if median > 0 else np.ones(0)
    if median > 0:
        for label in np.unique(tissues):
            chosen = tissues == label
            middle = np.median(values[chosen])
            if chosen.sum() >= LEAST_VOXELS and middle > 0:
                relative[chosen] = values[chosen] / middle
    return relative
