"""Errors of a conductivity map, compared with the true conductivity of a phantom.

The errors in the brain and in tissues are defined as in the MR-EPT guidelines (Mandija et al., J
Magn Reson Imaging 2026, doi:10.1002/jmri.70230). The scores of lesions and of the variation within
tissues measure the loss of resolution due to averaging. Voxels with values that are not finite are
invalid. Invalid voxels count only towards the invalid fraction and are otherwise ignored.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_qcm.phantom.truth import Lesion, Truth
from bids_qcm.statistics import Statistics, describe

_BEST = 0.99
"""Fraction of the voxels with the smallest errors, for `nrmse_best99`."""


@dataclass(frozen=True)
class BrainScore:
    """Error of a map over the brain.

    Attributes
    ----------
    n : int
        Number of brain voxels, including invalid voxels.
    mae : float
        Mean absolute error in S/m.
    nrmse : float
        Root mean square error divided by the root mean square of the true conductivity. Both are
        computed over the valid voxels.
    nrmse_best99 : float
        Like `nrmse`, but over the 99 % of the valid voxels with the smallest absolute error.
    invalid_fraction : float
        Fraction of the voxels that are invalid.
    """

    n: int
    mae: float
    nrmse: float
    nrmse_best99: float
    invalid_fraction: float


@dataclass(frozen=True)
class TissueScore(Statistics):
    """Statistics and error of a map in one tissue after erosion.

    Attributes
    ----------
    label : int
        Label of the tissue.
    erosion : int
        Erosion radius in voxels.
    true_mean : float
        Mean of the true conductivity over the valid voxels in S/m.
    rmse : float
        Root mean square error in S/m.
    nrmse : float
        `rmse` divided by the root mean square of the true conductivity over the same voxels. If the
        true conductivity is constant, this root mean square is the conductivity of the tissue, as
        in the guidelines.
    """

    label: int
    erosion: int
    true_mean: float
    rmse: float
    nrmse: float


@dataclass(frozen=True)
class LesionScore:
    """Contrast of one lesion in a map.

    Attributes
    ----------
    diameter : int
        Diameter of the lesion in mm.
    number : int
        Number of the lesion among the lesions of the same diameter, starting at 1.
    label : int
        Label of the surrounding tissue.
    n, n_around : int
        Number of voxels in the lesion and in its surroundings, including invalid voxels.
    contrast, true_contrast : float
        Mean in the lesion minus the mean in its surroundings, in S/m, for the map and for the true
        conductivity. Both contrasts use the voxels that are valid in the map.
    recovered : float
        `contrast` divided by `true_contrast`: 1 if the map shows the full contrast, 0 if the map
        does not show the lesion.
    invalid_fraction : float
        Fraction of the lesion's voxels that are invalid.
    """

    diameter: int
    number: int
    label: int
    n: int
    n_around: int
    contrast: float
    true_contrast: float
    recovered: float
    invalid_fraction: float


@dataclass(frozen=True)
class VariationScore:
    """Recovery of the conductivity variation within a tissue.

    Attributes
    ----------
    label : int
        Label of the tissue.
    erosion : int
        Erosion radius in voxels.
    n : int
        Number of voxels in the region, including invalid voxels.
    true_sd : float
        Standard deviation of the true conductivity over the valid voxels in S/m.
    slope : float
        Slope of the map against the true conductivity: 1 if the map shows the full variation, 0 if
        averaging has removed the variation.
    """

    label: int
    erosion: int
    n: int
    true_sd: float
    slope: float


@dataclass(frozen=True)
class Score:
    """Scores of one map.

    Attributes
    ----------
    brain : BrainScore
    tissues : list of TissueScore
    lesions : list of LesionScore
        Empty without small lesions.
    variation : list of VariationScore
        Empty without variation.
    """

    brain: BrainScore
    tissues: list[TissueScore]
    lesions: list[LesionScore]
    variation: list[VariationScore]


def score(conductivity: NDArray[np.floating], truth: Truth) -> Score:
    """Compare a map with the true conductivity of a phantom.

    Parameters
    ----------
    conductivity : ndarray of float, shape (X, Y, Z)
        Conductivity in S/m; values that are not finite are invalid.
    truth : Truth

    Returns
    -------
    Score

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if conductivity.shape != truth.conductivity.shape:
        raise ValueError(
            f"the map has shape {conductivity.shape}, but the truth has shape "
            f"{truth.conductivity.shape}"
        )
    return Score(
        score_brain(conductivity, truth),
        score_tissues(conductivity, truth),
        score_lesions(conductivity, truth),
        score_variation(conductivity, truth),
    )


def score_brain(conductivity: NDArray[np.floating], truth: Truth) -> BrainScore:
    """Compute the error of a map over the brain.

    Parameters
    ----------
    conductivity : ndarray of float, shape (X, Y, Z)
        Conductivity in S/m; values that are not finite are invalid.
    truth : Truth

    Returns
    -------
    BrainScore
        The errors are NaN if no voxel is valid.
    """
    found, true = _valid_pairs(conductivity, truth, truth.brain)
    error = np.abs(found - true)
    n = int(truth.brain.sum())
    if not error.size:
        return BrainScore(n, np.nan, np.nan, np.nan, 1.0)
    best = error <= np.quantile(error, _BEST)
    return BrainScore(
        n,
        float(error.mean()),
        _rms(error) / _rms(true),
        _rms(error[best]) / _rms(true[best]),
        1 - error.size / n,
    )


