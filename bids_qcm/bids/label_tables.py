"""Label tables: which tissue a label of a segmentation stands for."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_qcm.bids.errors import InputError, require_content
from bids_qcm.bids.images import whole_file


def read_names(table: Path | None, labels: NDArray[np.int32]) -> dict[int, str]:
    """Name the labels of a segmentation.

    Parameters
    ----------
    table : Path or None
        BIDS label table: TSV with the columns ``index`` and ``name``.
    labels : ndarray of int32, shape (X, Y, Z)

    Returns
    -------
    dict of int to str
        For each label that is present, except 0; a label that the table lacks is called
        ``label-<number>``.

    Raises
    ------
    InputError
        If the table cannot be read or lacks a column.
    """
    present = [int(label) for label in np.unique(labels) if label != 0]
    known: dict[int, str] = {}
    if table is not None:
        require_content(table)
        try:
            # a tissue may be called NA
            rows = pd.read_csv(table, sep="\t", keep_default_na=False)
            known = dict(zip(rows["index"].astype(int), rows["name"].astype(str), strict=True))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                table, f"is no label table ({error!r})", "give it the columns index and name"
            ) from error
    return {label: known.get(label, f"label-{label}") for label in present}


def write_names(path: Path, names: dict[int, str]) -> None:
    """Write a BIDS label table."""
    table = pd.DataFrame({"index": list(names), "name": list(names.values())})
    with whole_file(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False)
