"""Parse and build BIDS file names."""

import re
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import PurePath
from typing import TypeVar

IMAGE_EXTENSIONS = (".nii.gz", ".nii")

_LONGEST_LABEL = 80

_Path = TypeVar("_Path", bound=PurePath)


def parse_name(name: str) -> tuple[dict[str, str], str]:
    """Split a file name into its entities and suffix.

    Returns
    -------
    entities : dict of str to str
        Labels by entity, in the order of the file name.
    suffix : str

    Examples
    --------
    >>> parse_name("sub-01_echo-1_part-mag_MEGRE.nii.gz")
    ({'sub': '01', 'echo': '1', 'part': 'mag'}, 'MEGRE')
    """
    *pairs, suffix = name.split(".", 1)[0].split("_")
    entities = {}
    for pair in pairs:
        key, _, value = pair.partition("-")
        entities[key] = value
    return entities, suffix


def join_name(entities: Mapping[str, str], suffix: str = "") -> str:
    """Join entities and a suffix into a file name without extension.

    Examples
    --------
    >>> join_name({"sub": "01", "desc": "integral"}, "condmap")
    'sub-01_desc-integral_condmap'
    """
    return "_".join(
        [*(f"{key}-{value}" for key, value in entities.items()), *filter(None, [suffix])]
    )


def numbered(base: str) -> Iterator[str]:
    """Yield `base`, ``base2``, ``base3``, and so on, as candidates for a unique name."""
    yield base
    yield from (f"{base}{number}" for number in count(2))


def stem(path: PurePath) -> str:
    """Return the file name up to the first dot."""
    return path.name.split(".", 1)[0]


def natural_key(name: str) -> list[str | int]:
    """Return a key that sorts the numbers in names by value.

    Examples
    --------
    >>> sorted(["ses-10", "ses-2", "ses-pre"], key=natural_key)
    ['ses-2', 'ses-10', 'ses-pre']
    """
    parts: list[str | int] = list(re.split(r"(\d+)", name))
    parts[1::2] = map(int, parts[1::2])
    return parts


def sidecar_path(image: _Path) -> _Path:
    """Return the path of the JSON sidecar in the folder of an image.

    Examples
    --------
    >>> str(sidecar_path(PurePath("anat/sub-01_T1w.nii.gz")))
    'anat/sub-01_T1w.json'
    """
    return image.with_name(f"{stem(image)}.json")


def plain_label(name: str) -> str:
    r"""Return the name of a tissue or structure as one short line of printable characters.

    Names are read from files and written to tables, figures and pages. A name with control
    characters or thousands of letters would break these outputs.

    Examples
    --------
    >>> plain_label("Gray\x00 Matter\n")
    'Gray Matter'
    """
    printable = "".join(one if one.isprintable() else " " for one in name)
    line = " ".join(printable.split())
    return line if len(line) <= _LONGEST_LABEL else f"{line[: _LONGEST_LABEL - 3]}..."
