"""Entity filters of ``--bids-filter-file``."""

import re
from collections.abc import Mapping
from typing import Any

# Entity names of pybids, which filter files use, mapped to the short names in file names.
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

# A query as users write it (Query.NONE) or as Python prints the pybids enum (<Query.NONE: 1>).
_QUERY = re.compile(r"<?Query\.(NONE|ANY|REQUIRED|OPTIONAL)(: \d+>)?")


def check_filters(filters: Mapping[str, Any], what: str) -> None:
    """Check the keys and queries of a filter, because an invalid filter would match no file.

    Parameters
    ----------
    filters : mapping of str to any
    what : str
        Name of the filter in the message.

    Raises
    ------
    TypeError
        If `filters` is not a mapping, or if a label is a mapping or a nested list.
    ValueError
        If a key is neither the full nor the short name of an entity, or a value is an unknown
        query.
    """
    if not isinstance(filters, Mapping):
        raise TypeError(f"{what} must be a JSON object with entities as keys")
    unknown = set(filters) - {*_SHORT_NAMES, *_SHORT_NAMES.values()}
    if unknown:
        raise ValueError(f"{what}: unknown entity: {', '.join(sorted(unknown))}")
    for wanted in filters.values():
        for one in wanted if isinstance(wanted, list) else [wanted]:
            if isinstance(one, list | dict):
                raise TypeError(f"{what}: a label must be a string, a number or null")
            if str(one).lstrip("<").startswith("Query.") and not _QUERY.fullmatch(str(one)):
                raise ValueError(f"{what}: {one} is not one of {', '.join(_QUERIES)}")


def names(filters: Mapping[str, Any], entity: str) -> bool:
    """Whether a filter has a condition on an entity, whose short name is `entity`."""
    return any(_SHORT_NAMES.get(key, key) == entity for key in filters)


def passes(present: Mapping[str, str], filters: Mapping[str, Any]) -> bool:
    """Whether the entities of a file pass a filter.

    The rules are the same as in pybids and fMRIPrep. A list contains alternatives. Numbers are
    compared by value, so ``1`` equals ``01``. ``null`` and ``Query.NONE`` require the entity to be
    absent. ``*``, ``Query.ANY`` and ``Query.REQUIRED`` accept any label, but the entity must be
    present. ``Query.OPTIONAL`` accepts every file.

    Parameters
    ----------
    present : mapping of str to str
        Entities of the file by short name, including ``suffix``.
    filters : mapping
        Required labels or queries, keyed by the full or short name of the entity.

    Returns
    -------
    bool
    """
    return all(
        _matches(present.get(_SHORT_NAMES.get(key, key)), wanted) for key, wanted in filters.items()
    )


def _matches(present: str | None, wanted: str | int | list[Any] | None) -> bool:
    if isinstance(wanted, list):
        return any(_matches(present, one) for one in wanted)
    query = _query(wanted)
    if query is not None:
        return query == "OPTIONAL" or (present is None) == (query == "NONE")
    if present is None:
        return False
    if present.isdecimal() and str(wanted).isdecimal():
        return int(present) == int(str(wanted))
    return present == str(wanted)


def _query(wanted: str | int | None) -> str | None:
    """Return the name of a query, such as ``NONE``; None if `wanted` is a label."""
    if wanted is None:
        return "NONE"
    if wanted == "*":
        return "ANY"
    match = _QUERY.fullmatch(str(wanted))
    return match and match[1]
