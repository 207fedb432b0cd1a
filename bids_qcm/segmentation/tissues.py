"""Tissues, and the conversion of segmentation labels to tissues."""

from collections.abc import Mapping
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Tissue(NamedTuple):
    """A tissue into which labels are merged.

    Attributes
    ----------
    number : int
        Number of the tissue in the BIDS table of common image-derived labels.
    name : str
        Name of the tissue in the same table.
    """

    number: int
    name: str


TISSUES = {
    "GM": Tissue(1, "Gray Matter"),
    "WM": Tissue(2, "White Matter"),
    "CSF": Tissue(3, "Cerebrospinal Fluid"),
    "SGM": Tissue(9, "Subcortical Gray Matter"),
}
"""Tissues by abbreviation. SGM is deep gray matter."""

OTHER = "other"
"""Tissue of the labels that do not belong to any of `TISSUES`. These labels are not merged."""

FIRST_NEW_LABEL = 100
"""Smallest new number for a label whose number is already used by a tissue."""


class Label(NamedTuple):
    """Meaning of a label in a segmentation.

    Attributes
    ----------
    name : str
        Name of the structure.
    tissue : str
        A key of `TISSUES`, or `OTHER`.
    """

    name: str
    tissue: str


def to_tissues(
    labels: NDArray[np.integer], table: Mapping[int, Label]
) -> tuple[NDArray[np.int32], dict[int, str]]:
    """Merge the labels of a segmentation into tissues.

    Parameters
    ----------
    labels : ndarray of int, any shape
        0 is background.
    table : mapping of int to Label
        Label table. Labels of the tissue ``other`` keep their number, unless a tissue has the same
        number.

    Returns
    -------
    tissues : ndarray of int32, shape of `labels`
        Tissue numbers; 0 is background.
    names : dict of int to str
        Names of the tissues that are present, without 0.

    Raises
    ------
    ValueError
        If all labels are 0, or if a label is not in the table.
    """
    present = np.unique(labels)
    unknown = [label for label in present.tolist() if label != 0 and label not in table]
    if unknown:
        raise ValueError(f"has labels that are not in the label table: {_listed(unknown)}")
    if not present.any():
        raise ValueError("is empty: all labels are 0")
    own = {tissue.number for tissue in TISSUES.values()}
    free = (n for n in count(FIRST_NEW_LABEL) if n not in table)
    names = {0: ""}
    merged = np.zeros(len(present), np.int32)
    for position, label in enumerate(present.tolist()):
        if label == 0:
            continue
        name, tissue = table[label]
        if tissue != OTHER:
            number, name = TISSUES[tissue]
        else:
            number = next(free) if label in own else label
        merged[position], names[number] = number, name
    del names[0]
    return merged[np.searchsorted(present, labels)], dict(sorted(names.items()))


def _listed(numbers: list[int], most: int = 20) -> str:
    shown = ", ".join(map(str, numbers[:most]))
    return shown + (f" and {len(numbers) - most} more" if len(numbers) > most else "")
