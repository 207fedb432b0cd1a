"""List the derivative datasets, and choose the datasets to search for each kind of image."""

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from bids_qcm.bids.anatomy.sources import SOURCES
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.files import visible
from bids_qcm.bids.names import numbered
from bids_qcm.bids.readers import read_json_object

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
        If there is no dataset with that name.
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
        If there is no dataset with that name.
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
        If there is no dataset with that name.
    """
    return _choose("--b1", wanted, ("auto",), ("model", "none"), {RAW: bids_dir, **datasets})


def lesion_datasets(wanted: str, bids_dir: Path, datasets: Mapping[str, Path]) -> list[Path]:
    """Return the datasets to search for lesion masks.

    Parameters
    ----------
    wanted : str
        ``auto`` for all derivative datasets and then the raw dataset, ``none`` for no dataset, or
        the name of a dataset. The name of the raw dataset is `RAW`.
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
        If there is no dataset with that name.
    """
    return _choose("--lesions", wanted, ("auto",), ("none",), {**datasets, RAW: bids_dir})


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
