"""Table and plots of the repeatability of repeated scans on the group page."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bids_qcm.bids.scan_order import ScanOrder
from bids_qcm.bids.tables import TISSUES_ATLAS, Dictionary
from bids_qcm.repeatability import last_minus_first, repeatability_table, scan_table
from bids_qcm.reports.group_columns import COLUMNS
from bids_qcm.reports.group_regions import FAMILY, REGION

_INTERVAL = {
    "wsd": ("Within-subject standard deviation of the median conductivity", "S/m"),
    "rc": (
        "Repeatability coefficient, 1.96 sqrt(2) wsd: two scans of a participant differ by less "
        "than this coefficient in 95 % of cases if nothing has changed",
        "S/m",
    ),
    "wcv": ("Within-subject coefficient of variation; n/a if a mean is 0", "1"),
    "icc": (
        "Intraclass correlation ICC(1,1): variance between participants over all variance; n/a "
        "without any variance",
        "1",
    ),
    "bias": ("Mean difference between the last and the first scan (last minus first)", "S/m"),
}


def _with_interval(name: str, description: str, units: str) -> dict[str, Mapping[str, str]]:
    ends = {"_ci_low": "Lower end", "_ci_high": "Upper end"}
    return {
        name: {"Description": description, "Units": units},
        **{
            name + end: {"Description": f"{text} of the 95 % interval of {name}", "Units": units}
            for end, text in ends.items()
        },
    }


DICTIONARY: Dictionary = {
    **{name: COLUMNS[name] for name in REGION},
    "repeated": {
        "Description": "sessions, if a participant has several sessions; the runs of a session are "
        "then averaged first. Otherwise runs"
    },
    "n_participants": {"Description": "Number of participants with at least two scans"},
    "n_scans": {"Description": "Number of scans of these participants"},
    "mean": {"Description": "Mean over the participants", "Units": "S/m"},
    **{
        column: entry
        for name, (description, units) in _INTERVAL.items()
        for column, entry in _with_interval(name, description, units).items()
    },
    "loa_low": {"Description": "Lower limit of agreement: bias - 1.96 sd", "Units": "S/m"},
    "loa_high": {"Description": "Upper limit of agreement: bias + 1.96 sd", "Units": "S/m"},
    "loa_margin": {
        "Description": "Half the width of the 95 % intervals of both limits of agreement",
        "Units": "S/m",
    },
}
"""Data dictionary of ``group_repeatability.tsv``."""

# Size of a Bland-Altman plot and of its margins, in pixels.
_WIDTH, _HEIGHT = 300, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 10, 26, 38

# Distance between the labels of two lines.
_LABEL = 13

_LEAST_SPAN = 0.1
"""Minimum range of both axes as a fraction of the mean, so that small differences look small."""


def comparable_rows(regions: pd.DataFrame, tissues: pd.DataFrame, order: ScanOrder) -> pd.DataFrame:
    """Return the rows from which the repeatability is computed.

    Parameters
    ----------
    regions : DataFrame
        Rows of regions that correspond between scans; may be empty.
    tissues : DataFrame
        Table of tissues. It replaces the atlas ``tissues`` for each method and kind of acquisition
        for which at least one map has no rows of regions.
    order : ScanOrder
        Order of the scans.

    Returns
    -------
    DataFrame
        Rows with the columns of `REGION`, ``participant_id``, ``session_id``, ``source``,
        ``position`` and ``median``.
    """
    maps, kinds = ["source", "method"], ["acquisition", "method"]
    has_regions = _index(tissues, maps).isin(_index(regions, maps))
    incomplete = _index(tissues[~has_regions], kinds)
    tissues = tissues[_index(tissues, kinds).isin(incomplete)].assign(
        atlas=TISSUES_ATLAS, erosion=0, region=lambda rows: rows["tissue"]
    )
    is_replaced = (regions["atlas"] == TISSUES_ATLAS) & _index(regions, kinds).isin(incomplete)
    columns = [*REGION, "participant_id", "session_id", "source", "median"]
    parts = [one[columns] for one in (regions[~is_replaced], tissues) if len(one)]
    rows = pd.concat(parts, ignore_index=True)
    return rows.assign(position=rows["source"].map(order.position))


def _index(table: pd.DataFrame, columns: list[str]) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(table[columns])


def repeatability_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the content of ``group_repeatability.tsv``; empty without repeated scans."""
    return repeatability_table(rows, REGION).reindex(columns=list(DICTIONARY))


