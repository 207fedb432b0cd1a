"""Segmentations and masks from files: read, checked, and brought into the phase's grid."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_qcm.bids.companions import Companion
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import Grid, read_grid, read_integers, read_values
from bids_qcm.bids.label_tables import (
    FREESURFER_LABELS,
    known_table,
    read_table,
    tissue_of_abbreviation,
)
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
    largest,
    resample_labels,
    resample_probabilities,
    sample_nearest,
    unmoved,
)
from bids_qcm.segmentation.tissues import TISSUES, Label, to_tissues

_CHECK_SPACING_MM = 4.0

_SIDES = (("left", "right"), ("back", "front"), ("bottom", "top"))


def label_table(companion: Companion, given: Path | None) -> dict[int, Label]:
    """Give the table of a segmentation's labels.

    Parameters
    ----------
    companion : Companion
    given : Path or None
        The user's own table, which goes before all others.

    Returns
    -------
    dict of int to Label
        The dataset's table, else that of the companion's numbering. FreeSurfer's numbers mean what
        they do in FreeSurfer, whatever a dataset calls them.
    """
    if given is not None:
        return read_table(given)
    known = known_table(companion.numbering)
    if companion.table is None:
        return known
    own = read_table(companion.table)
    return own | known if companion.numbering == FREESURFER_LABELS else own


def read_tissues(
    companion: Companion, given: Path | None
) -> tuple[NDArray[np.int32], dict[int, str]]:
    """Read a segmentation as tissues, in its own grid.

    Parameters
    ----------
    companion : Companion
        Of kind ``labels`` or ``probabilities``.
    given : Path or None
        The user's own label table.

    Returns
    -------
    labels : ndarray of int32, shape (X, Y, Z)
    names : dict of int to str
        Of the labels that are present.

    Raises
    ------
    InputError
        If a value is not a whole number, a label is in no table, all are 0, or probabilities are
        not between 0 and 1.
    """
    if companion.kind == "probabilities":
        maps, numbers = _read_probabilities(companion)
        labels = largest(np.stack(maps), numbers)
        if not labels.any():
            raise InputError(companion.path, "is zero everywhere", "segment again")
        return labels, _names(labels, {tissue.index: tissue.name for tissue in TISSUES.values()})
    labels, table = read_integers(companion.path), label_table(companion, given)
    try:
        return to_tissues(labels, table)
    except ValueError as error:
        raise InputError(
            companion.path, str(error), "give a table that has them with --label-table"
        ) from error


def import_tissues(
    companion: Companion, given: Path | None, grid: Grid, point_map: PointMap | None
) -> tuple[NDArray[np.int32], dict[int, str]]:
    """Bring a segmentation into the grid of the phase, as tissues.

    Parameters
    ----------
    companion, given
        As in :func:`read_tissues`.
    grid : Grid
    point_map : callable or None
        From the phase's coordinates to those of the segmentation; None if it is in the phase's
        grid.

    Returns
    -------
    labels : ndarray of int32, shape of `grid`
    names : dict of int to str
        Of the labels that are present there.
    """
    labels, names = read_tissues(companion, given)
    if point_map is not None:
        affine = read_grid(companion.path).affine
        if companion.kind == "probabilities":
            maps, numbers = _read_probabilities(companion)
            labels = resample_probabilities(
                maps, numbers, affine, grid.shape, grid.affine, point_map
            )
        else:
            labels = resample_labels(labels, affine, grid.shape, grid.affine, point_map)
    return labels, _names(labels, names)


def import_mask(path: Path, grid: Grid, point_map: PointMap | None) -> NDArray[np.bool_]:
    """Bring a mask into the grid of the phase; arguments as for a segmentation.

    Raises
    ------
    InputError
        If nothing of it is in the grid.
    """
    return resample_mask(read_integers(path) != 0, read_grid(path).affine, grid, point_map, path)


def resample_mask(
    mask: NDArray[np.bool_],
    affine: NDArray[np.floating],
    grid: Grid,
    point_map: PointMap | None,
    path: Path,
) -> NDArray[np.bool_]:
    """Bring a mask into the grid of the phase.

    Parameters
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
    affine : ndarray, shape (4, 4)
        Voxel indices of the mask to mm.
    grid, point_map
        As in :func:`import_tissues`.
    path : Path
        The image that the mask is from.

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
    """Give a mask at the nearest voxels: as `import_mask`, faster and good enough for checks."""
    points = grid_points(grid.shape, grid.affine)
    mask = read_integers(path) != 0
    sampled = sample_nearest(mask, read_grid(path).affine, points, point_map or unmoved)
    return _not_empty(sampled.reshape(grid.shape), path)


