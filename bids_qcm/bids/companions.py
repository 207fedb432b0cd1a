"""Anatomical derivatives of an acquisition, and the derivative datasets that hold them."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.files import require_content, visible
from bids_qcm.bids.label_tables import BIDS_LABELS
from bids_qcm.bids.names import numbered, parse_name

APP_NAME = "bids_qcm"

NATIVE = "T1w"
"""Space of images whose names have no ``space`` entity: the participant's own anatomy."""

# Labels of the participant's own space in the BIDS specification and in QSIPrep.
_NATIVE_SPACES = (NATIVE, "orig", "individual", "scanner", "anat")

SCANNER = "scanner"
"""Space of images in the coordinates of the phase, such as ``|B1+|`` maps of the same session."""

RAW = "raw"
"""Name of the raw dataset among the source datasets."""

Kind = Literal["labels", "probabilities", "mask", "t1w", "b1"]

# Files that identify the outputs of FreeSurfer, FastSurfer and SynthSeg, which have no
# dataset_description.json.
_UNDESCRIBED = ("sub-*/mri/*aseg*.mgz", "sub-*/ses-*/mri/*aseg*.mgz", "sub-*/**/*_synthseg.*")


def named_space(label: str) -> str:
    """Return the canonical label of a space: `NATIVE` for all labels of the participant's space."""
    return NATIVE if label in _NATIVE_SPACES else label


@dataclass(frozen=True)
class Companion:
    """A segmentation, mask, T1w image or ``|B1+|`` map that goes with an acquisition.

    Attributes
    ----------
    paths : tuple of Path
        One file, or the probability maps of several tissues.
    dataset : Path
        Folder of the dataset that contains the files.
    kind : {"labels", "probabilities", "mask", "t1w", "b1"}
        Content of the files. The kind ``t1w`` is an image that is not segmented yet.
    space : str
        Coordinate space of the files: `NATIVE` for the participant's own anatomy, `SCANNER` for
        the coordinates of the phase, or the label of a template.
    numbering : str
        Name of the built-in label table to use if the dataset has no label table.
    """

    paths: tuple[Path, ...]
    dataset: Path
    kind: Kind = "labels"
    space: str = NATIVE
    numbering: str = BIDS_LABELS

    @property
    def path(self) -> Path:
        """The first file."""
        return self.paths[0]

    @property
    def table(self) -> Path | None:
        """Label table of a segmentation by the BIDS inheritance principle; None without a table.

        The table is a TSV file with the segmentation's suffix and no entity that the segmentation
        lacks. The nearest folder counts, from the segmentation's own folder up to the dataset's.
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


def derivative_datasets(
    bids_dir: Path, given: Sequence[tuple[str, Path]], output_dir: Path
) -> dict[str, Path]:
    """Return the derivative datasets to search by name, the given datasets first.

    Parameters
    ----------
    bids_dir : Path
        Raw dataset. The datasets in its ``derivatives`` folder are added. They are recognised by
        their ``dataset_description.json``, or by a segmentation of FreeSurfer, FastSurfer or
        SynthSeg.
    given : sequence of (str, Path)
        Name and folder of each given dataset. An empty name stands for the folder's name.
    output_dir : Path
        Output folder, which is left out. Every other output of this app is left out too, because
        its segmentations are copies.

    Returns
    -------
    dict of str to Path
        Folders by name. The names are unique and valid in BIDS URIs.

    Raises
    ------
    InputError
        If a given folder is not a derivative dataset.
    """
    for _, path in given:
        _check_is_derivative(path)
    beside = sorted(path for path in visible(bids_dir, "derivatives/*") if _is_dataset(path))
    named: dict[str, Path] = {}
    for wanted, path in [*given, *(("", path) for path in beside)]:
        if path in named.values() or path == output_dir or is_ours(path):
            continue
        base = re.sub(r"[^0-9A-Za-z_-]", "", wanted or path.name) or "derivative"
        taken = {RAW, *named}
        named[next(name for name in numbered(base) if name not in taken)] = path
    return named


def segmentation_datasets(wanted: str, datasets: Mapping[str, Path]) -> list[Path]:
    """Return the datasets to search for a segmentation.

    Parameters
    ----------
    wanted : str
        ``auto`` for all datasets, ``t1w`` or ``none`` for no dataset, or the name of a dataset.
    datasets : mapping of str to Path
        Datasets from :func:`derivative_datasets`.

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        If there is no dataset of that name.
    """
    return _choose("--segmentation", wanted, ("auto",), ("t1w", "none"), datasets)


def mask_datasets(wanted: str, datasets: Mapping[str, Path]) -> list[Path]:
    """Return the datasets to search for a brain mask.

    Parameters
    ----------
    wanted : str
        ``auto`` or ``brain`` for all datasets, ``signal`` for no dataset, or the name of a dataset.
    datasets : mapping of str to Path
        Datasets from :func:`derivative_datasets`.

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        If there is no dataset of that name.
    """
    return _choose("--mask", wanted, ("auto", "brain"), ("signal",), datasets)


def b1_datasets(wanted: str, bids_dir: Path, datasets: Mapping[str, Path]) -> list[Path]:
    """Return the datasets to search for a measured ``|B1+|`` map.

    Parameters
    ----------
    wanted : str
        ``auto`` for the raw dataset and all derivative datasets, ``model`` or ``none`` for no
        dataset, or the name of a dataset. The name of the raw dataset is `RAW`.
    bids_dir : Path
        Raw dataset.
    datasets : mapping of str to Path
        Datasets from :func:`derivative_datasets`.

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        If there is no dataset of that name.
    """
    return _choose("--b1", wanted, ("auto",), ("model", "none"), {RAW: bids_dir, **datasets})


def _choose(
    option: str,
    wanted: str,
    of_any: Sequence[str],
    of_none: Sequence[str],
    datasets: Mapping[str, Path],
) -> list[Path]:
    if wanted in of_any:
        return list(datasets.values())
    if wanted in of_none:
        return []
    if wanted not in datasets:
        raise InputError(
            f"{option} {wanted}",
            "is not the name of a dataset",
            f"choose from {', '.join([*of_any, *of_none, *datasets])}",
        )
    return [datasets[wanted]]


def _is_dataset(path: Path) -> bool:
    return (path / "dataset_description.json").exists() or any(
        next(visible(path, pattern), None) for pattern in _UNDESCRIBED
    )


def _check_is_derivative(path: Path) -> None:
    remedy = "give the folder of a derivative dataset"
    if not (path / "dataset_description.json").exists() and _is_dataset(path):
        return
    require_content(path / "dataset_description.json")
    try:
        description = json.loads((path / "dataset_description.json").read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        inside = sorted(found.parent.name for found in visible(path, "*/dataset_description.json"))
        if inside:
            remedy = f"give a folder inside it: {', '.join(inside)}"
        raise InputError(path, "has no readable dataset_description.json", remedy) from error
    if isinstance(description, dict) and description.get("DatasetType") == "raw":
        raise InputError(path, "is a raw dataset", remedy)


def is_ours(dataset: Path) -> bool:
    """Whether a derivative dataset was written by this app."""
    try:
        description = json.loads((dataset / "dataset_description.json").read_text("utf-8-sig"))
        generators = description["GeneratedBy"]
        return any(generator.get("Name") == APP_NAME for generator in generators)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
