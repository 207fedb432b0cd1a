"""Filters by entities, as ``--bids-filter-file`` has them."""

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
        If a key is no entity, by its full or its short name.
    """
    if not isinstance(filters, Mapping):
        raise TypeError(f"{what} must be an object of entities")
    unknown = set(filters) - {*_SHORT_NAMES, *_SHORT_NAMES.values()}
    if unknown:
        raise ValueError(f"{what}: {', '.join(sorted(unknown))} is no entity")


def passes(present: Mapping[str, str], filters: Mapping[str, Any]) -> bool:
    """Tell whether a file's entities, and its suffix among them, are what filters ask for.

    As in pybids a list holds alternatives, null asks for absence, and 1 is 01.
    """
    return all(
        _matches(present.get(_SHORT_NAMES.get(key, key)), wanted) for key, wanted in filters.items()
    )


def _matches(present: str | None, wanted: str | int | list | None) -> bool:
    if isinstance(wanted, list):
        return any(_matches(present, one) for one in wanted)
    if present is None or wanted is None:
        return present is wanted
    if present.isdecimal() and str(wanted).isdecimal():
        return int(present) == int(wanted)
    return present == str(wanted)
