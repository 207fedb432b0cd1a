"""Tables as BIDS has them: TSV, and a JSON data dictionary that says what the columns mean."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bids_qcm.bids.derivatives import write_json, write_text
from bids_qcm.bids.files import require_content

Dictionary = Mapping[str, Mapping[str, str]]
"""Of each column: ``Description`` and, if it has one, ``Units``."""

TISSUE_STATISTICS: Dictionary = {
    "label": {"Description": "Label of the tissue in the segmentation"},
    "tissue": {"Description": "Name of the tissue"},
    "erosion": {"Description": "Radius of the ball that eroded the tissue", "Units": "voxels"},
    "n": {"Description": "Voxels, invalid ones included"},
    "mean": {"Description": "Mean conductivity of the valid voxels", "Units": "S/m"},
    "sd": {"Description": "Standard deviation over the valid voxels (n - 1)", "Units": "S/m"},
    "median": {"Description": "Median of the valid voxels", "Units": "S/m"},
    "iqr": {
        "Description": "Interquartile range of the valid voxels, quartiles by Hazen's formula",
        "Units": "S/m",
    },
    "invalid_fraction": {"Description": "Share of the voxels that are invalid"},
}
"""Columns of a table of tissues."""

CONDSTATS: Dictionary = {
    **TISSUE_STATISTICS,
    "label": {"Description": "Label of the tissue in the segmentation; 0 for the whole mask"},
}
"""Columns of the table of one conductivity map."""


def write_table(path: Path, table: pd.DataFrame, dictionary: Dictionary) -> None:
    """Write a table and its data dictionary.

    Parameters
    ----------
    path : Path
        Of the TSV file; the JSON file stands beside it.
    table : DataFrame
        Numbers are written with 6 digits, missing ones as ``n/a``.
    dictionary : mapping
        Has every column of the table; others are left out.
    """
    write_json(path.with_suffix(".json"), {column: dictionary[column] for column in table.columns})
    text = table.to_csv(
        sep="\t", index=False, na_rep="n/a", float_format="%.6g", lineterminator="\n"
    )
    write_text(path, text)


def read_condstats(path: Path) -> list[dict[str, Any]]:
    """Read the table of one conductivity map.

    Parameters
    ----------
    path : Path
        Of the TSV file.

    Returns
    -------
    list of dict
        A row for each tissue and erosion: numbers, NaN where there is none, and the tissue's name.

    Raises
    ------
    InputError
        If the table is a pointer to content that is not here.
    """
    require_content(path)
    # pandas takes ten times as long for so small a table, and a group has thousands
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    return [{name: _value(name, text) for name, text in row.items()} for row in rows]


def _value(column: str, text: str) -> Any:  # noqa: ANN401
    if column == "tissue":
        return text
    if column in ("label", "erosion", "n"):
        return int(text)
    return float("nan") if text == "n/a" else float(text)
