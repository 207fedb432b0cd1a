"""Label tables: which tissue a label of a segmentation stands for."""

import re
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pandas as pd

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.files import require_content
from bids_qcm.bids.images import whole_file
from bids_qcm.segmentation.tissues import OTHER, TISSUES, Label

BIDS_LABELS = "bids_labels"
"""The numbering of BIDS' common image-derived labels."""

FREESURFER_LABELS = "freesurfer_labels"
"""FreeSurfer's numbering of aseg and aparc+aseg, which FastSurfer and SynthSeg share."""


@cache
def known_table(name: str) -> dict[int, Label]:
    """Read one of this package's tables: `BIDS_LABELS` or `FREESURFER_LABELS`."""
    with as_file(files("bids_qcm.data") / f"{name}.tsv") as path:
        rows = _read_rows(path)
    return {index: Label(row["name"], row["tissue"]) for index, row in rows.items()}


def read_table(path: Path) -> dict[int, Label]:
    """Read a label table.

    Parameters
    ----------
    path : Path
        TSV with the columns ``index`` and ``name``. The tissue of a label is that of the first of
        these that tells one: its ``tissue`` (CSF, GM, WM, SGM or other); its ``mapping``, a label
        of BIDS' common ones; its ``abbreviation`` there; its name, by BIDS or by FreeSurfer. A
        label that none of them tells is of tissue ``other``.

    Returns
    -------
    dict of int to Label
        Without 0.

    Raises
    ------
    InputError
        If the table cannot be read, lacks a column, or has a tissue that does not exist.
    """
    require_content(path)
    remedy = "give it the columns index and name, separated by tabs"
    try:
        rows = _read_rows(path)
        return {index: Label(str(row["name"]), _tissue(row)) for index, row in rows.items()}
    except (OSError, ValueError, KeyError, OverflowError) as error:
        raise InputError(path, f"is no label table ({error!r})", remedy) from error


def write_names(path: Path, names: dict[int, str]) -> None:
    """Write a BIDS label table."""
    table = pd.DataFrame({"index": list(names), "name": list(names.values())})
    with whole_file(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False)


def read_names(path: Path) -> dict[int, str]:
    """Read the names of a BIDS label table that :func:`write_names` wrote."""
    return {index: row["name"] for index, row in _read_rows(path).items()}


def tissue_of_abbreviation(abbreviation: str) -> str | None:
    """Give the tissue of an abbreviation of BIDS' common labels; None if it is none of them."""
    return _tissues_by("abbreviation").get(_plain(abbreviation))


def _read_rows(path: Path) -> dict[int, dict[str, Any]]:
    # a tissue may be called NA
    table = pd.read_csv(path, sep="\t", keep_default_na=False, dtype=str)
    indices = table["index"].astype(int)
    repeated = indices[indices.duplicated()]
    if len(repeated):
        raise ValueError(f"index {repeated.iloc[0]} stands in it twice")
    rows = zip(indices.tolist(), table.to_dict("records"), strict=True)
    return {index: row for index, row in rows if index != 0}


def _tissue(row: dict[str, Any]) -> str:
    """Find the tissue of a table's row, in the order that `read_table` documents."""
    given = row.get("tissue", "")
    if given:
        known = {tissue.lower(): tissue for tissue in (*TISSUES, OTHER)}
        if given.lower() not in known:
            raise ValueError(f"tissue {given!r} is none of {', '.join(known.values())}")
        return known[given.lower()]
    mapping = row.get("mapping", "")
    common = known_table(BIDS_LABELS)
    if mapping.isdecimal() and int(mapping) in common:
        return common[int(mapping)].tissue
    candidates = (
        tissue_of_abbreviation(row.get("abbreviation", "")),
        tissue_of_abbreviation(row["name"]),
        _tissues_by("name").get(_plain(row["name"])),
    )
    return next((tissue for tissue in candidates if tissue is not None), OTHER)


@cache
def _tissues_by(column: str) -> dict[str, str]:
    """Give tissues by the names or abbreviations that the known tables have."""
    found = {}
    for name in (FREESURFER_LABELS, BIDS_LABELS):
        with as_file(files("bids_qcm.data") / f"{name}.tsv") as path:
            for row in _read_rows(path).values():
                if column in row:
                    found[_plain(row[column])] = row["tissue"]
    return found


def _plain(name: str) -> str:
    """Reduce a name to what its spellings share."""
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("grey", "gray"))
