"""Tables of numbers on the report page of a participant."""

import math
from collections.abc import Mapping
from typing import Any

from bids_qcm.bids.results import MapResult, Result
from bids_qcm.statistics import WHOLE_MASK


def comparison_table(
    result: Result, noise: Mapping[str, Mapping[str, float]]
) -> dict[str, list[dict[str, Any]]]:
    """Return the table that compares the methods in each tissue.

    Parameters
    ----------
    result : Result
        Results of an acquisition.
    noise : mapping of str to mapping of str to float
        Median of the noise standard deviation in S/m, keyed by method and tissue. Methods without
        a noise map are left out.

    Returns
    -------
    dict
        Names and literature values of the ``tissues``, which are the columns, and a row for each of
        the ``methods`` with a statistics table. Each row has one cell for each tissue with the
        median, interquartile range, ratio to the literature value, and noise. The only column
        without a segmentation is the whole mask.
    """
    whole = {
        one.method: {row["tissue"]: row for row in one.statistics if not row["erosion"]}
        for one in result.maps
        if one.condstats
    }
    labels = {name: row["label"] for rows in whole.values() for name, row in rows.items()}
    tissues = [name for name, label in labels.items() if label != WHOLE_MASK] or list(labels)
    literature = result.literature(tissues)

    def cell(method: str, tissue: str) -> list[str]:
        row = whole[method].get(tissue, {})
        median, iqr = row.get("median", math.nan), row.get("iqr", math.nan)
        return [
            _number(median),
            _number(iqr),
            _number(median / literature.get(tissue, math.nan), ".2f"),
            _number(noise.get(method, {}).get(tissue, math.nan)),
        ]

    return {
        "tissues": [
            {"name": name, "literature": _number(literature.get(name, math.nan))}
            for name in tissues
        ],
        "methods": [
            {"name": method, "cells": [cell(method, name) for name in tissues]} for method in whole
        ],
    }


def statistics_rows(one: MapResult, result: Result) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a map's statistics tables.

    Parameters
    ----------
    one : MapResult
    result : Result
        Results of the acquisition of the map.

    Returns
    -------
    dict
        Rows of whole tissues (``whole``) and of eroded tissues (``eroded``); no rows without a
        statistics table.
    """
    if one.condstats is None:
        return {"whole": [], "eroded": []}
    literature = result.literature(row["tissue"] for row in one.statistics)
    rows: dict[str, list[dict[str, Any]]] = {"whole": [], "eroded": []}
    for row in one.statistics:
        eroded = f", {row['erosion']} voxels" if row["erosion"] else ""
        known = literature.get(row["tissue"], math.nan)
        rows["eroded" if row["erosion"] else "whole"].append(
            {
                "tissue": f"{row['tissue']}{eroded}",
                "n": f"{row['n']:d}",
                "conductivities": [_number(row[name]) for name in ("mean", "median", "sd", "iqr")],
                "invalid": _number(row["invalid_fraction"], ".1%"),
                "literature": _number(known),
                "ratio": _number(row["median"] / known, ".2f"),
            }
        )
    return rows


def lesion_rows(one: MapResult) -> list[dict[str, Any]]:
    """Return the rows of the lesion table of a map, one for each lesion."""
    separate = one.sidecar.separate_lesions
    rows: dict[int, dict[str, Any]] = {}
    for row in one.lesions:
        number = row["lesion"]
        shown = rows.setdefault(
            number,
            {
                "lesion": number,
                "n": row["n"],
                "volume": _number(row["volume_ml"], ".2f"),
                "mean": _with_error(row["mean"], row["standard_error"]),
                "separate": separate is not None and number in separate,
                "mirrored": ("-", "-"),
                "same tissue": ("-", "-"),
                "tissue": "-",
            },
        )
        error = row["difference_standard_error"]
        shown[row["reference"]] = (
            _number(row["reference_mean"]),
            _with_error(row["difference"], error, "+.3f"),
        )
        if row["reference"] == "same tissue" and row["reference_tissue"] != "n/a":
            shown["tissue"] = row["reference_tissue"]
    return list(rows.values())


def _with_error(value: float, error: float, form: str = ".3f") -> str:
    """Return a value and its standard error; the value alone if the error is missing."""
    text = _number(value, form)
    return text if math.isnan(error) else f"{text} ± {error:.3f}"


def region_rows(one: MapResult) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a map's region table, keyed by atlas, with one row for each region."""
    eroded = {(row["atlas"], row["label"]): row["mean"] for row in one.regions if row["erosion"]}
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in one.regions:
        if row["erosion"]:
            continue
        inner = eroded.get((row["atlas"], row["label"]), math.nan)
        numbers = [row[name] for name in ("mean", "standard_error", "median", "sd", "iqr")]
        rows.setdefault(row["atlas"], []).append(
            {
                "region": row["region"],
                "n": f"{row['n']:d}",
                "conductivities": [*map(_number, numbers)],
                "invalid": _number(row["invalid_fraction"], ".1%"),
                "eroded": _number(inner),
            }
        )
    return rows


def _number(value: float, form: str = ".3f") -> str:
    """Return a formatted number; a dash for NaN."""
    return "-" if math.isnan(value) else format(value, form)
