"""Effects of groups and covariates on regional conductivity."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

LEAST_PARTICIPANTS = 3
"""Minimum number of participants in a group, and minimum residual degrees of freedom."""

LEVEL = 0.05
"""One minus the coverage of the intervals, and level of the corrected tests."""

# Differences below this fraction of the largest value may be rounding errors.
_ROUNDING = 1e-12

EFFECT_COLUMNS = (
    *("term", "level", "reference", "n", "n_level", "n_reference", "mean_level"),
    *("mean_reference", "estimate", "standard_error", "ci_low", "ci_high", "df", "p"),
    *("p_corrected", "hedges_g", "g_ci_low", "g_ci_high"),
)
"""Columns of the effects in a region."""


@dataclass(frozen=True)
class Term:
    """A coefficient of the linear model.

    Attributes
    ----------
    column : str
        Column of the participant table.
    level, reference : str or None
        Level of a column of text that is compared with the reference level; None for numbers.
    is_group : bool
        Whether the column contains the groups.
    """

    column: str
    level: str | None = None
    reference: str | None = None
    is_group: bool = False


@dataclass(frozen=True, eq=False)
class Design:
    """The linear model of a study.

    Attributes
    ----------
    matrix : DataFrame
        One row for each participant: a constant and the value of each term.
    terms : tuple of Term
        Terms in the order of the columns of `matrix` after the constant.
    groups : Series or None
        Group of each participant; None without groups.
    notes : tuple of str
        Participants that were left out, with reasons.
    """

    matrix: pd.DataFrame
    terms: tuple[Term, ...]
    groups: pd.Series | None
    notes: tuple[str, ...]


def make_design(
    participants: pd.DataFrame, group_by: str | None, covariates: Sequence[str] = ()
) -> Design:
    """Make the linear model from columns of the participant table.

    A numeric covariate is one term. Groups and text covariates have a term for each level except
    the first level, which is the reference. Numbers are sorted by value and text is sorted
    alphabetically.

    Parameters
    ----------
    participants : DataFrame of str or None
        One row for each participant.
    group_by : str or None
        Column with the groups.
    covariates : sequence of str
        Columns with the covariates.

    Returns
    -------
    Design
        Participants with a missing value and groups of fewer than `LEAST_PARTICIPANTS` are left
        out.

    Raises
    ------
    ValueError
        If a column does not exist, is listed twice, has only one value or is a combination of other
        columns, or if there are too few participants.
    """
    names = [*([] if group_by is None else [group_by]), *covariates]
    for name in names:
        if name not in participants:
            known = ", ".join(map(str, participants.columns)) or "none"
            raise ValueError(f"there is no column {name}; the columns are: {known}")
        if names.count(name) > 1:
            raise ValueError(f"the column {name} is listed twice")
    chosen, notes = _complete(participants[names], group_by)
    terms = [pair for name in names for pair in _terms(chosen[name], is_group=name == group_by)]
    matrix = pd.DataFrame(
        {"constant": 1.0} | {str(number): values for number, (_, values) in enumerate(terms)},
        index=chosen.index,
    )
    if len(matrix) - len(matrix.columns) < LEAST_PARTICIPANTS:
        raise ValueError(
            f"only {len(matrix)} participants have values for {', '.join(names)}; at least "
            f"{len(matrix.columns) + LEAST_PARTICIPANTS} participants are needed to estimate "
            f"{len(matrix.columns)} coefficients"
        )
    if np.linalg.matrix_rank(_scaled(matrix)) < len(matrix.columns):
        raise ValueError(
            f"one of the columns {', '.join(names)} is a linear combination of the others, so the "
            "effects cannot be separated"
        )
    groups = None if group_by is None else chosen[group_by]
    return Design(matrix, tuple(term for term, _ in terms), groups, tuple(notes))


def fit_effects(values: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Estimate the effect of each term in each region.

    The model is fitted by ordinary least squares in each region. Its standard errors (HC3 [1]_)
    hold for groups with different variances, and its intervals use the t distribution.

    Parameters
    ----------
    values : DataFrame of float
        Conductivity in S/m, one row for each participant and one column for each region.
        Participants without a value are left out in this region.
    design : Design
        The linear model.

    Returns
    -------
    DataFrame
        One row for each region and term, with the name of the region in the column ``key`` and with
        the columns `EFFECT_COLUMNS`. A region with too few participants has no estimate (NaN).
        ``p_corrected`` is corrected for the number of regions by the method of Holm.

    References
    ----------
    .. [1] Long JS, Ervin LH. Am Stat 2000;54:217. doi:10.1080/00031305.2000.10474549
    """
    from statsmodels.stats.multitest import multipletests

    values = values.reindex(design.matrix.index)
    rows = [row for key in values for row in _effects_in_region(key, values[key], design)]
    table = pd.DataFrame(rows, columns=["key", *EFFECT_COLUMNS])
    for _, of_term in table[table["p"].notna()].groupby(["term", "level"], dropna=False):
        table.loc[of_term.index, "p_corrected"] = multipletests(of_term["p"], method="holm")[1]
    return table


