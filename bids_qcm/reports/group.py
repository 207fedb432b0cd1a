"""Write the group table and the group page from the statistics in a derivative dataset."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import median_abs_deviation

from bids_qcm.bids.errors import InputError, NoInputError
from bids_qcm.bids.privacy import without_paths
from bids_qcm.bids.results import MapResult, Result, find_results, wrong_fields
from bids_qcm.bids.run_records import read_records
from bids_qcm.bids.tables import CONDSTATS, Dictionary, write_table
from bids_qcm.recon import METHODS
from bids_qcm.reports.pages import link, write_page
from bids_qcm.reports.quality import count_verdicts, quality_plots, quality_row, write_quality
from bids_qcm.reports.states import group_state
from bids_qcm.reports.strips import draw_strips
from bids_qcm.statistics import EROSIONS

OUTLIER_SCORE = 3.5
"""Largest absolute modified z-score that is not an outlier (Iglewicz and Hoaglin 1993)."""

LEAST_VALUES = 5
"""Minimum number of values per tissue and method for detecting outliers."""

_STATISTICS = ("n", "mean", "sd", "median", "iqr", "invalid_fraction")


def _columns() -> Dictionary:
    columns: dict[str, Mapping[str, str]] = {
        "participant_id": {"Description": "Participant"},
        "session_id": {"Description": "Session; n/a for a participant without sessions"},
        "source": {"Description": "Prefix that the file names of the acquisition share"},
        "method": {"Description": "Name of the method"},
        "label": CONDSTATS["label"],
        "tissue": CONDSTATS["tissue"],
        "imaging_frequency": {"Description": "Larmor frequency", "Units": "MHz"},
        "literature": {
            "Description": "Literature value of the tissue's conductivity at this frequency "
            "(Gabriel et al. 1996, doi:10.1088/0031-9155/41/11/003)",
            "Units": "S/m",
        },
    }
    for erosion in EROSIONS:
        for name in _STATISTICS:
            entry = dict(CONDSTATS[name])
            if erosion:
                entry["Description"] += f", of the tissue eroded by {erosion} voxels"
            columns[_column(name, erosion)] = entry
    return columns | {
        "outlier_score": {
            "Description": "Modified z-score of the median, compared with all acquisitions with "
            "this method and tissue: 0.6745 times the difference from the group median, divided by "
            f"the median absolute deviation; n/a for fewer than {LEAST_VALUES} values, or if most "
            "values are equal"
        },
        "outlier": {
            "Description": f"Whether the absolute outlier_score exceeds {OUTLIER_SCORE:g} "
            "(Iglewicz and Hoaglin 1993)"
        },
    }


def write_group(
    output_dir: Path, participants: Sequence[str], damaged: list[InputError]
) -> list[Path]:
    """Write ``group_condmap.tsv`` and ``group_qc.tsv`` with their dictionaries, and the page.

    Parameters
    ----------
    output_dir : Path
        Derivative dataset. Only its tables, sidecars and records are read.
    participants : sequence of str
        Labels with ``sub-``, such as ``sub-01``.
    damaged : list of InputError
        List to which an error is added for each file that cannot be read. The table omits the map
        that the file belongs to.

    Returns
    -------
    list of Path
        Files that were written.

    Raises
    ------
    NoInputError
        If no map has a statistics table.
    """
    state = group_state(output_dir, participants)
    rows, quality, without, names = [], [], [], {}
    for participant in participants:
        for result in find_results(output_dir, participant, damaged, from_tables=True):
            try:
                quality_of_maps = [quality_row(one, result) for one in result.maps]
                rows_of_maps = [row for one in result.maps for row in _rows(one, result)]
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                damaged.append(wrong_fields(result, error))
                continue
            names[result.source] = result.name
            quality += quality_of_maps
            rows += rows_of_maps
            without += [
                f"{result.name}, {one.method}" for one in result.maps if one.condstats is None
            ]
    if not rows:
        raise NoInputError(
            output_dir,
            "has no statistics table (*_condstats.tsv)",
            "compute the conductivity maps first, with bids-qcm participant",
        )
    columns = _columns()
    table = pd.DataFrame(rows)
    table["outlier_score"] = table.groupby(["method", "label", "tissue"])["median"].transform(
        modified_z_scores
    )
    table["outlier"] = table["outlier_score"].abs() > OUTLIER_SCORE
    path = output_dir / "group_condmap.tsv"
    write_table(path, table.reindex(columns=list(columns)), columns)
    qc = write_quality(output_dir, quality)
    write_page(
        state.page,
        "group.html",
        # as for participants, each run lists the damaged files
        fingerprint="" if damaged else state.fingerprint(),
        title="Conductivity of "
        + ("one participant" if len(participants) == 1 else f"{len(participants)} participants"),
        tissues=_tissues(table, names),
        verdicts=count_verdicts(quality),
        quality=quality_plots(quality, names),
        outliers=_outliers(table, names),
        without=without,
        damaged=[without_paths(str(error), {str(output_dir): "OUTPUT_DIR/"}) for error in damaged],
        failures=_failures(output_dir, participants),
        score=f"{OUTLIER_SCORE:g}",
        least=LEAST_VALUES,
    )
    return [path, path.with_suffix(".json"), qc, qc.with_suffix(".json"), state.page]


def modified_z_scores(values: pd.Series) -> pd.Series:
    """Return the modified z-scores of values, a robust measure of their distance from the median.

    Parameters
    ----------
    values : Series of float
        Values; NaN where a value is missing.

    Returns
    -------
    Series of float
        ``0.6745 (x - median) / MAD``, where MAD is the median absolute deviation. All scores are
        NaN if there are fewer than `LEAST_VALUES` values, or if MAD is 0.

    References
    ----------
    .. [1] Iglewicz B, Hoaglin DC. How to detect and handle outliers. ASQC Quality Press 1993.
    """
    deviation = float(median_abs_deviation(values, scale="normal", nan_policy="omit"))
    if values.count() < LEAST_VALUES or deviation == 0:
        return pd.Series(np.nan, values.index)
    return (values - values.median()) / deviation


def _column(name: str, erosion: int) -> str:
    return f"{name}_eroded{erosion}" if erosion else name


def _rows(one: MapResult, result: Result) -> list[dict[str, Any]]:
    """Return the rows of a map, one for each tissue in its statistics table."""
    literature = result.literature
    found: dict[int, dict[str, Any]] = {}
    for entry in one.statistics:
        row = found.setdefault(
            entry["label"],
            {
                "participant_id": result.participant,
                "session_id": None if result.session is None else f"ses-{result.session}",
                "source": result.source,
                "method": one.method,
                "label": entry["label"],
                "tissue": entry["tissue"],
                "imaging_frequency": result.sidecar.imaging_frequency,
                "literature": literature.get(entry["tissue"], np.nan),
            },
        )
        row |= {_column(name, entry["erosion"]): entry[name] for name in _STATISTICS}
    return list(found.values())


def _tissues(table: pd.DataFrame, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return one strip plot for each tissue, with its name, anchor and literature values."""
    order = [method for method in METHODS if method in set(table["method"])]
    order += sorted(set(table["method"]) - set(order))
    plots = []
    for (label, tissue), of_tissue in table.groupby(["label", "tissue"]):
        points = {
            method: [
                {
                    "value": row["median"],
                    "name": names[row["source"]],
                    "link": _link(row),
                    "outlier": row["outlier"],
                }
                for row in of_tissue[of_tissue["method"] == method].to_dict("records")
                if np.isfinite(row["median"])
            ]
            for method in order
        }
        literature = sorted(set(of_tissue["literature"].dropna().round(3)))
        plots.append(
            {
                "name": tissue,
                "anchor": f"tissue-{label}",
                "plot": draw_strips({m: p for m, p in points.items() if p}, literature),
                "literature": ", ".join(f"{value:.3f}" for value in literature),
            }
        )
    return plots


def _outliers(table: pd.DataFrame, names: Mapping[str, str]) -> list[dict[str, str]]:
    worst = table[table["outlier"]].sort_values("outlier_score", key=abs, ascending=False)
    return [
        {
            "name": names[row["source"]],
            "link": _link(row),
            "method": row["method"],
            "tissue": row["tissue"],
            "median": f"{row['median']:.3f}",
            "score": f"{row['outlier_score']:+.1f}",
        }
        for row in worst.to_dict("records")
    ]


def _link(row: Mapping[Hashable, Any]) -> str:
    return f"{link(row['participant_id'])}.html#{link(row['source'])}"


def _failures(output_dir: Path, participants: Sequence[str]) -> list[dict[str, str]]:
    """Return the failures in the last run of each participant."""
    return [
        {
            "name": record.acquisition,
            "link": f"{link(participant)}.html#errors",
            "step": failure.step,
            "error": without_paths(failure.error, {str(output_dir): "OUTPUT_DIR/"}),
        }
        for participant in participants
        for record in read_records(output_dir, participant)
        for failure in record.failures
    ]
