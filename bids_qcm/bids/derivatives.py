"""Name and write the files of the derivative dataset."""

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
from bids_qcm.bids.anatomy.datasets import APP_NAME, is_ours
from bids_qcm.bids.container import describe_container
from bids_qcm.bids.errors import OutputError
from bids_qcm.bids.images import atomic_write
from bids_qcm.bids.names import join_name, stem
from bids_qcm.bids.readers import read_text

BIDS_VERSION = "1.10.0"

MAGNITUDE_ENTITIES = MappingProxyType({"part": "mag", "desc": "preproc"})
"""Entities that the magnitude belonging to phi0 has in addition to the acquisition's entities."""

B1_ORIGINS = ("measured", "model")
"""Labels of the ``desc`` entity of ``|B1+|`` maps."""

# BIDS has no suffix for conductivity and requires an echo entity for MEGRE, which the combined
# magnitude lacks. The validator does not ignore a folder if its pattern ends with a slash.
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
    """Return the path of a derivative in ``anat``.

    Parameters
    ----------
    output_dir : Path
    acquisition : Acquisition
    suffix, extension : str
        Suffix and file extension, such as ``condmap`` and ``.nii.gz``.
    **entities : str
        Additional entities, in the BIDS order.

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
    """Return the path of an acquisition's ``|B1+|`` map, which BIDS stores in ``fmap``."""
    path = derivative_path(output_dir, acquisition, "TB1map", ".nii.gz", desc=origin)
    return path.parent.with_name("fmap") / path.name


def bids_uri(path: Path, datasets: Mapping[str, Path]) -> str:
    """Return the BIDS URI of a file.

    Parameters
    ----------
    path : Path
        File inside at least one of the datasets.
    datasets : mapping of str to Path
        Dataset folders by their name in ``DatasetLinks``.

    Returns
    -------
    str

    Examples
    --------
    >>> bids_uri(Path("/d/sub-01/anat/x.nii"), {"raw": Path("/d")})
    'bids:raw:sub-01/anat/x.nii'
    """
    within = [name for name, root in datasets.items() if path.is_relative_to(root)]
    # A derivative dataset may lie inside the raw dataset, so the innermost dataset is used.
    name = max(within, key=lambda name: len(datasets[name].parts))
    return f"bids:{name}:{path.relative_to(datasets[name]).as_posix()}"


def write_dataset_files(output_dir: Path, datasets: Mapping[str, Path]) -> None:
    """Write ``dataset_description.json`` and ``.bidsignore`` of a derivative dataset.

    Parameters
    ----------
    output_dir : Path
    datasets : mapping of str to Path
        Source datasets by their name in BIDS URIs.

    Raises
    ------
    OutputError
        If the folder contains a dataset of other software.
    """
    description_path = output_dir / "dataset_description.json"
    if description_path.exists() and not is_ours(output_dir):
        raise OutputError(
            output_dir,
            "contains another dataset",
            "give a new folder, or the output folder of an earlier run",
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
    theirs = read_text(ignored).splitlines() if ignored.exists() else []
    write_text(ignored, "\n".join(dict.fromkeys([*theirs, *_BIDSIGNORE, ""])))


def copy_atomically(
    source: Path,
    path: Path,
    sidecar: Mapping[str, Any] | None = None,
    outdated: Iterable[Path] = (),
) -> None:
    """Copy a file and its sidecar into the dataset atomically.

    Parameters
    ----------
    source : Path
    path : Path
        Destination. A destination with the same content is not rewritten.
    sidecar : mapping, optional
        Content of the JSON sidecar. The sidecar is written first, so that the dataset never holds
        the file without its sidecar.
    outdated : iterable of Path
        Files computed from the previous content of `path`. They are removed if the content
        changes.
    """

    def write_sidecar() -> None:
        if sidecar is not None:
            write_json(path.with_name(f"{stem(path)}.json"), sidecar)

    if path.exists() and filecmp.cmp(source, path, shallow=False):
        write_sidecar()
        return
    with atomic_write(path) as temporary:
        shutil.copyfile(source, temporary)
        # The old file is removed before the new sidecar is written, so that an interruption never
        # leaves an old map with a new sidecar.
        for old in (*outdated, path):
            old.unlink(missing_ok=True)
        write_sidecar()


def remove_with_sidecar(path: Path) -> None:
    """Remove an image and its sidecar if they exist."""
    path.unlink(missing_ok=True)
    path.with_name(f"{stem(path)}.json").unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, content: str) -> None:
    """Write a text file atomically; a file with the same content is not rewritten.

    Parts of characters, which file names and JSON may contain, are written as question marks.
    """
    encoded = content.encode(errors="replace")
    if path.is_file() and path.read_bytes() == encoded:
        return
    with atomic_write(path) as temporary:
        temporary.write_bytes(encoded)
