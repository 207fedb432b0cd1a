"""Table of the changes of regions between the repeated scans of a participant."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, norm

from bids_qcm.bids.scan_order import ScanOrder
from bids_qcm.bids.tables import CONDREGIONS, Dictionary
from bids_qcm.reports.group_columns import COLUMNS, SCAN
from bids_qcm.reports.group_regions import REGION
from bids_qcm.reports.pages import link_to_scan

# The page lists changes with a corrected p-value below this level. Among the listed changes of one
# kind of acquisition, method and atlas, it is the expected fraction of chance findings.
_LEVEL = 0.05

# Maximum number of changes on the page; the table contains all of them.
_LISTED = 50

_CHANGE: Dictionary = {
    "first_mean": {"Description": "Mean of the region in the first scan", "Units": "S/m"},
    "mean": {"Description": "Mean of the region in this scan", "Units": "S/m"},
    "change": {"Description": "mean minus first_mean", "Units": "S/m"},
    "standard_error": {
        "Description": "Standard error of the change due to the noise of both scans. It does not "
        "include differences of the position, the segmentation or the scanner",
        "Units": "S/m",
    },
    "z": {"Description": "change divided by standard_error"},
    "p": {"Description": "Two-sided p-value of z from the normal distribution"},
    "p_corrected": {
        "Description": "p, corrected by the method of Benjamini and Hochberg for all comparisons "
        "of the same kind of acquisition, method and atlas, over all participants and scans"
    },
}

DICTIONARY: Dictionary = {
    **{name: COLUMNS[name] for name in SCAN},
    "first_source": {
        "Description": "source of the participant's first scan with the same acquisition and method"
    },
    "method": COLUMNS["method"],
    **{name: CONDREGIONS[name] for name in ("atlas", "label", "region", "n")},
    **_CHANGE,
}
"""Data dictionary of ``group_changes.tsv``."""


def changes_of(regions: pd.DataFrame, order: ScanOrder) -> pd.DataFrame:
    """Compare each later scan of a participant with the first scan of this acquisition and method.

    Parameters
    ----------
    regions : DataFrame
        Rows of regions that correspond between scans; may be empty.
    order : ScanOrder
        Order of the scans.

    Returns
    -------
    DataFrame
        Content of ``group_changes.tsv``: one row for each later scan, method and region without
        erosion that has a mean and a standard error in both scans.

    Notes
    -----
    The method of Benjamini and Hochberg controls the expected fraction of chance findings if the
    tests are independent, and for one-sided tests also if their noise is positively correlated
    [1]_. Here the tests are two-sided, and their noise is correlated between neighbouring regions
    and between comparisons with the same first scan. For such tests, the control is not proven.

    References
    ----------
    .. [1] Benjamini Y, Yekutieli D. The control of the false discovery rate in multiple testing
       under dependency. Ann Stat 2001. doi:10.1214/aos/1013699998
    """
    if regions.empty:
        return pd.DataFrame(columns=list(DICTIONARY))
    rows = regions[(regions["erosion"] == 0) & (regions["standard_error"] > 0)]
    position = rows["source"].map(order.position)
    kind = [rows[name] for name in ("participant_id", "acquisition", "method")]
    is_first = position == position.groupby(kind).transform("min")
    pairs = rows[~is_first].merge(
        rows[is_first], on=["participant_id", *REGION], suffixes=(None, "_of_first")
    )
    noise = np.hypot(pairs["standard_error"], pairs["standard_error_of_first"])
    change = pairs["mean"] - pairs["mean_of_first"]
    table = pairs.assign(
        first_source=pairs["source_of_first"],
        first_mean=pairs["mean_of_first"],
        change=change,
        standard_error=noise,
        z=change / noise,
        p=2 * norm.sf(np.abs(change / noise)),
    )
    table = table[table["p"].notna()]
    p = table.groupby(["acquisition", "method", "atlas"])["p"]
    return table.assign(p_corrected=p.transform(false_discovery_control))[list(DICTIONARY)]


def changes_section(table: pd.DataFrame, names: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the content of the section on the group page; None without repeated scans.

    Parameters
    ----------
    table : DataFrame
        Table from :func:`changes_of`.
    names : mapping of str to str
        Name of each scan by its source.

    Returns
    -------
    dict or None
        Number of comparisons (``n``) and of changes with a corrected p-value below a level
        (``n_found`` and ``level``), and the most significant of these changes (``rows``).
    """
    if table.empty:
        return None
    found = table[table["p_corrected"] < _LEVEL]
    worst = found.sort_values("z", key=abs, ascending=False).head(_LISTED)
    return {
        "level": _LEVEL,
        "n": len(table),
        "n_found": len(found),
        "rows": [
            {
                "name": names[row["source"]],
                "link": link_to_scan(row["participant_id"], row["source"]),
                "first": names[row["first_source"]],
                "method": row["method"],
                "atlas": row["atlas"],
                "region": row["region"],
                "means": f"{row['first_mean']:.3f} → {row['mean']:.3f}",
                "change": f"{row['change']:+.3f} ± {row['standard_error']:.3f}",
                "z": f"{row['z']:+.1f}",
            }
            for row in worst.to_dict("records")
        ],
    }
