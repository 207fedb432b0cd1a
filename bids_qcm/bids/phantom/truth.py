"""Read the true maps of a phantom, and the conductivity maps to compare with the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_qcm.bids.anatomy.label_tables import read_table
from bids_qcm.bids.condmaps import TRUTH_DESC
from bids_qcm.bids.dataset import select_participants
from bids_qcm.bids.errors import InputError, NoInputError
from bids_qcm.bids.files import visible
from bids_qcm.bids.images import read_grid, read_integers, read_values, require_grid
from bids_qcm.bids.names import parse_name
from bids_qcm.bids.phantom.dataset import TRUTH_DATASET, scan_folder
from bids_qcm.grids import Grid
from bids_qcm.phantom.truth import Truth

_NO_TRUTH = "is missing, so there is no true conductivity to compare with"
_CREATE = "use the folder that `bids-qcm-phantom create` wrote, or create the dataset again"


@dataclass(frozen=True, eq=False)
class PhantomTruth:
    """The true maps of a phantom participant.

    Attributes
    ----------
    arrays : Truth
        True conductivity, labels and masks.
    grid : Grid
        Grid of all arrays.
    tissue_names : dict of int to str
        Tissue names by label.
    path : Path
        File with the true conductivity.
    """

    arrays: Truth
    grid: Grid
    tissue_names: dict[int, str]
    path: Path


def list_participants(dataset: Path, derivatives: Path, labels: Sequence[str]) -> list[str]:
    """Return the participants for the comparison of maps with the true conductivity.

    Parameters
    ----------
    dataset : Path
        Raw dataset of the phantom.
    derivatives : Path
        Derivative dataset with conductivity maps.
    labels : sequence of str
        Requested labels without ``sub-``; empty for all participants with a true map or a
        conductivity map.

    Returns
    -------
    list of str
        Sorted labels with ``sub-``, such as ``sub-01``.

    Raises
    ------
    NoInputError
        If the phantom dataset has no true maps.
    SelectionError
        If a requested participant has no true maps.
    """
    root = dataset / TRUTH_DATASET
    if not root.is_dir():
        raise NoInputError(root, _NO_TRUTH, _CREATE)
    participants = {f"sub-{label}" for label in select_participants(root, labels)}
    if not labels:
        maps = visible(derivatives, "sub-*/**/*_condmap.nii*")
        participants |= {path.relative_to(derivatives).parts[0] for path in maps}
    return sorted(participants)


def read_truth(dataset: Path, name: str) -> PhantomTruth:
    """Read the true maps of a phantom.

    Parameters
    ----------
    dataset : Path
        Raw dataset of the phantom.
    name : str
        Start of the file names: ``sub-01``, or ``sub-01_ses-01`` for a session.

    Returns
    -------
    PhantomTruth

    Raises
    ------
    InputError
        If a file is missing, cannot be read, or has a different grid.
    """
    folder = dataset / TRUTH_DATASET / scan_folder(name) / "anat"
    path = folder / f"{name}_desc-{TRUTH_DESC}_condmap.nii.gz"
    if not path.exists():
        raise InputError(path, _NO_TRUTH, _CREATE)
    grid = read_grid(path)
    labels = _read_in_grid(folder / f"{name}_dseg.nii.gz", grid)
    lesions = np.zeros(grid.shape, dtype=np.uint8)
    for mask in sorted(visible(folder, f"{name}_label-L_desc-*mm_mask.nii.gz")):
        diameter = parse_name(mask.name)[0]["desc"].removesuffix("mm")
        lesions[_read_in_grid(mask, grid) > 0] = int(diameter)
    arrays = Truth(
        conductivity=read_values(path),
        labels=labels,
        brain=_read_in_grid(folder / f"{name}_desc-brain_mask.nii.gz", grid) > 0,
        small_lesion_diameter=lesions,
        voxel_size=grid.voxel_size,
    )
    table = read_table(folder / f"{name}_dseg.tsv")
    names = {label: entry.name for label, entry in table.items() if np.any(labels == label)}
    return PhantomTruth(arrays, grid, names, path)


def read_map(path: Path, truth: PhantomTruth) -> NDArray[np.float32]:
    """Read a conductivity map for the comparison with the true conductivity.

    Parameters
    ----------
    path : Path
    truth : PhantomTruth

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        Conductivity in S/m. Invalid voxels, and voxels that are exactly 0 (outside the mask of the
        map), are NaN.

    Raises
    ------
    InputError
        If the map cannot be read, or has a different grid from the true conductivity.
    """
    require_grid(
        path,
        truth.grid,
        f"the true conductivity in {truth.path}",
        "compare the map with the phantom that it was computed from, or resample the map to the "
        "grid of this phantom",
    )
    values = read_values(path)
    values[values == 0] = np.nan
    return values


def _read_in_grid(path: Path, grid: Grid) -> NDArray[np.int32]:
    """Read a label image or mask, which must be on the grid of the true conductivity."""
    if not path.exists():
        raise InputError(path, "is missing", _CREATE)
    require_grid(path, grid, "the true conductivity", _CREATE)
    return read_integers(path)