def _not_empty(mask: NDArray[np.bool_], path: Path) -> NDArray[np.bool_]:
    if not mask.any():
        raise InputError(
            path, "lies outside the phase's field of view", "use one of the same participant"
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
    """Check that a segmentation lies on the head, and not mirrored.

    Parameters
    ----------
    path : Path
        The segmentation's.
    labels : ndarray of int
        In its own grid.
    grid : Grid
        The phase's.
    magnitude, head : ndarray, shape of `grid`
        An image of the head, and where in it there is signal.
    point_map : callable or None
        As in :func:`import_tissues`.

    Raises
    ------
    InputError
        If it does not.
    """
    point_map = point_map or unmoved
    affine = read_grid(path).affine
    step = max(1, round(_CHECK_SPACING_MM / max(grid.voxel_size)))
    sampled = sample_nearest(labels, affine, grid_points(grid.shape, grid.affine, step), point_map)
    share = overlap(sampled != 0, head[(slice(step // 2, None, step),) * 3].ravel())
    if share < LEAST_OVERLAP:
        raise InputError(
            path,
            f"does not lie on the head in the phase's images: they share {share:.0%} of the "
            "smaller one",
            "use one of the same participant and session, mend its header, or give --coreg rigid",
        )
    swapped = better_flip(labels, affine, magnitude, grid.affine, point_map, step)
    if swapped:
        raise InputError(
            path,
            f"fits the phase's images better with {swapped} swapped: its header, or that of "
            "the magnitude, seems to be flipped",
            "convert it again, and compare both in a viewer",
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
            f"does not fit the edges in the phase's images: moved by {moved}, its mutual "
            f"information with the magnitude is {gain:.2f} times as large",
            "use one of the same participant and session, mend its header, or give --coreg rigid",
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
        If it covers less than half of it.
    """
    points = grid_points(grid.shape, grid.affine)[brain.ravel()]
    sampled = sample_nearest(labels, read_grid(path).affine, points, point_map or unmoved)
    share = np.count_nonzero(sampled) / len(points)
    if share < LEAST_AGREEMENT:
        raise InputError(
            path,
            f"disagrees with the brain mask {mask_path}: it covers {share:.0%} of it",
            "use both of one dataset, or choose with --bids-filter-file",
        )


def _read_probabilities(companion: Companion) -> tuple[list[NDArray[np.float32]], list[int]]:
    """Read probability maps and the labels of their tissues, each tissue once."""
    first = read_grid(companion.path)
    maps: dict[int, NDArray[np.float32]] = {}
    for path in companion.paths:
        if not read_grid(path).matches(first):
            raise InputError(
                path, f"has another grid than {companion.path.name}", "use maps of one segmentation"
            )
        values = np.nan_to_num(read_values(path))
        if values.min() < -0.01 or values.max() > 1.01:
            raise InputError(
                path,
                f"has values from {values.min():g} to {values.max():g}, which are no probabilities",
                "scale it to 0 to 1",
            )
        tissue = tissue_of_abbreviation(parse_name(path.name)[0]["label"])
        if tissue in TISSUES:
            number = TISSUES[tissue].index
            maps[number] = maps[number] + values if number in maps else values
    return list(maps.values()), list(maps)


def _names(labels: NDArray[np.integer], names: dict[int, str]) -> dict[int, str]:
    present = set(np.unique(labels).tolist())
    return {label: name for label, name in names.items() if label in present}
