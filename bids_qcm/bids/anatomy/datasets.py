"""List the derivative datasets, and choose the datasets to search for each kind of image."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Self

from bids_qcm.bids.anatomy.sources import SOURCES
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.files import visible
from bids_qcm.bids.names import numbered
from bids_qcm.bids.readers import read_json_object
from bids_qcm.settings import Settings

APP_NAME = "bids_qcm"

RAW = "raw"
"""Name of the raw dataset among the source datasets."""


def derivative_datasets(
    bids_dir: Path, given: Sequence[tuple[str, Path]], output_dir: Path
) -> dict[str, Path]:
    """Return the derivative datasets to search, keyed by name; the user's datasets come first.

    Parameters
    ----------
    bids_dir : Path
        Raw dataset. The datasets in its ``derivatives`` folder are added. They are recognised by
        their ``dataset_description.json``, or by files of other software in the table of
        segmentation sources, such as FreeSurfer.
    given : sequence of (str, Path)
        Name and folder of each user-supplied dataset. An empty name stands for the folder name.
    output_dir : Path
        Output folder, which is excluded. All other outputs of this app are excluded too, because
        their segmentations are copies.

    Returns
    -------
    dict of str to Path
        Folders by name. The names are unique and valid in BIDS URIs.

    Raises
    ------
    InputError
        If a user-supplied folder is not a derivative dataset.
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


@dataclass(frozen=True)
class SearchedDatasets:
    """Datasets to search for each kind of image, in the order of the search.

    Attributes
    ----------
    derivatives : tuple of Path
        All derivative datasets.
    segmentation, mask, b1, lesions : tuple of Path
        Datasets to search for a segmentation, a brain mask, a measured ``|B1+|`` map, and lesion
        masks.
    """

    derivatives: tuple[Path, ...]
    segmentation: tuple[Path, ...]
    mask: tuple[Path, ...]
    b1: tuple[Path, ...]
    lesions: tuple[Path, ...]

    @classmethod
    def of(cls, settings: Settings, derivatives: Mapping[str, Path]) -> Self:
        """Choose the datasets that the settings name.

        Parameters
        ----------
        settings : Settings
        derivatives : mapping of str to Path
            Datasets from :func:`derivative_datasets`.

        Raises
        ------
        InputError
            If the settings name a dataset that does not exist.
        """
        raw = {RAW: settings.bids_dir}
        every = dict(derivatives)
        return cls(
            derivatives=tuple(every.values()),
            segmentation=_choose(
                "--segmentation", settings.segmentation, ("auto",), ("t1w", "none"), every
            ),
            mask=_choose("--mask", settings.mask, ("auto", "brain"), ("signal",), every),
            b1=_choose("--b1", settings.b1, ("auto",), ("model", "none"), raw | every),
            lesions=_choose("--lesions", settings.lesions, ("auto",), ("none",), every | raw),
        )


def _choose(
    option: str,
    wanted: str,
    of_any: Sequence[str],
    of_none: Sequence[str],
    datasets: Mapping[str, Path],
) -> tuple[Path, ...]:
    """Return the datasets that the value of an option names.

    Values in `of_any` stand for all datasets, and values in `of_none` for no dataset.
    """
    if wanted in of_any:
        return tuple(datasets.values())
    if wanted in of_none:
        return ()
    if wanted not in datasets:
        raise InputError(
            f"{option} {wanted}",
            "is not the name of a dataset",
            f"choose from {', '.join([*of_any, *of_none, *datasets])}",
        )
    return (datasets[wanted],)


def _is_dataset(path: Path) -> bool:
    patterns = dict.fromkeys(chain.from_iterable(source.undescribed for source in SOURCES))
    return (path / "dataset_description.json").exists() or any(
        next(visible(path, pattern), None) for pattern in patterns
    )


def _check_is_derivative(path: Path) -> None:
    remedy = "pass the folder of a derivative dataset"
    description = path / "dataset_description.json"
    if not description.exists() and not description.is_symlink():
        if _is_dataset(path):
            return
        inside = sorted(found.parent.name for found in visible(path, "*/dataset_description.json"))
        if inside:
            remedy = f"pass one of the datasets in this folder: {', '.join(inside)}"
        raise InputError(path, "has no dataset_description.json", remedy)
    if read_json_object(description).get("DatasetType") == "raw":
        raise InputError(path, "is a raw dataset", remedy)


def is_ours(dataset: Path) -> bool:
    """Whether a derivative dataset was written by this app."""
    try:
        generators = read_json_object(dataset / "dataset_description.json").get("GeneratedBy")
    except InputError:
        return False
    return isinstance(generators, list) and any(
        isinstance(generator, dict) and generator.get("Name") == APP_NAME
        for generator in generators
    )
