"""Auxiliary images of an acquisition: segmentation, mask, T1w image and ``|B1+|`` map."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from bids_qcm.bids.anatomy.sources import BIDS_LABELS
from bids_qcm.bids.files import visible
from bids_qcm.bids.images import read_grid
from bids_qcm.bids.names import parse_name
from bids_qcm.grids import Grid

NATIVE = "T1w"
"""Space of images whose names have no ``space`` entity: the participant's own anatomy."""

# Labels of the participant's own space in the BIDS specification and in QSIPrep.
_NATIVE_SPACES = (NATIVE, "orig", "individual", "scanner", "anat")

SCANNER = "scanner"
"""Space of images in the coordinates of the phase, such as ``|B1+|`` maps of the same session."""

Kind = Literal["labels", "probabilities", "mask", "lesions", "t1w", "b1"]


def named_space(label: str) -> str:
    """Return the canonical label of a space: `NATIVE` for all labels of the participant's space."""
    return NATIVE if label in _NATIVE_SPACES else label


@dataclass(frozen=True)
class AuxiliaryImage:
    """An auxiliary image of an acquisition: segmentation, mask, T1w image or ``|B1+|`` map.

    Attributes
    ----------
    paths : tuple of Path
        One file, the probability maps of several tissues, or the masks of several lesions.
    dataset : Path
        Folder of the dataset that contains the files.
    kind : {"labels", "probabilities", "mask", "lesions", "t1w", "b1"}
        Content of the files. The kind ``t1w`` is a T1w image that must be segmented first.
    space : str
        Coordinate space of the files: `NATIVE` for the participant's own anatomy, `SCANNER` for
        the coordinates of the phase, or the label of a template.
    numbering : str
        Name of the built-in label table to use if the dataset has no label table.
    regions : str
        Name of the segmentation in region tables; empty if the labels are tissues.
    """

    paths: tuple[Path, ...]
    dataset: Path
    kind: Kind = "labels"
    space: str = NATIVE
    numbering: str = BIDS_LABELS
    regions: str = ""

    @property
    def path(self) -> Path:
        """The first file."""
        return self.paths[0]

    @cached_property
    def grid(self) -> Grid:
        """Grid of the first file. The header is read once, when the grid is first needed."""
        return read_grid(self.path)

    @property
    def table(self) -> Path | None:
        """Label table that applies by the BIDS inheritance principle; None without a table.

        The table is a TSV file with the suffix of the segmentation. All entities of the table occur
        in the name of the segmentation. The search starts in the folder of the segmentation and
        ends in the folder of the dataset; the first table is used.
        """
        own, suffix = parse_name(self.path.name)
        folders = [self.path.parent, *self.path.parent.parents]
        for folder in folders[: folders.index(self.dataset) + 1]:
            fitting = [
                table
                for table in visible(folder, f"*{suffix}.tsv")
                if parse_name(table.name)[1] == suffix
                and parse_name(table.name)[0].items() <= own.items()
            ]
            if fitting:
                return max(fitting, key=lambda table: len(table.name))
        return None
