"""Segmentations and masks that other derivative datasets hold for an acquisition."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import Grid, read_grid
from bids_qcm.bids.names import IMAGE_EXTENSIONS, numbered, parse_name, stem

APP_NAME = "bids_qcm"


@dataclass(frozen=True)
class Companion:
    """A file from a derivative dataset.

    Attributes
    ----------
    path : Path
    dataset : Path
        The derivative dataset's folder.
    """

    path: Path
    dataset: Path

    @property
    def table(self) -> Path | None:
        """The label table of a segmentation: the TSV file of the same name, if there."""
        table = self.path.with_name(f"{stem(self.path)}.tsv")
        return table if table.exists() or table.is_symlink() else None


def derivative_datasets(
    bids_dir: Path, given: Sequence[tuple[str, Path]], output_dir: Path
) -> dict[str, Path]:
    """Name the derivative datasets to search, those given first.

    Parameters
    ----------
    bids_dir : Path
        Datasets in its ``derivatives`` folder are found by their ``dataset_description.json``.
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
    beside = sorted(path.parent for path in bids_dir.glob("derivatives/*/dataset_description.json"))
    named: dict[str, Path] = {}
    for wanted, path in [*given, *(("", path) for path in beside)]:
        if path in named.values() or path == output_dir or is_ours(path):
            continue
        base = re.sub(r"[^0-9A-Za-z_-]", "", wanted or path.name) or "derivative"
        taken = {"raw", *named}
        named[next(name for name in numbered(base) if name not in taken)] = path
    return named


def find_companion(
    acquisition: Acquisition, grid: Grid, datasets: Iterable[Path], ending: str, what: str
) -> Companion | None:
    """Find an acquisition's segmentation or mask in the grid of its phase.

    Files of the same session go before those without a session, and where several fit, those whose
    entities agree with the acquisition's before those of another run.

    Parameters
    ----------
    acquisition : Acquisition
    grid : Grid
        The phase's.
    datasets : iterable of Path
        From :func:`derivative_datasets`; the first that has one wins.
    ending : str
        Of the file's name, without extension, such as ``_dseg``.
    what : str
        For messages.

    Returns
    -------
    Companion or None

    Raises
    ------
    InputError
        If there are several in one place, or only such that lie in another grid.
    """
    folders = [Path(f"sub-{acquisition.subject}", "anat")]
    if acquisition.session is not None:
        folders.insert(0, Path(f"sub-{acquisition.subject}", f"ses-{acquisition.session}", "anat"))
    elsewhere = []
    for dataset in datasets:
        for folder in folders:
            candidates = [
                path
                for extension in IMAGE_EXTENSIONS
                for path in sorted((dataset / folder).glob(f"*{ending}{extension}"))
            ]
            fitting = [path for path in candidates if read_grid(path).matches(grid)]
            if len(fitting) > 1:
                fitting = [path for path in fitting if _agrees(path, acquisition)] or fitting
            if len(fitting) > 1:
                raise InputError(
                    fitting[0],
                    f"is one of several candidates for the {what}: "
                    + ", ".join(path.name for path in fitting),
                    "leave one, or name a dataset that has one with --derivatives",
                )
            if fitting:
                return Companion(fitting[0], dataset)
            elsewhere += candidates
    if elsewhere:
        raise InputError(
            elsewhere[0],
            f"is a {what}, but not in the grid of the phase",
            "resample it to the phase's grid (shape and affine)",
        )
    return None


def _agrees(path: Path, acquisition: Acquisition) -> bool:
    """Tell whether a file and an acquisition have no entity with different labels."""
    own = acquisition.entities
    return all(own.get(key, label) == label for key, label in parse_name(path.name)[0].items())


def _check_is_derivative(path: Path) -> None:
    remedy = "give the folder of a derivative dataset"
    try:
        description = json.loads((path / "dataset_description.json").read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        inside = sorted(found.parent.name for found in path.glob("*/dataset_description.json"))
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
