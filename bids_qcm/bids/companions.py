"""Segmentations and masks that other derivative datasets hold for an acquisition."""

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
"""The space of images whose names have no ``space`` entity: BIDS' participant-specific one."""

# BIDS' names of a participant's own space, and QSIPrep's
_NATIVE_SPACES = (NATIVE, "orig", "individual", "scanner", "anat")

SCANNER = "scanner"
"""The space of images in the coordinates of the phase, such as |B1+| maps of its session."""

RAW = "raw"
"""Name of the raw dataset among the source datasets."""

Kind = Literal["labels", "probabilities", "mask", "t1w", "b1"]

# what FreeSurfer, FastSurfer and SynthSeg leave without a dataset_description.json
_UNDESCRIBED = ("sub-*/mri/*aseg*.mgz", "sub-*/ses-*/mri/*aseg*.mgz", "sub-*/**/*_synthseg.*")


def named_space(label: str) -> str:
    """Return a space by one name: `NATIVE` for all names of the participant's own."""
    return NATIVE if label in _NATIVE_SPACES else label


@dataclass(frozen=True)
class Companion:
    """A segmentation, a mask or a |B1+| map from another dataset.

    Attributes
    ----------
    paths : tuple of Path
        One file, or the probability maps of several tissues.
    dataset : Path
        The dataset's folder.
    kind : {"labels", "probabilities", "mask", "t1w", "b1"}
        What the files hold; ``t1w`` is an image that is yet to be segmented.
    space : str
        What the file's coordinates are those of; `NATIVE` for the participant's own anatomy,
        `SCANNER` for the phase's.
    numbering : str
        The known label table that holds where the dataset has none of its own.
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
        """The label table of a segmentation, by BIDS' inheritance: the nearest that applies.

        That is the TSV file of the same name beside it, else one in a folder above, within the
        dataset, whose entities the segmentation has too.
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
    """Name the derivative datasets to search, those given first.

    Parameters
    ----------
    bids_dir : Path
        Datasets in its ``derivatives`` folder are found by their ``dataset_description.json``, or
        by the segmentations of FreeSurfer, FastSurfer or SynthSeg in them.
    given : sequence of (str, Path)
        Name and folder; an empty name stands for the folder's.
    output_dir : Path
        Left out, as is every other output of this app: its segmentations are copies.

    Returns
    -------
    dict of str to Path
        Names are fit for BIDS URIs.

    Raises
    ------
    InputError
        If a given folder is no derivative dataset.
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
    """Choose the datasets that may give a segmentation.

    Parameters
    ----------
    wanted : str
        ``auto`` for all, ``t1w`` and ``none`` for none, or a dataset's name.
    datasets : mapping of str to Path
        From :func:`derivative_datasets`.

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
    """Choose the datasets that may give a brain mask.

    Parameters
    ----------
    wanted : str
        ``auto`` and ``brain`` for all, ``signal`` for none, or a dataset's name.
    datasets : mapping of str to Path
        From :func:`derivative_datasets`.

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
    """Choose the datasets that may give a measured |B1+| map.

    Parameters
    ----------
    wanted : str
        ``auto`` for the raw dataset and all others, ``model`` and ``none`` for no dataset, or a
        dataset's name, `RAW` for the raw one.
    bids_dir : Path
        The raw dataset.
    datasets : mapping of str to Path
        From :func:`derivative_datasets`.

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
    """Tell whether a derivative dataset was written by this app."""
    try:
        description = json.loads((dataset / "dataset_description.json").read_text("utf-8-sig"))
        generators = description["GeneratedBy"]
        return any(generator.get("Name") == APP_NAME for generator in generators)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