def _complete(table: pd.DataFrame, group_by: str | None) -> tuple[pd.DataFrame, list[str]]:
    """Return participants with all values in large groups, and notes about other participants."""
    missing = table.isna().sum()
    notes = [
        f"{count} participants have no value for {name}" for name, count in missing.items() if count
    ]
    table = table.dropna()
    if group_by is not None:
        sizes = table[group_by].value_counts()
        small = sorted(sizes.index[sizes < LEAST_PARTICIPANTS])
        if small:
            notes.append(
                f"the column {group_by} has groups with fewer than {LEAST_PARTICIPANTS} "
                f"participants, which are left out: {', '.join(small)}"
            )
        table = table[~table[group_by].isin(small)]
    return table, notes


def as_numbers(column: pd.Series) -> pd.Series | None:
    """Return a column of text as numbers; None if a value is not a finite number."""
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    is_known = column.notna()
    return numbers if np.isfinite(numbers[is_known]).all() and is_known.any() else None


def sorted_levels(column: pd.Series) -> list[str]:
    """Return the distinct values of a column of text: numbers by value, text alphabetically."""
    numbers = as_numbers(column)
    levels = column.dropna().unique().tolist()
    return sorted(levels) if numbers is None else sorted(levels, key=float)


def _terms(column: pd.Series, *, is_group: bool) -> Iterator[tuple[Term, pd.Series]]:
    """Yield the terms of a column and their values.

    Raises
    ------
    ValueError
        If the column has only one value.
    """
    name = str(column.name)
    levels = sorted_levels(column)
    if len(levels) < 2:
        raise ValueError(
            f"the column {name} needs at least two values with enough participants, but has only "
            f"{', '.join(levels) or 'missing values'}"
        )
    numbers = None if is_group else as_numbers(column)
    if numbers is not None:
        yield Term(name), numbers
        return
    for level in levels[1:]:
        yield Term(name, level, levels[0], is_group), (column == level).astype(float)


def _scaled(matrix: pd.DataFrame) -> NDArray[np.float64]:
    """Return the columns of a matrix with unit length, so that their units do not matter."""
    columns: NDArray[np.float64] = matrix.to_numpy()
    lengths: NDArray[np.float64] = np.linalg.norm(columns, axis=0)
    return columns / lengths


def _effects_in_region(key: Any, values: pd.Series, design: Design) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """Yield the effect of each term in a region."""
    from statsmodels.regression.linear_model import OLS

    values = values[np.isfinite(values)]
    matrix = design.matrix.loc[values.index]
    fit = None
    if _is_sufficient(matrix, design):
        # if only one participant determines a coefficient, its residual is 0, which makes the
        # standard error NaN
        with np.errstate(divide="ignore", invalid="ignore"):
            fit = OLS(values.to_numpy(), matrix.to_numpy()).fit(cov_type="HC3", use_t=True)
            intervals, p = fit.conf_int(LEVEL), fit.pvalues
        if np.abs(fit.resid).max() <= _ROUNDING * values.abs().max():
            # if all residuals are 0, the standard error is unknown
            fit = None
    for number, term in enumerate(design.terms, start=1):
        row = {"key": key, "term": term.column, "level": term.level, "n": len(values)}
        row["reference"] = term.reference
        if fit is not None and np.isfinite(fit.bse[number]):
            row |= {
                "estimate": fit.params[number],
                "standard_error": fit.bse[number],
                "ci_low": intervals[number, 0],
                "ci_high": intervals[number, 1],
                "df": fit.df_resid,
                "p": p[number],
            }
        if term.is_group and design.groups is not None:
            row |= _compare(values, design.groups.loc[values.index], term)
        yield row


def _is_sufficient(matrix: pd.DataFrame, design: Design) -> bool:
    """Whether the participants with a value in a region determine all coefficients."""
    n, n_coefficients = matrix.shape
    if n == len(design.matrix):
        return True
    if n - n_coefficients < LEAST_PARTICIPANTS or not np.any(matrix.to_numpy(), axis=0).all():
        return False
    if design.groups is not None:
        sizes = design.groups.loc[matrix.index].value_counts()
        if sizes.reindex(design.groups.unique(), fill_value=0).min() < LEAST_PARTICIPANTS:
            return False
    return bool(np.linalg.matrix_rank(_scaled(matrix)) == n_coefficients)


def _compare(values: pd.Series, groups: pd.Series, term: Term) -> dict[str, Any]:
    """Return the means of two groups and Hedges' g, without covariates."""
    from scipy.stats import norm
    from statsmodels.stats.meta_analysis import effectsize_smd

    level, reference = (values[groups == name] for name in (term.level, term.reference))
    row = {
        "n_level": len(level),
        "n_reference": len(reference),
        "mean_level": level.mean(),
        "mean_reference": reference.mean(),
    }
    if min(len(level), len(reference)) >= LEAST_PARTICIPANTS and (
        max(np.ptp(level), np.ptp(reference)) > _ROUNDING * values.abs().max()
    ):
        g, variance = effectsize_smd(
            *(level.mean(), level.std(), len(level)),
            *(reference.mean(), reference.std(), len(reference)),
        )
        half = norm.isf(LEVEL / 2) * np.sqrt(variance)
        row |= {"hedges_g": g, "g_ci_low": g - half, "g_ci_high": g + half}
    return row
