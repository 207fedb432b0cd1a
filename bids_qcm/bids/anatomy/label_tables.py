"""Label tables, which assign a tissue to each label of a segmentation."""

import re
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

import pandas as pd

from bids_qcm.bids.anatomy.sources import BIDS_LABELS, numberings
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import atomic_write
from bids_qcm.bids.names import plain_label
from bids_qcm.bids.readers import read_rows
from bids_qcm.segmentation.tissues import OTHER, TISSUES, Label

# Folder of the built-in label tables.
_BUILT_IN = files("bids_qcm.data")


_COLUMNS = "add the columns index and name, separated by tabs"


@cache
def known_table(name: str) -> dict[int, Label]:
    """Return a built-in label table by its name, such as ``freesurfer_labels``."""
    rows = _built_in_rows(name)
    return {index: Label(row["name"], row["tissue"]) for index, row in rows.items()}


def read_table(path: Path) -> dict[int, Label]:
    """Read a label table.

    Parameters
    ----------
    path : Path
        TSV file with the columns ``index`` and ``name``. The tissue of a label is taken from the
        first of these columns that identifies a tissue:

        1. ``tissue`` (CSF, GM, WM, SGM or other),
        2. ``mapping``, the index of a common BIDS label,
        3. ``abbreviation``, the abbreviation of a common BIDS label,
        4. ``name``, the name or abbreviation of a BIDS label, or the name of a FreeSurfer label.

        A label without an identified tissue is assigned the tissue ``other``.

    Returns
    -------
    dict of int to Label
        Labels by index, without index 0.

    Raises
    ------
    InputError
        If the table cannot be read, lacks a column, repeats an index, or has an unknown tissue.
    """
    try:
        rows = _read_rows(path)
        return {index: Label(row["name"], _tissue(row)) for index, row in rows.items()}
    except ValueError as error:
        raise InputError(path, f"is not a valid label table ({error})", _COLUMNS) from error


def write_names(path: Path, names: dict[int, str]) -> None:
    """Write a BIDS label table from the label names, keyed by index."""
    table = pd.DataFrame({"index": list(names), "name": list(names.values())})
    with atomic_write(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False)


def read_names(path: Path) -> dict[int, str]:
    """Return the label names, keyed by index, from a table written by :func:`write_names`.

    Raises
    ------
    InputError
        If the table cannot be read.
    """
    try:
        return {index: row["name"] for index, row in _read_rows(path).items()}
    except ValueError as error:
        raise InputError(path, f"is not a valid label table ({error})", _COLUMNS) from error


def tissue_of_abbreviation(abbreviation: str) -> str | None:
    """Return the tissue of a BIDS label abbreviation; None if the abbreviation is unknown."""
    return _tissues_by("abbreviation").get(_plain(abbreviation))


def _read_rows(path: Path) -> dict[int, dict[str, str]]:
    """Return the rows of a label table, keyed by index, without index 0."""
    found: dict[int, dict[str, str]] = {}
    for row in read_rows(path, ("index", "name"), _COLUMNS):
        index = int(row["index"])
        if index in found:
            raise ValueError(f"index {index} occurs twice")
        found[index] = row | {"name": plain_label(row["name"])}
    found.pop(0, None)
    return found


def _tissue(row: dict[str, str]) -> str:
    """Return the tissue of a table row by the rules in :func:`read_table`."""
    given = row.get("tissue", "")
    if given:
        known = {tissue.lower(): tissue for tissue in (*TISSUES, OTHER)}
        if given.lower() not in known:
            raise ValueError(f"tissue {given!r} is not one of {', '.join(known.values())}")
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
    """Return the tissues in all built-in tables, keyed by the normalised entries of a column."""
    found = {}
    for name in numberings():
        for row in _built_in_rows(name).values():
            if column in row:
                found[_plain(row[column])] = row["tissue"]
    return found


def _built_in_rows(name: str) -> dict[int, dict[str, str]]:
    with as_file(_BUILT_IN / f"{name}.tsv") as path:
        return _read_rows(path)


def _plain(name: str) -> str:
    """Return a name in lower case, without punctuation and with American spelling of gray."""
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("grey", "gray"))
