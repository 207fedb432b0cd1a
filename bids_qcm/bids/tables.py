"""Read and write BIDS tables: a TSV file and a JSON data dictionary that describes its columns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bids_qcm.bids.derivatives import write_json, write_text
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.names import plain_label
from bids_qcm.bids.readers import read_rows

_COMPUTE_AGAIN = "compute the map again"

Dictionary = Mapping[str, Mapping[str, str]]
"""Data dictionary: ``Description`` and optional ``Units`` of each column."""

TISSUE_STATISTICS: Dictionary = {
    "label": {"Description": "Label of the tissue in the segmentation"},
    "tissue": {"Description": "Name of the tissue"},
    "erosion": {"Description": "Radius of the ball that erodes the tissue", "Units": "voxels"},
    "n": {"Description": "Number of voxels, including invalid voxels"},
    "mean": {"Description": "Mean conductivity of the valid voxels", "Units": "S/m"},
    "sd": {"Description": "Standard deviation over the valid voxels (n - 1)", "Units": "S/m"},
    "median": {"Description": "Median of the valid voxels", "Units": "S/m"},
    "iqr": {
        "Description": "Interquartile range of the valid voxels (quartiles by Hazen's formula)",
        "Units": "S/m",
    },
    "invalid_fraction": {"Description": "Fraction of voxels that are invalid"},
}
"""Columns of the tissue statistics."""

CONDSTATS: Dictionary = {
    **TISSUE_STATISTICS,
    "label": {"Description": "Label of the tissue in the segmentation; 0 for the whole mask"},
}
"""Columns of the statistics table of a conductivity map."""


CONDLESIONS: Dictionary = {
    "lesion": {"Description": "Number of the lesion"},
    "n": {"Description": "Number of voxels of the lesion, including invalid voxels"},
    "volume_ml": {"Description": "Volume of the lesion in the mask", "Units": "ml"},
    "mean": {"Description": "Mean conductivity of the valid voxels", "Units": "S/m"},
    "median": {"Description": "Median of the valid voxels", "Units": "S/m"},
    "sd": {"Description": "Standard deviation over the valid voxels (n - 1)", "Units": "S/m"},
    "standard_error": {
        "Description": "Standard error of the mean due to image noise",
        "Units": "S/m",
    },
    "reference": {
        "Description": "Region that the lesion is compared with: mirrored, the mirror image of "
        "the lesion in the mid-sagittal plane, excluding voxels of lesions and cerebrospinal "
        "fluid; same tissue, all voxels of the reference tissue at least 5 mm from any lesion"
    },
    "reference_tissue": {
        "Description": "Most frequent tissue in the mirrored region or, if the mirrored region "
        "has no labels, around the lesion"
    },
    "reference_n": {
        "Description": "Number of voxels of the reference region, including invalid voxels"
    },
    "reference_mean": {
        "Description": "Mean conductivity of the valid voxels of the reference region",
        "Units": "S/m",
    },
    "difference": {
        "Description": "Mean of the lesion minus mean of the reference region",
        "Units": "S/m",
    },
    "difference_standard_error": {
        "Description": "Standard error of the difference due to image noise, including the "
        "correlation of the noise between voxels",
        "Units": "S/m",
    },
}
"""Columns of the lesion table."""

CONDREGIONS: Dictionary = {
    "atlas": {"Description": "Name of the segmentation, or name of the atlas in --atlas"},
    "label": {"Description": "Label of the region in the segmentation or atlas"},
    "region": {"Description": "Name of the region"},
    "erosion": {"Description": "Radius of the ball that erodes the region", "Units": "voxels"},
    **{
        name: TISSUE_STATISTICS[name]
        for name in ("n", "mean", "sd", "median", "iqr", "invalid_fraction")
    },
    "standard_error": {
        "Description": "Standard error of the mean due to noise, computed from noise maps, which "
        "include the correlation of the noise between voxels",
        "Units": "S/m",
    },
}
"""Columns of the region table."""


RESOURCES: Dictionary = {
    "step": {"Description": "Name of the workflow step"},
    "duration": {"Description": "Duration of the step", "Units": "s"},
    "processor_time": {"Description": "Processor time of all threads", "Units": "s"},
    "estimated_processor_time": {
        "Description": "Estimate of the processor time; steps that write files have no estimate",
        "Units": "s",
    },
    "peak_memory": {"Description": "Peak memory of the process", "Units": "GB"},
    "estimated_peak_memory": {
        "Description": "Estimate of the peak memory, which limits how many steps run at once",
        "Units": "GB",
    },
}
"""Columns of the resource table of an acquisition."""

LESIONS_ATLAS = "lesions"
"""Name in the column ``atlas`` of lesions, whose numbers do not correspond between scans."""

TISSUES_ATLAS = "tissues"
"""Name in the column ``atlas`` of the tissues of the segmentation."""

_TEXTS = ("tissue", "atlas", "region", "reference", "reference_tissue")
_WHOLE_NUMBERS = ("label", "erosion", "n", "lesion", "reference_n")


def write_table(path: Path, table: pd.DataFrame, dictionary: Dictionary) -> None:
    """Write a table and its data dictionary.

    Parameters
    ----------
    path : Path
        TSV file. The JSON file has the same name with the extension ``.json``.
    table : DataFrame
        Floating-point numbers are written with 6 significant digits, missing values as ``n/a``.
    dictionary : mapping
        Data dictionary with every column of the table. Entries of other columns are not written.
    """
    write_json(path.with_suffix(".json"), {column: dictionary[column] for column in table.columns})
    text = table.to_csv(
        sep="\t", index=False, na_rep="n/a", float_format="%.6g", lineterminator="\n"
    )
    write_text(path, text)


def remove_table(path: Path) -> None:
    """Remove a table and its data dictionary if they exist."""
    path.unlink(missing_ok=True)
    path.with_suffix(".json").unlink(missing_ok=True)


def read_condstats(path: Path) -> list[dict[str, Any]]:
    """Read the statistics table of a conductivity map.

    Parameters
    ----------
    path : Path
        TSV file.

    Returns
    -------
    list of dict
        One row for each tissue and erosion, with the columns of `CONDSTATS`. ``tissue`` is a
        string; all other values are numbers. A missing value is NaN.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, has no rows, or has a value that is not a
        number.
    """
    rows = _read(path, CONDSTATS, ("label", "tissue", "erosion"))
    if not rows:
        raise InputError(path, "has no rows", _COMPUTE_AGAIN)
    return rows


def read_condregions(path: Path) -> list[dict[str, Any]]:
    """Read the region table of a conductivity map.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of dict
        One row for each atlas, region and erosion, with the columns of `CONDREGIONS`. ``atlas`` and
        ``region`` are strings; all other values are numbers. A missing value is NaN. Empty if no
        region has a voxel in the mask.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, or has a non-numeric value in a numeric column.
    """
    return _read(path, CONDREGIONS, ("atlas", "label", "region", "erosion"))


def read_condlesions(path: Path) -> list[dict[str, Any]]:
    """Read the lesion table of a conductivity map.

    Parameters
    ----------
    path : Path
        TSV file.

    Returns
    -------
    list of dict
        One row for each lesion and reference region, with the columns of `CONDLESIONS`. The
        reference and its tissue are strings; all other values are numbers. A missing value is NaN.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, or has a non-numeric value in a numeric column.
    """
    return _read(path, CONDLESIONS, ("lesion", "reference"))


def _read(path: Path, columns: Dictionary, required: Sequence[str]) -> list[dict[str, Any]]:
    try:
        # a table of another version may lack a column
        return [
            {name: _value(name, row.get(name, "n/a")) for name in columns}
            for row in read_rows(path, required, _COMPUTE_AGAIN)
        ]
    except ValueError as error:
        raise InputError(
            path, f"has a value that is not a number ({error})", _COMPUTE_AGAIN
        ) from error


def _value(column: str, text: str) -> Any:  # noqa: ANN401
    if column in _TEXTS:
        return plain_label(text)
    if text == "n/a":
        return float("nan")
    return int(text) if column in _WHOLE_NUMBERS else float(text)
