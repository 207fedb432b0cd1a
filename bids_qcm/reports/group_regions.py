"""Region table of a group, with one row for each map, region and erosion."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bids_qcm.bids.participants import Phenotype
from bids_qcm.bids.results import Result
from bids_qcm.bids.tables import CONDREGIONS, LESIONS_ATLAS
from bids_qcm.reports.group_columns import COLUMNS, SCAN, scan_cells
from bids_qcm.reports.outliers import (
    OUTLIER_COLUMNS,
    OUTLIER_SCORE,
    expected_outliers,
    modified_z_scores,
    with_outliers,
)

FAMILY = ["acquisition", "method", "atlas", "erosion"]
"""Columns with the same value for all regions of an atlas in comparable maps."""

REGION = [*FAMILY, "label", "region"]
"""Columns that identify a region in comparable maps."""

_SCORES: Mapping[str, Mapping[str, str]] = {
    **OUTLIER_COLUMNS,
    "session_score": {
        "Description": "Modified z-score of the map as a whole: of the median of its outlier_score "
        "over all regions without erosion, compared in the same way"
    },
    "session_outlier": {
        "Description": f"Whether the absolute session_score exceeds {OUTLIER_SCORE:g}"
    },
}

OWN_COLUMNS = frozenset([*SCAN, "method", *CONDREGIONS, *_SCORES])
"""Reserved names that columns of ``participants.tsv`` and ``sessions.tsv`` cannot have in the
table."""


class RegionTable:
    """The region table of a group.

    Parameters
    ----------
    results : sequence of Result
        Results of all participants.
    phenotype : Phenotype
        Columns of the participant and session tables.

    Attributes
    ----------
    rows : DataFrame
        The table; empty if no map has a region table.
    dictionary : dict
        Data dictionary of the columns.
    """

    def __init__(self, results: Sequence[Result], phenotype: Phenotype) -> None:
        entities = list(dict.fromkeys(key for result in results for key in result.entities))
        # a column of another table may have the same name as an entity
        entities = [key for key in entities if key not in phenotype.dictionary]
        self.dictionary: dict[str, Mapping[str, Any]] = {
            **{name: COLUMNS[name] for name in SCAN},
            **{key: {"Description": f"Label of the entity {key}"} for key in entities},
            "method": COLUMNS["method"],
            **CONDREGIONS,
            **_SCORES,
            **phenotype.dictionary,
        }
        parts = []
        for result in results:
            scan = {
                **scan_cells(result),
                **{key: result.entities.get(key) for key in entities},
            }
            known = phenotype.values(result.participant, result.session_id)
            for one in result.maps:
                if one.regions:
                    table = pd.DataFrame(one.regions, columns=list(CONDREGIONS))
                    parts.append(table.assign(**scan, method=one.method, **known))
        rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
        self.rows = _with_scores(rows).reindex(columns=list(self.dictionary))

    @cached_property
    def comparable(self) -> pd.DataFrame:
        """Rows of regions that correspond between scans.

        Lesions are left out, because the number of a lesion does not identify the same lesion in
        other scans.
        """
        return self.rows[_is_comparable(self.rows)]

    @property
    def n_expected(self) -> float:
        """Number of outliers that is expected by chance among all regions, if values are normal."""
        sizes = self.comparable.groupby(REGION)["outlier_score"].count()
        return float(sum(map(expected_outliers, sizes)))

    def sessions(self) -> pd.DataFrame:
        """Return one row for each map, with the score and the numbers of regions and outliers.

        The columns are ``participant_id``, ``source``, ``acquisition``, ``method``,
        ``session_score``, ``session_outlier``, ``n_regions`` and ``n_outliers``. Only
        regions without erosion count.
        """
        rows = self.rows[self.rows["erosion"] == 0]
        rows = rows[rows["outlier_score"].notna()]
        keys = ["participant_id", "source", "acquisition", "method"]
        keys += ["session_score", "session_outlier"]
        counts = rows.groupby(keys, dropna=False)["outlier"].agg(["size", "sum"]).reset_index()
        return counts.rename(columns={"size": "n_regions", "sum": "n_outliers"})


def _is_comparable(rows: pd.DataFrame) -> pd.Series:
    return rows["atlas"] != LESIONS_ATLAS


def _with_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the scores of the regions and the scores of the maps."""
    if rows.empty:
        return rows
    # rows with a missing name are not compared
    compared = with_outliers(rows.assign(atlas=rows["atlas"].where(_is_comparable(rows))), REGION)
    rows = compared.assign(atlas=rows["atlas"])
    whole = rows[rows["erosion"] == 0]
    of_maps = whole.groupby(["source", "method", "acquisition"])["outlier_score"].median()
    scores = of_maps.groupby(["method", "acquisition"]).transform(modified_z_scores)
    scores = scores.droplevel("acquisition").rename("session_score")
    rows = rows.join(scores, on=["source", "method"])
    rows["session_outlier"] = rows["session_score"].abs() > OUTLIER_SCORE
    return rows


def participant_values(rows: pd.DataFrame, value: str = "median") -> pd.DataFrame:
    """Return the value of each region in each participant, averaged over sessions and runs.

    Parameters
    ----------
    rows : DataFrame
        Rows of the region table with equal values in the columns of `FAMILY`.
    value : str
        Column to average.

    Returns
    -------
    DataFrame of float
        One row for each participant, one column for each label and name of a region with a value.
    """
    means = rows.groupby(["participant_id", "label", "region"])[value].mean()
    table = means.unstack(["label", "region"]).sort_index(axis="columns")
    return table.loc[:, table.notna().any()].astype(np.float64)
