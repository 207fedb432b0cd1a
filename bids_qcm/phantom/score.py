"""How near a conductivity map comes to the truth of a phantom.

The errors of tissues and of the brain are those of the MR-EPT guidelines (Mandija et al., J Magn
Reson Imaging 2026, doi:10.1002/jmri.70230). Lesions and the variation within tissues tell what
averaging costs. Voxels of a map that are not finite are invalid: they count in the share of invalid
voxels and in nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_qcm.phantom.truth import Lesion, Truth
from bids_qcm.statistics import Statistics, describe

_BEST = 0.99
"""Share of the voxels that count as best."""


@dataclass(frozen=True)
class BrainScore:
    """The error over the brain.

    Attributes
    ----------
    n : int
        Voxels of the brain, invalid ones included.
    mae : float
        Mean absolute error, S/m.
    nrmse : float
        Root mean square error over the root mean square of the truth, both over the valid voxels.
    nrmse_best99 : float
        The same of the valid voxels whose absolute error is at most its 99 % quantile.
    invalid_fraction : float
        Share of the voxels that are invalid.
    """

    n: int
    mae: float
    nrmse: float
    nrmse_best99: float
    invalid_fraction: float


@dataclass(frozen=True)
class TissueScore(Statistics):
    """Statistics and error of one tissue after erosion.

    Attributes
    ----------
    label : int
    erosion : int
        Voxels.
    true_mean : float
        Mean of the truth over the valid voxels, S/m.
    rmse : float
        Root mean square error, S/m.
    nrmse : float
        `rmse` over the root mean square of the truth over the same voxels; where the truth is
        constant, that is the tissue's conductivity, as in the guidelines.
    """

    label: int
    erosion: int
    true_mean: float
    rmse: float
    nrmse: float


@dataclass(frozen=True)
class LesionScore:
    """What a map shows of one lesion.

    Attributes
    ----------
    diameter : int
        mm.
    number : int
        From 1, among those of the same diameter.
    label : int
        Tissue of the surroundings.
    n, n_around : int
        Voxels of the lesion and of its surroundings, invalid ones included.
    contrast, true_contrast : float
        Mean in the lesion less mean in its surroundings, of the map and of the truth, both over the
        voxels that are valid in the map; S/m.
    recovered : float
        `contrast` over `true_contrast`: 1 if the lesion is shown as it is, 0 if it is not shown.
    invalid_fraction : float
        Share of the lesion's voxels that are invalid.
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
    """How much of the variation within a tissue a map shows.

    Attributes
    ----------
    label : int
    erosion : int
        Voxels.
    n : int
        Voxels that are looked at, invalid ones included.
    true_sd : float
        Standard deviation of the truth over the valid ones, S/m.
    slope : float
        Of the map against the truth: 1 if the variation is recovered, 0 if the tissue is averaged
        flat.
    """

    label: int
    erosion: int
    n: int
    true_sd: float
    slope: float


@dataclass(frozen=True)
class Score:
    """All that is said of one map.

    Attributes
    ----------
    brain : BrainScore
    tissues : list of TissueScore
    lesions : list of LesionScore
        None without small lesions.
    variation : list of VariationScore
        None without variation.
    """

    brain: BrainScore
    tissues: list[TissueScore]
    lesions: list[LesionScore]
    variation: list[VariationScore]


def score(conductivity: NDArray[np.floating], truth: Truth) -> Score:
    """Compare a map with the truth.

    Parameters
    ----------
    conductivity : ndarray of float, shape (X, Y, Z)
        S/m; invalid where not finite.
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
            f"the map has the shape {conductivity.shape}, but the truth {truth.conductivity.shape}"
        )
    return Score(
        score_brain(conductivity, truth),
        score_tissues(conductivity, truth),
        score_lesions(conductivity, truth),
        score_variation(conductivity, truth),
    )


def score_brain(conductivity: NDArray[np.floating], truth: Truth) -> BrainScore:
    """Give the error of a map over the brain.

    Parameters
    ----------
    conductivity : ndarray of float, shape (X, Y, Z)
        S/m; invalid where not finite.
    truth : Truth

    Returns
    -------
    BrainScore
        NaN where no voxel is valid.
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
    """Give statistics and errors of a map in each tissue of the brain, at each erosion.

    Parameters
    ----------
    conductivity : ndarray of float, shape (X, Y, Z)
        S/m; invalid where not finite.
    truth : Truth

    Returns
    -------
    list of TissueScore
        Tissues by label, each by erosion. Small lesions are part of the tissue around them.
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
    """Give the contrast that a map shows of each small lesion.

    The surroundings of a lesion are the voxels of the brain that are more than 2 and at most 6 mm
    from it (between the centres of voxels), have the label that most of its own voxels have, and
    belong to no small lesion.

    Parameters
    ----------
    conductivity : ndarray of float, shape (X, Y, Z)
        S/m; invalid where not finite.
    truth : Truth

    Returns
    -------
    list of LesionScore
        The smallest diameter first; NaN where a lesion or its surroundings have no valid voxel.
    """
    return [_score_lesion(conductivity, truth, lesion) for lesion in truth.lesions]


def recovery_by_diameter(lesions: Sequence[LesionScore]) -> dict[int, float]:
    """Pool the lesions of each diameter.

    Parameters
    ----------
    lesions : sequence of LesionScore
        Of one map, or of several.

    Returns
    -------
    dict of int to float
        By diameter in mm: the sum of the contrasts over the sum of the true ones, of the lesions
        that have both; NaN where none has.
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
    """Give the slope of a map against the truth inside the tissues that vary.

    Small lesions are cut out of the tissues, which are then eroded by 2 and 4 voxels. Of what is
    left the voxels count whose truth is within 2.5 robust standard deviations of its median (1.4826
    times the median absolute deviation): beyond that are mixtures with another tissue. A tissue
    whose truth has a robust standard deviation below 1 % of its median does not vary. The slope is
    that of least squares; the noise of the map does not bias it.

    Errors of another origin may by chance have something in common with the truth. The difference
    of two maps, of the same head with and without the variation and with the same noise, is free of
    them: given as `conductivity`, it has the slope of the variation alone.

    Parameters
    ----------
    conductivity : ndarray of float, shape (X, Y, Z)
        S/m; invalid where not finite.
    truth : Truth

    Returns
    -------
    list of VariationScore
        Of the tissues that vary and have voxels left; the slope is NaN where fewer than two of
        these are valid.
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
    """Give map and truth at the valid voxels of a region."""
    valid = region & np.isfinite(conductivity)
    return conductivity[valid].astype(np.float64), truth.conductivity[valid].astype(np.float64)


def _ratio(contrast: float, true_contrast: float) -> float:
    # a lesion of the conductivity of its tissue has no contrast to recover
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
