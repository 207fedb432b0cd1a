"""Table of the effects of groups and covariates on regional conductivity."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.participants import Phenotype
from bids_qcm.effects import EFFECT_COLUMNS, LEVEL, Design, as_numbers, fit_effects, make_design
from bids_qcm.reports.group_columns import COLUMNS
from bids_qcm.reports.group_regions import FAMILY, REGION, RegionTable, participant_values
from bids_qcm.reports.group_request import GroupRequest

_COVERAGE = f"{1 - LEVEL:.0%}"

_DESCRIPTIONS: Mapping[str, Mapping[str, str]] = {
    **COLUMNS,
    "term": {"Description": "Column of participants.tsv or sessions.tsv"},
    "level": {
        "Description": "Value of the column that is compared with the reference; n/a for "
        "a column of numbers"
    },
    "reference": {"Description": "First value of the column, by number or alphabetically"},
    "n": {"Description": "Number of participants in the model"},
    "n_level": {"Description": "Number of participants in the group"},
    "n_reference": {"Description": "Number of participants in the reference group"},
    "mean_level": {"Description": "Mean of the group, without covariates", "Units": "S/m"},
    "mean_reference": {
        "Description": "Mean of the reference group, without covariates",
        "Units": "S/m",
    },
    "estimate": {
        "Description": "Difference from the reference, or change for each unit of a column of "
        "numbers, with all other terms held constant: ordinary least squares on the participants' "
        "medians, averaged over sessions and runs",
        "Units": "S/m",
    },
    "standard_error": {
        "Description": "Standard error of the estimate (HC3), which allows different variances",
        "Units": "S/m",
    },
    "ci_low": {
        "Description": f"Lower end of the {_COVERAGE} interval of the estimate, not "
        "corrected for the number of regions",
        "Units": "S/m",
    },
    "ci_high": {"Description": f"Upper end of the {_COVERAGE} interval", "Units": "S/m"},
    "df": {"Description": "Residual degrees of freedom"},
    "p": {"Description": "Two-sided p-value of the estimate"},
    "p_corrected": {
        "Description": "p-value after Holm's correction for the number of regions with the same "
        "acquisition, method, atlas, erosion, term and level"
    },
    "hedges_g": {
        "Description": "Hedges' g: standardised difference of the group from the "
        "reference group, without covariates"
    },
    "g_ci_low": {"Description": f"Lower end of the {_COVERAGE} interval of Hedges' g"},
    "g_ci_high": {"Description": f"Upper end of the {_COVERAGE} interval of Hedges' g"},
}

DICTIONARY = {name: _DESCRIPTIONS[name] for name in (*REGION, *EFFECT_COLUMNS)}
"""Columns of ``group_effects.tsv``."""


def group_effects(
    regions: RegionTable, phenotype: Phenotype, request: GroupRequest
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Estimate the effects of groups and covariates in all regions.

    Parameters
    ----------
    regions : RegionTable
        Regions of all maps.
    phenotype : Phenotype
        Columns of the participant and session tables.
    request : GroupRequest
        Columns to compare.

    Returns
    -------
    table : DataFrame
        One row for each region and term, with the columns of `DICTIONARY`.
    notes : tuple of str
        Notes about participants that were left out, with the reason, or about missing values.

    Raises
    ------
    InputError
        If there is no region table, or if the columns do not define a model.
    """
    if regions.rows.empty:
        raise InputError(
            request.output_dir,
            "has no table of regions (*_condregions.tsv), which is needed to estimate effects",
            "compute the maps again, or leave out --group-by and --covariates",
        )
    design = _design(regions.rows, phenotype, request)
    parts = []
    for family, rows in regions.comparable.groupby(FAMILY):
        values = participant_values(rows)
        if values.empty:
            # for example, if all eroded regions of an atlas of small structures are empty
            continue
        effects = fit_effects(values, design)
        effects[["label", "region"]] = effects.pop("key").tolist()
        keys: dict[str, Any] = dict(zip(FAMILY, family, strict=True))
        parts.append(effects.assign(**keys))
    if not parts:
        note = "no region has a median conductivity, so no effects are estimated"
        return pd.DataFrame(columns=list(DICTIONARY)), (*design.notes, note)
    table = pd.concat(parts, ignore_index=True)
    return table.reindex(columns=list(DICTIONARY)), design.notes


def _design(rows: pd.DataFrame, phenotype: Phenotype, request: GroupRequest) -> Design:
    names = [*filter(None, [request.group_by]), *request.covariates]
    scans = rows[["participant_id", "session_id", *phenotype.dictionary]].drop_duplicates()
    try:
        participants = scans.groupby("participant_id")[list(phenotype.dictionary)].first()
        for name in names:
            if name in phenotype.dictionary:
                participants[name] = _of_participants(
                    scans, name, is_group=name == request.group_by
                )
        return make_design(participants, request.group_by, request.covariates)
    except ValueError as error:
        raise InputError(
            request.bids_dir,
            f"has no suitable tables (participants.tsv, sessions.tsv) for this comparison: {error}",
            "correct the tables, or --group-by and --covariates",
        ) from error


def _of_participants(scans: pd.DataFrame, name: str, *, is_group: bool) -> pd.Series:
    """Return one value of a column for each participant; numbers are averaged over the sessions.

    Raises
    ------
    ValueError
        If a participant has several values that are not numbers or name groups.
    """
    known = scans.dropna(subset=[name])
    each = known.groupby("participant_id")[name]
    several = each.nunique() > 1
    if several.any():
        numbers = None if is_group else as_numbers(known[name])
        if numbers is None:
            raise ValueError(
                f"the column {name} differs between the sessions of {several.idxmax()}, but the "
                "comparison is between participants"
            )
        return numbers.groupby(known["participant_id"]).mean().map(str)
    return each.first()
