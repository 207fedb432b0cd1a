"""Read text, JSON, TSV and YAML files, and raise InputError with the name of a bad file."""

import csv
import json
from collections.abc import Callable, Iterable
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.files import require_content

# Python objects need up to 25 times the memory of the JSON text from which they are parsed.
_MOST_BYTES = 16 << 20

_MOST_ROWS = 100_000

# With deeper nesting, recursive functions such as repr would exceed Python's recursion limit.
_MOST_LEVELS = 100


def read_text(path: Path, remedy: str = "correct the file") -> str:
    """Read a UTF-8 text file, with or without a byte order mark.

    Parameters
    ----------
    path : Path
    remedy : str
        Remedy in the error message.

    Raises
    ------
    InputError
        If the file is missing, is not a regular file, cannot be read, is larger than 16 MiB, or is
        not UTF-8.
    """
    require_content(path)
    try:
        with path.open("rb") as file:
            # The file size reported by the file system may be wrong, so the number of bytes read is
            # limited.
            content = file.read(_MOST_BYTES + 1)
        # Text that is cut at the limit may end in the middle of a character.
        text = None if len(content) > _MOST_BYTES else content.decode("utf-8-sig")
    except Exception as error:
        raise InputError(path, f"cannot be read as text ({error})", remedy) from error
    if text is None:
        raise InputError(
            path,
            f"is larger than {_MOST_BYTES >> 20} MiB, which is the limit for text files",
            remedy,
        )
    return text


def read_json_object(path: Path, remedy: str = "correct the file") -> dict[str, Any]:
    """Read a JSON file whose content is an object.

    Parameters
    ----------
    path : Path
    remedy : str
        Remedy in the error message.

    Raises
    ------
    InputError
        If the file cannot be read, is not valid JSON, is not an object, or is nested in more than
        100 levels.
    """
    return _read_mapping(
        path,
        json.loads,
        remedy,
        unreadable="cannot be read as JSON",
        no_mapping="is not a JSON object",
    )


def read_yaml_mapping(path: Path, remedy: str = "correct the file") -> dict[Any, Any]:
    """Read a YAML file whose content is a mapping; see :func:`read_json_object`."""
    import yaml

    return _read_mapping(
        path,
        yaml.safe_load,
        remedy,
        unreadable="cannot be read as YAML",
        no_mapping="is not a YAML mapping",
    )


def _read_mapping(
    path: Path, parse: Callable[[str], Any], remedy: str, *, unreadable: str, no_mapping: str
) -> dict[Any, Any]:
    """Read a text file whose content is a mapping; two arguments are error messages."""
    text = read_text(path, remedy)
    try:
        content = parse(text)
    except RecursionError as error:
        # The nesting depth at which a parser fails depends on the version of Python.
        raise _too_many_levels(path, remedy) from error
    except Exception as error:
        raise InputError(path, f"{unreadable} ({error})", remedy) from error
    _check_levels(path, content, remedy)
    if not isinstance(content, dict):
        raise InputError(path, no_mapping, remedy)
    return content


def read_rows(
    path: Path, columns: Iterable[str], remedy: str = "correct the table"
) -> list[dict[str, str]]:
    """Read the rows of a TSV file.

    Parameters
    ----------
    path : Path
    columns : iterable of str
        Columns that the table must have.
    remedy : str
        Remedy in the error message.

    Returns
    -------
    list of dict
        Cells of each row, keyed by column. Missing cells at the end of a short row are empty.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, has a row with too many cells, or has more than
        100,000 rows.
    """
    # csv is faster than pandas for a small table, and a group has thousands of tables.
    lines = StringIO(read_text(path, remedy), newline="")
    try:
        reader = csv.DictReader(lines, delimiter="\t", restval="")
        rows = list(islice(reader, _MOST_ROWS + 1))
        header = reader.fieldnames or ()
    except Exception as error:
        raise InputError(path, f"cannot be read as TSV ({error})", remedy) from error
    missing = [column for column in columns if column not in header]
    if missing:
        raise InputError(path, f"lacks the column {', '.join(missing)}", remedy)
    if len(rows) > _MOST_ROWS:
        raise InputError(path, f"has more than {_MOST_ROWS:,} rows", remedy)
    for number, row in enumerate(rows, start=1):
        # csv.DictReader stores surplus cells under the key None.
        if None in row:
            raise InputError(path, f"has too many cells in row {number}", remedy)
    return rows


def _check_levels(path: Path, content: Any, remedy: str) -> None:  # noqa: ANN401
    """Check that lists and mappings are nested in at most 100 levels."""
    level = [content]
    for _ in range(_MOST_LEVELS):
        # In YAML, one list may occur in several places, so each object is visited once per level.
        distinct = {id(one): one for one in level if isinstance(one, dict | list)}.values()
        level = [
            inner for one in distinct for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return
    raise _too_many_levels(path, remedy)


def _too_many_levels(path: Path, remedy: str) -> InputError:
    """Return the error for a file with deeply nested content."""
    return InputError(path, f"is nested in more than {_MOST_LEVELS} levels", remedy)
