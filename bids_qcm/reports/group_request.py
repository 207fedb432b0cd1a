"""Inputs and comparisons of the group level."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class GroupRequest:
    """Inputs and comparisons of the group level.

    Attributes
    ----------
    output_dir : Path
        Derivative dataset.
    participants : tuple of str
        Labels with ``sub-``, such as ``sub-01``.
    bids_dir : Path
        BIDS dataset with ``participants.tsv`` and ``sessions.tsv``, which need not exist.
    group_by : str or None
        Column of these tables whose groups are compared.
    covariates : tuple of str
        Columns of these tables whose effects are estimated.
    differences : bool
        Whether the differences between repeated scans are written.
    """

    output_dir: Path
    participants: tuple[str, ...]
    bids_dir: Path
    group_by: str | None = None
    covariates: tuple[str, ...] = ()
    differences: bool = False
