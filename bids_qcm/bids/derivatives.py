"""The derivative dataset: what its files are called and what stands in them."""

import filecmp
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from bids_qcm import __version__
from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.companions import APP_NAME, is_ours
from bids_qcm.bids.container import describe_container
from bids_qcm.bids.errors import OutputError
from bids_qcm.bids.images import whole_file
from bids_qcm.bids.names import join_name, stem

BIDS_VERSION = "1.10.0"

MAGNITUDE_ENTITIES = MappingProxyType({"part": "mag", "desc": "preproc"})
"""What the name of the magnitude that goes with phi0 has besides the acquisition's entities."""

B1_ORIGINS = ("measured", "model")
"""Labels of the ``desc`` entity of |B1+| maps."""

# BIDS has no suffix for conductivity, and wants an echo of every MEGRE. A pattern with a trailing
# slash would leave the folder.
_BIDSIGNORE = (
    "*_condmap.*",
    "*_condstd.*",
    "*_condstats.*",
    "*_phi0map.*",
    "*_TB1map.*",
    f"*_{join_name(MAGNITUDE_ENTITIES)}_*.*",
    "sub-*.html",
    "figures",
    "group_*",
    "logs",
)


def derivative_path(
    output_dir: Path, acquisition: Acquisition, suffix: str, extension: str, **entities: str
) -> Path:
    """Name a derivative.

    Parameters
    ----------
    output_dir : Path
    acquisition : Acquisition
    suffix, extension : str
        Such as ``condmap`` and ``.nii.gz``.
    **entities : str
        Further entities, in the order BIDS wants.

    Returns
    -------
    Path
    """
    name = join_name({**acquisition.output_entities, **entities}, suffix)
    folders = [f"sub-{acquisition.subject}"]
    if acquisition.session is not None:
        folders.append(f"ses-{acquisition.session}")
    return output_dir.joinpath(*folders, "anat", name + extension)


def b1_path(output_dir: Path, acquisition: Acquisition, origin: str) -> Path:
    """Name the |B1+| map of an acquisition, which BIDS wants in ``fmap``."""
    path = derivative_path(output_dir, acquisition, "TB1map", ".nii.gz", desc=origin)
    return path.parent.with_name("fmap") / path.name


def bids_uri(path: Path, datasets: Mapping[str, Path]) -> str:
    """Give a file's BIDS URI.

    Parameters
    ----------
    path : Path
    datasets : mapping of str to Path
        Dataset folders by the name that ``DatasetLinks`` gives them.

    Examples
    --------
    >>> bids_uri(Path("/d/sub-01/anat/x.nii"), {"raw": Path("/d")})
    'bids:raw:sub-01/anat/x.nii'
    """
    within = [name for name, root in datasets.items() if path.is_relative_to(root)]
    # a derivative dataset lies inside the raw one: the nearer root is meant
    name = max(within, key=lambda name: len(datasets[name].parts))
    return f"bids:{name}:{path.relative_to(datasets[name]).as_posix()}"


def write_dataset_files(output_dir: Path, datasets: Mapping[str, Path]) -> None:
    """Write what a derivative dataset needs besides its maps.

    Parameters
    ----------
    output_dir : Path
    datasets : mapping of str to Path
        Source datasets by the name that BIDS URIs give them.

    Raises
    ------
    OutputError
        If another dataset is there.
    """
    description_path = output_dir / "dataset_description.json"
    if description_path.exists() and not is_ours(output_dir):
        raise OutputError(
            output_dir, "holds another dataset", "give a new folder, or one of an earlier run"
        )
    links = {
        name: quote(Path(os.path.relpath(path, output_dir)).as_posix())
        for name, path in datasets.items()
    }
    description = {
        "Name": "Conductivity maps by bids_qcm",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": APP_NAME, "Version": __version__, **describe_container()}],
        "SourceDatasets": [{"URL": link} for link in links.values()],
        "DatasetLinks": links,
    }
    write_json(description_path, description)
    ignored = output_dir / ".bidsignore"
    theirs = ignored.read_text().splitlines() if ignored.exists() else []
    write_text(ignored, "\n".join(dict.fromkeys([*theirs, *_BIDSIGNORE, ""])))


def put_whole(
    source: Path,
    path: Path,
    sidecar: Mapping[str, Any] | None = None,
    outdated: Iterable[Path] = (),
) -> None:
    """Copy a file into the dataset, whole or not at all, with its sidecar.

    Parameters
    ----------
    source : Path
    path : Path
        Where to; left alone if it has the same content already.
    sidecar : mapping, optional
        Content of the JSON file beside it, written first: a map is never there without it.
    outdated : iterable of Path
        What told of an older content, to be taken away with it.
    """

    def write_sidecar() -> None:
        if sidecar is not None:
            write_json(path.with_name(f"{stem(path)}.json"), sidecar)

    if path.exists() and filecmp.cmp(source, path, shallow=False):
        write_sidecar()
        return
    with whole_file(path) as temporary:
        shutil.copyfile(source, temporary)
        # an old map must not stand beside a new sidecar, however this ends
        for old in (*outdated, path):
            old.unlink(missing_ok=True)
        write_sidecar()


def remove_with_sidecar(path: Path) -> None:
    """Remove an image and its sidecar, where they exist."""
    path.unlink(missing_ok=True)
    path.with_name(f"{stem(path)}.json").unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, content: str) -> None:
    """Write a text file, whole or not at all; one with the same content is left alone."""
    if path.is_file() and path.read_bytes() == content.encode():
        return
    with whole_file(path) as temporary:
        temporary.write_text(content, encoding="utf-8")
