"""Filters by entities, as ``--bids-filter-file`` has them."""

import re
from collections.abc import Mapping
from typing import Any

# pybids' names of entities, which filter files use, and those of file names
_SHORT_NAMES = {
    "subject": "sub",
    "session": "ses",
    "sample": "sample",
    "acquisition": "acq",
    "ceagent": "ce",
    "reconstruction": "rec",
    "direction": "dir",
    "run": "run",
    "inversion": "inv",
    "space": "space",
    "segmentation": "seg",
    "resolution": "res",
    "label": "label",
    "description": "desc",
    "suffix": "suffix",
    "datatype": "datatype",
    "part": "part",
    "echo": "echo",
    "flip": "flip",
    "mt": "mt",
    "modality": "mod",
    "proc": "proc",
    "hemi": "hemi",
    "chunk": "chunk",
    "tracer": "trc",
    "staining": "stain",
    "density": "den",
    "from": "from",
    "to": "to",
    "mode": "mode",
}

_QUERIES = ("Query.NONE", "Query.ANY", "Query.REQUIRED", "Query.OPTIONAL")

# as users write them, or as Python prints pybids' own
_QUERY = re.compile(r"<?Query\.(NONE|ANY|REQUIRED|OPTIONAL)(: \d+>)?")


def check_filters(filters: Mapping[str, Any], what: str) -> None:
    """Check the keys of filters, of which one that is no entity would never let anything pass.

    Parameters
    ----------
    filters : mapping of str to any
    what : str
        What they select.

    Raises
    ------
    TypeError
        If it is no mapping.
    ValueError
        If a key is no entity, by its full or its short name, or a value is an unknown query.
    """
    if not isinstance(filters, Mapping):
        raise TypeError(f"{what} must be an object of entities")
    unknown = set(filters) - {*_SHORT_NAMES, *_SHORT_NAMES.values()}
    if unknown:
        raise ValueError(f"{what}: {', '.join(sorted(unknown))} is no entity")
    for wanted in filters.values():
        for one in wanted if isinstance(wanted, list) else [wanted]:
            if str(one).lstrip("<").startswith("Query.") and not _QUERY.fullmatch(str(one)):
                raise ValueError(f"{what}: {one} is none of {', '.join(_QUERIES)}")


def names(filters: Mapping[str, Any], entity: str) -> bool:
    """Whether filters ask for an entity, by its full or its short name."""
    return any(_SHORT_NAMES.get(key, key) == entity for key in filters)


def passes(present: Mapping[str, str], filters: Mapping[str, Any]) -> bool:
    """Tell whether a file's entities, and its suffix among them, are what filters ask for.

    As in pybids and fMRIPrep a list holds alternatives, 1 is 01, null and ``Query.NONE`` ask for
    absence, ``*``, ``Query.ANY`` and ``Query.REQUIRED`` for any label, and ``Query.OPTIONAL`` for
    nothing.
    """
    return all(
        _matches(present.get(_SHORT_NAMES.get(key, key)), wanted) for key, wanted in filters.items()
    )


def _matches(present: str | None, wanted: str | int | list | None) -> bool:
    if isinstance(wanted, list):
        return any(_matches(present, one) for one in wanted)
    query = _query(wanted)
    if query is not None:
        return query == "OPTIONAL" or (present is None) == (query == "NONE")
    if present is None:
        return False
    if present.isdecimal() and str(wanted).isdecimal():
        return int(present) == int(wanted)
    return present == str(wanted)


def _query(wanted: str | int | None) -> str | None:
    """Return the name of a query, None for a label."""
    if wanted is None:
        return "NONE"
    if wanted == "*":
        return "ANY"
    match = _QUERY.fullmatch(str(wanted))
    return match and match[1]
