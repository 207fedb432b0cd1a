"""Name and write the files of the derivative dataset."""

import filecmp
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from bids_qcm import __version__
from bids_qcm.bids.anatomy.datasets import APP_NAME, is_ours
from bids_qcm.bids.container import describe_container
from bids_qcm.bids.errors import OutputError
from bids_qcm.bids.images import atomic_write, require_intact, save_array
from bids_qcm.bids.names import sidecar_path
from bids_qcm.bids.outputs import FIGURES, LOGS, OUTPUTS
from bids_qcm.bids.readers import read_text
from bids_qcm.bids.sidecar_schema import DatasetDescription, GeneratedBy, SourceDataset

BIDS_VERSION = "1.10.0"

# BIDS has no suffix for conductivity, and MEGRE requires an echo entity, which the combined
# magnitude lacks. If the pattern of a folder ends with a slash, the validator does not ignore the
# folder.
_BIDSIGNORE = (
    *(output.ignored for output in OUTPUTS.values() if not output.in_bids),
    "sub-*.html",
    FIGURES,
    "group_*",
    "*_condzmap.*",
    LOGS,
)

_WRITTEN_FOLDER = re.compile(f"(sub|ses|tpl)-.+|anat|fmap|{FIGURES}|{LOGS}")


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


def refuse_links(output_dir: Path) -> None:
    """Check that no folder of the dataset is a link to a folder outside the dataset.

    Raises
    ------
    OutputError
        If there is such a link, because results would be written to another folder.
    """
    root = output_dir.resolve()
    for folder, names, _ in os.walk(output_dir):
        names[:] = filter(_WRITTEN_FOLDER.fullmatch, names)
        for path in (Path(folder, name) for name in names):
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise OutputError(
                    path,
                    f"is a link to {path.resolve()}, which is outside the output folder",
                    "delete the link, or choose another OUTPUT_DIR",
                )


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
            "choose a new folder, or the output folder of an earlier run",
        )
    links = {
        name: quote(Path(os.path.relpath(path, output_dir)).as_posix())
        for name, path in datasets.items()
    }
    description = DatasetDescription(
        name="Conductivity maps by bids_qcm",
        bids_version=BIDS_VERSION,
        dataset_type="derivative",
        generated_by=[
            GeneratedBy(name=APP_NAME, version=__version__, container=describe_container())
        ],
        source_datasets=[SourceDataset(url=link) for link in links.values()],
        dataset_links=links,
    )
    write_json(description_path, description.to_dict())
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
        Content of the JSON sidecar. The sidecar is written first, so that the dataset never
        contains the file without its sidecar.
    outdated : iterable of Path
        Files computed from the previous content of `path`. They are removed if the content
        changes.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    # the cache of filecmp does not notice a change that keeps the size and the modification time
    filecmp.clear_cache()
    if path.exists() and filecmp.cmp(source, path, shallow=False):
        if sidecar is not None:
            write_json(sidecar_path(path), sidecar)
        return
    require_intact(source)
    with atomic_write(path) as temporary:
        shutil.copyfile(source, temporary)
        _start_replacing(path, sidecar, outdated)


def save_with_sidecar(
    path: Path,
    values: NDArray[Any],
    affine: NDArray[np.floating],
    sidecar: Mapping[str, Any],
    codes: tuple[int, int] = (1, 1),
) -> None:
    """Write an image and its sidecar atomically.

    Parameters
    ----------
    path : Path
        File with the extension ``.nii.gz``. Its folder is created if necessary.
    values, affine, codes
        As in :func:`bids_qcm.bids.images.save_array`.
    sidecar : mapping
        Content of the JSON sidecar, which is written first, so that the dataset never contains the
        file without its sidecar.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _start_replacing(path, sidecar)
    save_array(path, values, affine, codes=codes)


def _start_replacing(
    path: Path, sidecar: Mapping[str, Any] | None, outdated: Iterable[Path] = ()
) -> None:
    """Remove a file and the files computed from it, and write its new sidecar.

    In this order, an interruption never leaves an old file with a new sidecar.
    """
    for old in (*outdated, path):
        old.unlink(missing_ok=True)
    if sidecar is not None:
        write_json(sidecar_path(path), sidecar)


def remove_with_sidecar(path: Path) -> None:
    """Remove an image and its sidecar if they exist."""
    path.unlink(missing_ok=True)
    sidecar_path(path).unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, content: str) -> None:
    """Write a text file atomically, unless the file already has this content.

    Lone surrogates, which may occur in file names and JSON strings, become question marks.
    """
    encoded = content.encode(errors="replace")
    if path.is_file() and path.read_bytes() == encoded:
        return
    with atomic_write(path) as temporary:
        temporary.write_bytes(encoded)