def repeatability_section(rows: pd.DataFrame, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the content of the section on the group page.

    Parameters
    ----------
    rows : DataFrame
        Rows from :func:`comparable_rows`.
    table : DataFrame
        Table from :func:`repeatability_of`.

    Returns
    -------
    list of dict
        One entry for each atlas, method and kind of acquisition, with its ``name``, the rows of its
        table (``regions``), and the Bland-Altman plots (``plots``). Eroded regions are only in the
        table.
    """
    whole = table[table["erosion"] == 0]
    of_regions = dict(list(rows.groupby(REGION, sort=False, dropna=False)))
    blocks = []
    for names, family in whole.groupby(FAMILY, sort=False):
        acquisition, method, atlas, _ = names
        records = family.to_dict("records")
        blocks.append(
            {
                "name": ", ".join(str(one) for one in (method, atlas, acquisition) if one != "n/a"),
                "repeated": records[0]["repeated"],
                "regions": [_line(record) for record in records],
                "plots": [
                    _plot(of_regions[tuple(record[key] for key in REGION)], record)
                    for record in records
                ],
            }
        )
    return blocks


def _line(record: Mapping[Any, Any]) -> dict[str, str]:
    """Return the cells of a row of the table on the page."""
    cells = {
        name: "n/a"
        if np.isnan(record[name])
        else f"{record[name]:.3f} ({record[f'{name}_ci_low']:.3f} to "
        f"{record[f'{name}_ci_high']:.3f})"
        for name in ("wsd", "rc", "icc", "bias")
    }
    return {
        "region": str(record["region"]),
        "n": f"{record['n_participants']} / {record['n_scans']}",
        "mean": f"{record['mean']:.3f}",
        "wcv": "n/a" if np.isnan(record["wcv"]) else f"{record['wcv']:.1%}",
        **cells,
    }


def _plot(rows: pd.DataFrame, record: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the lines, points and labels of a Bland-Altman plot, in pixels."""
    table = scan_table(rows)
    table = table[table.notna().sum(axis=1) > 1]
    mean = table.mean(axis=1).to_numpy()
    difference = last_minus_first(table.to_numpy())
    lines = {name: record[name] for name in ("loa_low", "bias", "loa_high")}
    least = _LEAST_SPAN * abs(record["mean"])
    reach = 1.1 * max(least / 2, np.abs(difference).max(), *map(abs, lines.values()))
    middle, half = (mean.max() + mean.min()) / 2, 1.1 * max(least, np.ptp(mean)) / 2
    x = _scaled(mean, middle - half, middle + half, _LEFT, _WIDTH - _RIGHT)
    y = _scaled(difference, -reach, reach, _HEIGHT - _BOTTOM, _TOP)
    heights = _scaled(np.array([0.0, *lines.values()]), -reach, reach, _HEIGHT - _BOTTOM, _TOP)
    # the labels of lines that are close together must not overlap
    labels = [
        max(heights[1], heights[2] + _LABEL),
        heights[2],
        min(heights[3], heights[2] - _LABEL),
    ]
    outside = (difference < lines["loa_low"]) | (difference > lines["loa_high"])
    names = table.index.to_numpy()
    return {
        "region": record["region"],
        "width": _WIDTH,
        "height": _HEIGHT,
        "left": _LEFT,
        "right": _WIDTH - _RIGHT,
        "bottom": _HEIGHT - _BOTTOM,
        "zero": round(float(heights[0]), 1),
        "lines": [
            {
                "name": name,
                "y": round(float(at), 1),
                "label": round(label, 1),
                "text": f"{value:+.3f}",
            }
            for (name, value), at, label in zip(lines.items(), heights[1:], labels, strict=True)
        ],
        "ends": [f"{middle - half:.3f}", f"{middle + half:.3f}"],
        "points": "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(x, y, strict=True)),
        "outside": [
            {"name": str(name), "x": round(float(a), 1), "y": round(float(b), 1)}
            for name, a, b in zip(names[outside], x[outside], y[outside], strict=True)
        ],
    }


def _scaled(values: np.ndarray, low: float, high: float, first: float, last: float) -> np.ndarray:
    """Return the pixel positions of values on an axis from `low` at `first` to `high` at `last`."""
    return first + (values - low) / ((high - low) or 1) * (last - first)
