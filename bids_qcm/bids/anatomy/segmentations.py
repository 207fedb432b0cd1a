"""Read and check segmentations and masks, and resample them to the grid of the phase."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.label_tables import (
    FREESURFER_LABELS,
    known_table,
    read_table,
    tissue_of_abbreviation,
)
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import Grid, read_grid, read_integers, read_values
from bids_qcm.bids.names import parse_name
from bids_qcm.segmentation.checks import (
    BETTER_PLACE,
    LEAST_AGREEMENT,
    LEAST_OVERLAP,
    better_flip,
    better_shift,
    overlap,
)
from bids_qcm.segmentation.resampling import (
    PointMap,
    grid_points,
    identity,
    largest,
    resample_labels,
    resample_probabilities,
    sample_nearest,
)
from bids_qcm.segmentation.tissues import TISSUES, Label, to_tissues

_CHECK_SPACING_MM = 4.0

_SIDES = (("left", "right"), ("back", "front"), ("bottom", "top"))

_ALIGN = (
    "use a segmentation of the same participant and session, correct its header, or give "
    "--coreg rigid"
)


def label_table(auxiliary: AuxiliaryImage, given: Path | None) -> dict[int, Label]:
    """Return the label table of a segmentation.

    Parameters
    ----------
    auxiliary : AuxiliaryImage
        Segmentation of kind ``labels``.
    given : Path or None
        Label table given by the user, which overrides all other tables.

    Returns
    -------
    dict of int to Label
        The dataset's table, or the built-in table if the dataset has no table. For FreeSurfer
        numbering, the built-in table overrides the dataset's table.
    """
    if given is not None:
        return read_table(given)
    known = known_table(auxiliary.numbering)
    if auxiliary.table is None:
        return known
    own = read_table(auxiliary.table)
    return own | known if auxiliary.numbering == FREESURFER_LABELS else own


def read_tissues(
    auxiliary: AuxiliaryImage, given: Path | None
) -> tuple[NDArray[np.int32], dict[int, str]]:
    """Read a segmentation and convert its labels to tissue labels.

    Parameters
    ----------
    auxiliary : AuxiliaryImage
        Segmentation of kind ``labels`` or ``probabilities``.
    given : Path or None
        Label table given by the user.

    Returns
    -------
    labels : ndarray of int32, shape (X, Y, Z)
        Tissue labels in the grid of the segmentation.
    names : dict of int to str
        Names of the labels that occur.

    Raises
    ------
    InputError
        If a value is not an integer, if a label is missing from the label table, if all labels are
        0, or if probabilities are not between 0 and 1.
    """
    if auxiliary.kind == "probabilities":
        maps, numbers = _read_probabilities(auxiliary)
        labels = largest(np.stack(maps), numbers)
        if not labels.any():
            raise InputError(auxiliary.path, "is zero everywhere", "run the segmentation again")
        return labels, _names(labels, {tissue.number: tissue.name for tissue in TISSUES.values()})
    labels, table = read_integers(auxiliary.path), label_table(auxiliary, given)
    try:
        return to_tissues(labels, table)
    except ValueError as error:
        raise InputError(
            auxiliary.path, str(error), "give a table with these labels with --label-table"
        ) from error


def import_tissues(
    auxiliary: AuxiliaryImage, given: Path | None, grid: Grid, point_map: PointMap | None
) -> tuple[NDArray[np.int32], dict[int, str]]:
    """Read the tissue labels of a segmentation and resample them to the grid of the phase.

    Parameters
    ----------
    auxiliary, given
        As in :func:`read_tissues`.
    grid : Grid
        Grid of the phase.
    point_map : callable or None
        Maps points from the coordinates of the phase to the coordinates of the segmentation. None
        if the segmentation is in the grid of the phase.

    Returns
    -------
    labels : ndarray of int32, shape of `grid`
        Tissue labels.
    names : dict of int to str
        Names of the labels that occur in `labels`.
    """
    labels, names = read_tissues(auxiliary, given)
    if point_map is not None:
        affine = read_grid(auxiliary.path).affine
        if auxiliary.kind == "probabilities":
            maps, numbers = _read_probabilities(auxiliary)
            labels = resample_probabilities(
                maps, numbers, affine, grid.shape, grid.affine, point_map
            )
        else:
            labels = resample_labels(labels, affine, grid.shape, grid.affine, point_map)
    return labels, _names(labels, names)


def import_mask(path: Path, grid: Grid, point_map: PointMap | None) -> NDArray[np.bool_]:
    """Read a mask and resample it to the grid of the phase; see :func:`import_tissues`.

    Raises
    ------
    InputError
        If the file cannot be read, or no voxel of the mask is in the grid.
    """
    return resample_mask(read_integers(path) != 0, read_grid(path).affine, grid, point_map, path)


def resample_mask(
    mask: NDArray[np.bool_],
    affine: NDArray[np.floating],
    grid: Grid,
    point_map: PointMap | None,
    path: Path,
) -> NDArray[np.bool_]:
    """Resample a mask to the grid of the phase.

    Parameters
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
    affine : ndarray, shape (4, 4)
        Maps voxel indices of the mask to mm.
    grid, point_map
        As in :func:`import_tissues`.
    path : Path
        Source image of the mask, for the message.

    Returns
    -------
    ndarray of bool, shape of `grid`

    Raises
    ------
    InputError
        If no voxel of the mask is in the grid.
    """
    if point_map is not None:
        mask = resample_labels(mask, affine, grid.shape, grid.affine, point_map) != 0
    return _not_empty(mask, path)


def sample_mask(path: Path, grid: Grid, point_map: PointMap | None) -> NDArray[np.bool_]:
    """Read a mask and resample it by nearest neighbour, a fast `import_mask` for checks."""
    points = grid_points(grid.shape, grid.affine)
    mask = read_integers(path) != 0
    sampled = sample_nearest(mask, read_grid(path).affine, points, point_map or identity)
    return _not_empty(sampled.reshape(grid.shape), path)


def _not_empty(mask: NDArray[np.bool_], path: Path) -> NDArray[np.bool_]:
    if not mask.any():
        raise InputError(
            path,
            "lies outside the field of view of the phase",
            "use an image of the same participant",
        )
    return mask


def check_placement(
    path: Path,
    labels: NDArray[np.integer],
    grid: Grid,
    magnitude: NDArray[np.floating],
    head: NDArray[np.bool_],
    point_map: PointMap | None,
) -> None:
    """Check that a segmentation is aligned with the head and not mirrored.

    Parameters
    ----------
    path : Path
        File of the segmentation.
    labels : ndarray of int
        Tissue labels in the grid of the segmentation.
    grid : Grid
        Grid of the phase.
    magnitude : ndarray of float, shape of `grid`
    head : ndarray of bool, shape of `grid`
        Voxels of the magnitude with signal.
    point_map : callable or None
        As in :func:`import_tissues`.

    Raises
    ------
    InputError
        If the segmentation and the head hardly overlap, or if a mirrored or shifted segmentation
        fits the magnitude much better.
    """
    point_map = point_map or identity
    affine = read_grid(path).affine
    step = max(1, round(_CHECK_SPACING_MM / max(grid.voxel_size)))
    sampled = sample_nearest(labels, affine, grid_points(grid.shape, grid.affine, step), point_map)
    share = overlap(sampled != 0, head[(slice(step // 2, None, step),) * 3].ravel())
    if share < LEAST_OVERLAP:
        raise InputError(
            path,
            "does not overlap enough with the head in the phase images: the overlap is "
            f"{share:.0%} of the smaller region",
            _ALIGN,
        )
    swapped = better_flip(labels, affine, magnitude, grid.affine, point_map, step)
    if swapped:
        raise InputError(
            path,
            f"fits the magnitude better with {swapped} swapped: its header or the header of the "
            "magnitude seems to be flipped",
            "convert it again, and compare both images in a viewer",
        )
    gain, shift = better_shift(labels, affine, magnitude, grid.affine, point_map, step)
    if gain > BETTER_PLACE:
        moved = ", ".join(
            f"{abs(mm):.0f} mm to the {side[mm > 0]}"
            for mm, side in zip(shift, _SIDES, strict=True)
            if mm
        )
        raise InputError(
            path,
            f"does not fit the edges in the magnitude: if it is shifted by {moved}, the mutual "
            f"information is {gain:.2f} times as large",
            _ALIGN,
        )


def check_agreement(
    path: Path,
    labels: NDArray[np.integer],
    grid: Grid,
    brain: NDArray[np.bool_],
    mask_path: Path,
    point_map: PointMap | None,
) -> None:
    """Check that a segmentation covers the brain mask; arguments as in `check_placement`.

    Raises
    ------
    InputError
        If the segmentation covers less than half of the mask.
    """
    points = grid_points(grid.shape, grid.affine)[brain.ravel()]
    sampled = sample_nearest(labels, read_grid(path).affine, points, point_map or identity)
    share = np.count_nonzero(sampled) / len(points)
    if share < LEAST_AGREEMENT:
        raise InputError(
            path,
            f"disagrees with the brain mask {mask_path}: it covers only {share:.0%} of the mask",
            "use a segmentation and a mask from one dataset, or choose with --bids-filter-file",
        )


def _read_probabilities(auxiliary: AuxiliaryImage) -> tuple[list[NDArray[np.float32]], list[int]]:
    """Return one probability map for each tissue, and the tissue labels.

    The maps of structures that belong to the same tissue are added.
    """
    first = read_grid(auxiliary.path)
    maps: dict[int, NDArray[np.float32]] = {}
    for path in auxiliary.paths:
        if not read_grid(path).matches(first):
            raise InputError(
                path,
                f"has a different grid than {auxiliary.path.name}",
                "use probability maps of the same segmentation",
            )
        values = np.nan_to_num(read_values(path))
        if values.min() < -0.01 or values.max() > 1.01:
            raise InputError(
                path,
                f"has values from {values.min():g} to {values.max():g}, which are not "
                "probabilities",
                "scale the values to the range from 0 to 1",
            )
        tissue = tissue_of_abbreviation(parse_name(path.name)[0]["label"])
        if tissue in TISSUES:
            number = TISSUES[tissue].number
            maps[number] = maps[number] + values if number in maps else values
    return list(maps.values()), list(maps)


def _names(labels: NDArray[np.integer], names: dict[int, str]) -> dict[int, str]:
    present = set(np.unique(labels).tolist())
    return {label: name for label, name in names.items() if label in present}
