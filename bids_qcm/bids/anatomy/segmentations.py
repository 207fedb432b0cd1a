"""Read and check segmentations and masks, and resample them to the grid of the phase."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.label_tables import (
    known_table,
    read_table,
    tissue_of_abbreviation,
)
from bids_qcm.bids.anatomy.sources import BIDS_LABELS
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_grid, read_integers, read_values
from bids_qcm.bids.names import parse_name
from bids_qcm.grids import Grid, Volume
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
    identity,
    label_of_largest_share,
    resample_labels,
    resample_probabilities,
    sample_nearest,
)
from bids_qcm.segmentation.tissues import TISSUES, Label, to_tissues

_CHECK_SPACING_MM = 4.0

_SIDES = (("left", "right"), ("back", "front"), ("bottom", "top"))

_ALIGN = (
    "use a segmentation of the same participant and session, correct its header, or run with "
    "--coreg rigid"
)


def label_table(auxiliary: AuxiliaryImage, given: Path | None) -> dict[int, Label]:
    """Return the label table of a segmentation.

    Parameters
    ----------
    auxiliary : AuxiliaryImage
        Segmentation of kind ``labels``.
    given : Path or None
        User-supplied label table, which overrides all other tables.

    Returns
    -------
    dict of int to Label
        The dataset's table, or the built-in table if the dataset has no table. If the numbering is
        not the BIDS numbering, the built-in table overrides the dataset's table.
    """
    if given is not None:
        return read_table(given)
    known = known_table(auxiliary.numbering)
    if auxiliary.table is None:
        return known
    own = read_table(auxiliary.table)
    return own if auxiliary.numbering == BIDS_LABELS else own | known


def read_tissues(auxiliary: AuxiliaryImage, given: Path | None) -> tuple[Volume, dict[int, str]]:
    """Read a segmentation and convert its labels to tissue labels.

    Parameters
    ----------
    auxiliary : AuxiliaryImage
        Segmentation of kind ``labels`` or ``probabilities``.
    given : Path or None
        Label table of the user.

    Returns
    -------
    labels : Volume of int32
        Tissue labels on the grid of the segmentation.
    names : dict of int to str
        Names of the labels that occur in `labels`.

    Raises
    ------
    InputError
        If a value is not an integer, if a label is missing from the label table, if all labels are
        0, or if probabilities are not between 0 and 1.
    """
    if auxiliary.kind == "probabilities":
        probabilities = _read_probabilities(auxiliary)
        labels = label_of_largest_share(np.stack(probabilities.maps), probabilities.numbers)
        if not labels.any():
            raise InputError(auxiliary.path, "is zero everywhere", "run the segmentation again")
        names = _names(labels, {tissue.number: tissue.name for tissue in TISSUES.values()})
        return Volume(labels, probabilities.grid, auxiliary.path), names
    stored, table = read_integers(auxiliary.path), label_table(auxiliary, given)
    try:
        labels, names = to_tissues(stored, table)
        return Volume(labels, auxiliary.grid, auxiliary.path), names
    except ValueError as error:
        raise InputError(
            auxiliary.path, str(error), "pass a table that defines these labels with --label-table"
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
        if the segmentation is on the grid of the phase.

    Returns
    -------
    labels : ndarray of int32, shape of `grid`
        Tissue labels.
    names : dict of int to str
        Names of the labels that occur in `labels`.
    """
    tissues, names = read_tissues(auxiliary, given)
    labels = tissues.values
    if point_map is not None:
        if auxiliary.kind == "probabilities":
            labels = resample_probabilities(*_read_probabilities(auxiliary), grid, point_map)
        else:
            labels = resample_labels(tissues, grid, point_map)
    return labels, _names(labels, names)


def import_mask(path: Path, grid: Grid, point_map: PointMap | None) -> NDArray[np.bool_]:
    """Read a mask and resample it to the grid of the phase; see :func:`import_tissues`.

    Raises
    ------
    InputError
        If the file cannot be read, or no voxel of the mask is on the grid.
    """
    return resample_mask(_read_mask(path), grid, point_map)


def resample_mask(mask: Volume, grid: Grid, point_map: PointMap | None) -> NDArray[np.bool_]:
    """Resample a mask to the grid of the phase.

    Parameters
    ----------
    mask : Volume of bool
        Mask with the path of its source image, which appears in the message.
    grid, point_map
        As in :func:`import_tissues`.

    Returns
    -------
    ndarray of bool, shape of `grid`

    Raises
    ------
    InputError
        If no voxel of the mask is on the grid.
    """
    if point_map is None:
        return _not_empty(mask.values, mask.origin)
    return _not_empty(resample_labels(mask, grid, point_map) != 0, mask.origin)