def score_tissues(conductivity: NDArray[np.floating], truth: Truth) -> list[TissueScore]:
    """Compute statistics and errors of a map in each brain tissue, for each erosion.

    Parameters
    ----------
    conductivity : ndarray of float, shape (X, Y, Z)
        Conductivity in S/m; values that are not finite are invalid.
    truth : Truth

    Returns
    -------
    list of TissueScore
        Scores sorted by label and then by erosion. Small lesions count as part of the surrounding
        tissue.
    """
    scores = []
    for region in truth.tissues:
        found, true = _valid_pairs(conductivity, truth, region.voxels)
        rmse = _rms(found - true)
        scores.append(
            TissueScore(
                **vars(describe(conductivity[region.voxels])),
                label=region.label,
                erosion=region.erosion,
                true_mean=float(true.mean()) if true.size else np.nan,
                rmse=rmse,
                nrmse=rmse / _rms(true),
            )
        )
    return scores


def score_lesions(conductivity: NDArray[np.floating], truth: Truth) -> list[LesionScore]:
    """Compute the contrast of each small lesion in a map.

    The surroundings of a lesion are brain voxels at a distance of more than 2 mm and at most 6 mm
    from the lesion, measured between voxel centres. These voxels have the most frequent label of
    the lesion and do not belong to a small lesion.

    Parameters
    ----------
    conductivity : ndarray of float, shape (X, Y, Z)
        Conductivity in S/m; values that are not finite are invalid.
    truth : Truth

    Returns
    -------
    list of LesionScore
        Scores sorted by increasing diameter. The contrast is NaN if the lesion or its surroundings
        have no valid voxel.
    """
    return [_score_lesion(conductivity, truth, lesion) for lesion in truth.lesions]


def recovery_by_diameter(lesions: Sequence[LesionScore]) -> dict[int, float]:
    """Compute the pooled contrast recovery of the lesions of each diameter.

    Parameters
    ----------
    lesions : sequence of LesionScore
        Lesions of one map or of several maps.

    Returns
    -------
    dict of int to float
        Recovery of each diameter, keyed by diameter in mm: the sum of the contrasts divided by the
        sum of the true contrasts, over lesions with a finite contrast. NaN without such lesions.
    """
    pooled = {}
    for diameter in sorted({lesion.diameter for lesion in lesions}):
        seen = [
            (lesion.contrast, lesion.true_contrast)
            for lesion in lesions
            if lesion.diameter == diameter and np.isfinite(lesion.contrast)
        ]
        pooled[diameter] = _ratio(*np.sum(seen, axis=0).tolist()) if seen else np.nan
    return pooled


def score_variation(conductivity: NDArray[np.floating], truth: Truth) -> list[VariationScore]:
    """Compute the slope of a map against the true conductivity in tissues with variation.

    Small lesions are removed from the tissues, and the tissues are then eroded by 2 and 4 voxels. A
    voxel is used if its true conductivity is within 2.5 robust standard deviations (1.4826 times
    the median absolute deviation) of the median, because other voxels are mixtures with another
    tissue. A tissue has no variation if the robust standard deviation of its true conductivity is
    below 1 % of the median. The slope is fitted by least squares and is not biased by noise in the
    map.

    Other errors of the map may be correlated with the true conductivity by chance. To avoid this,
    simulate the same head with and without variation and with the same noise, and pass the
    difference of the two maps as `conductivity`. The slope then measures only the variation.

    Parameters
    ----------
    conductivity : ndarray of float, shape (X, Y, Z)
        Conductivity in S/m; values that are not finite are invalid.
    truth : Truth

    Returns
    -------
    list of VariationScore
        Scores of the tissues with variation, if they have voxels after erosion. The slope is NaN if
        fewer than two voxels are valid.
    """
    scores = []
    for region in truth.varying_tissues:
        found, true = _valid_pairs(conductivity, truth, region.voxels)
        sd = slope = np.nan
        if true.size > 1 and np.ptp(true) > 0:
            sd = float(true.std(ddof=1))
            slope = float(np.polynomial.polynomial.polyfit(true, found, 1)[1])
        n = int(region.voxels.sum())
        scores.append(VariationScore(region.label, region.erosion, n, sd, slope))
    return scores


def _valid_pairs(
    conductivity: NDArray[np.floating], truth: Truth, region: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the map and the true conductivity at the valid voxels of a region."""
    valid = region & np.isfinite(conductivity)
    return conductivity[valid].astype(np.float64), truth.conductivity[valid].astype(np.float64)


def _ratio(contrast: float, true_contrast: float) -> float:
    # without a true contrast, the recovery is undefined
    return contrast / true_contrast if true_contrast else np.nan


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else np.nan


def _score_lesion(conductivity: NDArray[np.floating], truth: Truth, lesion: Lesion) -> LesionScore:
    found, true = conductivity[lesion.box], truth.conductivity[lesion.box]
    valid = np.isfinite(found)
    inside, around = lesion.inside & valid, lesion.around & valid
    contrast = true_contrast = np.nan
    if inside.any() and around.any():
        contrast, true_contrast = (
            float(values[inside].mean(dtype=np.float64) - values[around].mean(dtype=np.float64))
            for values in (found, true)
        )
    n = int(lesion.inside.sum())
    return LesionScore(
        diameter=lesion.diameter,
        number=lesion.number,
        label=lesion.label,
        n=n,
        n_around=int(lesion.around.sum()),
        contrast=contrast,
        true_contrast=true_contrast,
        recovered=_ratio(contrast, true_contrast),
        invalid_fraction=1 - int(inside.sum()) / n,
    )