def sample_mask(path: Path, grid: Grid, point_map: PointMap | None) -> NDArray[np.bool_]:
    """Read a mask and resample it by nearest neighbour, which is sufficient for checks and fast."""
    mask = _read_mask(path)
    if point_map is None:
        return _not_empty(mask.values, path)
    sampled = sample_nearest(mask, grid.points(), point_map)
    return _not_empty(sampled.reshape(grid.shape), path)


def _read_mask(path: Path) -> Volume:
    return Volume(read_integers(path) != 0, read_grid(path), path)


def _not_empty(mask: NDArray[np.bool_], origin: Path | str) -> NDArray[np.bool_]:
    if not mask.any():
        raise InputError(
            origin,
            "lies outside the field of view of the phase",
            "use an image of the same participant",
        )
    return mask


def check_placement(
    labels: Volume, magnitude: Volume, head: NDArray[np.bool_], point_map: PointMap | None
) -> None:
    """Check that a segmentation is aligned with the head and is not mirrored.

    Parameters
    ----------
    labels : Volume of int
        Tissue labels on the grid of the segmentation, with the path of its file.
    magnitude : Volume of float
        Magnitude on the grid of the phase.
    head : ndarray of bool, shape of the magnitude
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
    step = max(1, round(_CHECK_SPACING_MM / max(magnitude.grid.voxel_size)))
    sampled = sample_nearest(labels, magnitude.grid.points(step), point_map)
    share = overlap(sampled != 0, head[(slice(step // 2, None, step),) * 3].ravel())
    if share < LEAST_OVERLAP:
        raise InputError(
            labels.origin,
            "does not overlap enough with the head in the phase images: the overlap is "
            f"{share:.0%} of the smaller region",
            _ALIGN,
        )
    swapped = better_flip(labels, magnitude, point_map, step)
    if swapped:
        raise InputError(
            labels.origin,
            f"fits the magnitude better with {swapped} swapped: an axis seems to be flipped in its "
            "header or in the header of the magnitude",
            "create the image again, and compare it with the magnitude in a viewer",
        )
    gain, shift = better_shift(labels, magnitude, point_map, step)
    if gain > BETTER_PLACE:
        moved = ", ".join(
            f"{abs(mm):.0f} mm to the {side[mm > 0]}"
            for mm, side in zip(shift, _SIDES, strict=True)
            if mm
        )
        raise InputError(
            labels.origin,
            f"does not match the edges in the magnitude: a shift by {moved} multiplies the mutual "
            f"information by {gain:.2f}",
            _ALIGN,
        )


def check_agreement(labels: Volume, brain: Volume, point_map: PointMap | None) -> None:
    """Check that a segmentation covers the brain mask.

    Parameters
    ----------
    labels, point_map
        As in :func:`check_placement`.
    brain : Volume of bool
        Brain mask on the grid of the phase, with the path of its file.

    Raises
    ------
    InputError
        If the segmentation covers less than half of the mask.
    """
    if point_map is None:
        sampled = labels.values[brain.values]
    else:
        points = brain.grid.points()[brain.values.ravel()]
        sampled = sample_nearest(labels, points, point_map)
    share = np.count_nonzero(sampled) / sampled.size
    if share < LEAST_AGREEMENT:
        raise InputError(
            labels.origin,
            f"disagrees with the brain mask {brain.origin}: the segmentation covers only "
            f"{share:.0%} of the mask",
            "use a segmentation and a mask from the same dataset, or select others with "
            "--bids-filter-file",
        )


class _Probabilities(NamedTuple):
    """Probability maps of the tissues, the tissue labels, and the grid of the maps."""

    maps: list[NDArray[np.float32]]
    numbers: list[int]
    grid: Grid


def _read_probabilities(auxiliary: AuxiliaryImage) -> _Probabilities:
    """Read the tissue probabilities, and sum the maps of all structures of a tissue."""
    grid = auxiliary.grid
    maps: dict[int, NDArray[np.float32]] = {}
    for path in auxiliary.paths:
        if path != auxiliary.path and not read_grid(path).matches(grid):
            raise InputError(
                path,
                f"has a different grid from {auxiliary.path.name}",
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
    return _Probabilities(list(maps.values()), list(maps), grid)


def _names(labels: NDArray[np.integer], names: dict[int, str]) -> dict[int, str]:
    present = set(np.unique(labels).tolist())
    return {label: name for label, name in names.items() if label in present}
