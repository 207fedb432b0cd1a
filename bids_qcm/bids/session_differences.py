"""Differences between the maps of repeated scans, in units of noise."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_qcm.bids.anatomy.label_tables import read_names
from bids_qcm.bids.derivatives import bids_uri, save_with_sidecar
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_grid, read_integers, read_values, read_volume, require_grid
from bids_qcm.bids.names import join_name
from bids_qcm.bids.outputs import FIGURES
from bids_qcm.bids.results import MapResult, Result
from bids_qcm.bids.scan_order import ScanOrder
from bids_qcm.bids.sidecar_schema import DifferenceSidecar
from bids_qcm.differences import (
    NoisyMap,
    Summary,
    difference_in_noise,
    have_same_names,
    mean_movement,
    summarise,
    tissues_in_mask,
)
from bids_qcm.grids import Grid, Volume
from bids_qcm.segmentation.registration import align

SUFFIX = "condzmap"
"""Suffix of the difference between two conductivity maps, divided by its noise."""


DIFFERENCE_FILES = (
    *(f"sub-*/**/*_space-*_desc-*_{SUFFIX}.{extension}" for extension in ("nii.gz", "json")),
    f"{FIGURES}/sub-*_{SUFFIX}.png",
)
"""Patterns of the files of all differences and of their figures."""

# Minimum fraction of the mask that must have a value; a warning is logged below this fraction.
_LEAST_SHARE = 0.5


@dataclass(frozen=True)
class Difference:
    """Difference between two scans, and its files.

    Attributes
    ----------
    first, second : Result
        The earlier and the later scan.
    method : str
        Name of the method.
    path : Path
        Map of z, on the grid of the first scan.
    summary : Summary
        Summary of z in the mask of the first scan.
    movement : float
        Mean movement of the mask between the scans, mm.
    warnings : tuple of str
        Warnings about the comparison.
    """

    first: Result
    second: Result
    method: str
    path: Path
    summary: Summary
    movement: float
    warnings: tuple[str, ...]


def write_differences(
    output_dir: Path,
    results: Sequence[Result],
    order: ScanOrder,
    damaged: list[InputError],
    n_threads: int = 1,
) -> list[Difference]:
    """Write the difference between each repeated scan and the first scan of the participant.

    Scans are compared if they have the same entities except session and run. The later scan is
    aligned to the first scan by rigid registration of the magnitudes.

    Parameters
    ----------
    output_dir : Path
        Derivative dataset.
    results : sequence of Result
        Results of all participants.
    order : ScanOrder
        Order of the scans.
    damaged : list of InputError
        List to which an error is added for each pair of scans that cannot be read, aligned or
        compared, or in which left and right of one scan seem to be swapped. Such a pair is left
        out.
    n_threads : int
        Number of threads for the registration.

    Returns
    -------
    list of Difference
        One difference for each later scan and each method with a noise map in both scans.
    """
    repeated: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        repeated.setdefault((result.participant, result.kind), []).append(result)
    written: list[Difference] = []
    for scans in repeated.values():
        first, *others = sorted(scans, key=lambda one: order.position[one.source])
        for second in others:
            written += _write_pair(output_dir, first, second, damaged, n_threads)
    return written


@dataclass(frozen=True, eq=False)
class _Aligned:
    """Two scans of a head and the rigid transform between them.

    Attributes
    ----------
    first, second : Result
        The earlier and the later scan.
    grids : tuple of 2 Grid
    labels : tuple of 2 ndarray of int
        Comparable tissue labels in the masks of the scans.
    warnings : tuple of str
    pose : ndarray of float, shape (4, 4)
        Transform from points of the first scan to points of the second scan, mm.
    """

    first: Result
    second: Result
    grids: tuple[Grid, Grid]
    labels: tuple[NDArray[np.integer], NDArray[np.integer]]
    warnings: tuple[str, ...]
    pose: NDArray[np.float64]


def _write_pair(
    output_dir: Path, first: Result, second: Result, damaged: list[InputError], n_threads: int
) -> list[Difference]:
    """Write the differences of two scans, one for each method."""
    theirs = {one.method: one for one in second.maps if one.condstd is not None}
    pairs = [
        (one, theirs[one.method])
        for one in first.maps
        if one.condstd is not None and one.method in theirs
    ]
    if not pairs:
        return []
    written = []
    try:
        scans = _align(first, second, n_threads)
        for pair in pairs:
            written.append(_write(output_dir, scans, pair))
    except InputError as error:
        damaged.append(error)
    return written


def _align(first: Result, second: Result, n_threads: int) -> _Aligned:
    """Align two scans; raise InputError if they cannot be aligned."""
    grids = read_grid(first.mask), read_grid(second.mask)
    labels, warnings = _labels((first, second), grids)
    magnitudes = [_magnitude(one) for one in (first, second)]
    volumes = (read_volume(path) for path in magnitudes)
    try:
        found = align(*volumes, always=True, n_threads=n_threads)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            magnitudes[1],
            f"cannot be aligned to the first scan, {magnitudes[0].name}: {error}",
            "compare both images in a viewer",
        ) from error
    if found.looks_flipped:
        raise InputError(
            magnitudes[1],
            f"fits the first scan, {magnitudes[0].name}, better with left and right swapped "
            f"(mutual information {found.mirrored_information:.3f}, otherwise "
            f"{found.registered_information:.3f}): an axis seems to be flipped in the header of "
            "one image",
            "create the images of both scans again, and compare them in a viewer",
        )
    return _Aligned(first, second, grids, labels, warnings, found.pose)


def _magnitude(result: Result) -> Path:
    """Return the magnitude of a scan; raise InputError if it does not exist."""
    if result.magnitude is None:
        raise InputError(
            result.folder,
            f"has no magnitude for {result.source}, which is needed to align the scans",
            "compute the maps again",
        )
    return result.magnitude


def _labels(
    scans: tuple[Result, Result], grids: tuple[Grid, Grid]
) -> tuple[tuple[NDArray[np.integer], NDArray[np.integer]], tuple[str, ...]]:
    """Return the tissue labels of both scans, and warnings.

    The labels are the masks if there are no segmentations or if their labels mean different things.
    """
    tables = [read_names(one.tissue_names) for one in scans if one.segmentation is not None]
    comparable = len(tables) == len(scans) and have_same_names(*tables)
    first, second = (
        tissues_in_mask(
            read_integers(one.mask) != 0,
            _read(one.segmentation, read_integers, one, grid)
            if comparable and one.segmentation is not None
            else None,
        )
        for one, grid in zip(scans, grids, strict=True)
    )
    if comparable or not tables:
        return (first, second), ()
    return (first, second), (
        "the scans have no segmentations with the same labels, so only their masks were compared, "
        "and differences at tissue borders remain",
    )


def _read(
    path: Path, read: Callable[[Path], NDArray[Any]], result: Result, grid: Grid
) -> NDArray[Any]:
    """Read an image of a scan, which must have the grid of the mask."""
    require_grid(path, grid, result.mask.name, "compute the maps of this scan again")
    return read(path)


def _write(output_dir: Path, scans: _Aligned, maps: tuple[MapResult, MapResult]) -> Difference:
    """Write the difference of two maps of a method."""
    results = scans.first, scans.second
    first, second = (
        NoisyMap(
            _read(one.condmap, read_values, result, grid),
            _read(one.condstd, read_values, result, grid),
            labels,
            grid,
        )
        for one, result, grid, labels in zip(maps, results, scans.grids, scans.labels, strict=True)
        if one.condstd is not None
    )
    z = difference_in_noise(first, second, scans.pose)
    mask = first.labels > 0
    summary = summarise(z, mask)
    if summary.n == 0:
        raise InputError(
            maps[1].condmap,
            f"has no valid voxel of the same tissue in common with {maps[0].condmap.name}",
            "check the masks and the segmentations of both scans",
        )
    movement = mean_movement(scans.pose, Volume(mask, first.grid))
    warnings = scans.warnings
    if summary.share < _LEAST_SHARE:
        warnings += (
            f"only {summary.share:.0%} of the mask of the first scan has a value; check the masks "
            "and the segmentations of both scans, and the maps for invalid voxels",
        )
    path = _path(*results, maps[1])
    used = [path for one in maps for path in (one.condmap, one.condstd) if path is not None]
    used += [_magnitude(one) for one in results]
    sidecar = DifferenceSidecar(
        description="Conductivity of the later scan minus conductivity of the first scan, divided "
        "by the noise standard deviation of the difference; 0 outside the mask, NaN in invalid "
        "voxels and where the tissues of the scans differ",
        units="1",
        sources=[bids_uri(one, {"": output_dir}) for one in used],
        method=maps[0].method,
        spatial_reference=bids_uri(maps[0].condmap, {"": output_dir}),
        rigid_transform=scans.pose.round(6).tolist(),
        mean_movement=round(movement, 3),
        exceeding_fraction=round(summary.exceeding, 4),
        number_of_voxels=summary.n,
        warnings=list(warnings) or None,
    )
    save_with_sidecar(path, z, first.grid.affine, sidecar.to_dict())
    return Difference(*results, maps[0].method, path, summary, movement, warnings)


def _path(first: Result, second: Result, one: MapResult) -> Path:
    """Return the path of a difference, in the folder of the later scan."""
    session: Mapping[str, str] = {} if first.session is None else {"ses": first.session}
    run = {key: label for key, label in first.entities.items() if key == "run"}
    label = "".join(f"{key}{value}" for key, value in {**session, **run}.items()) or "first"
    end = join_name({"space": label, "desc": one.desc}, SUFFIX)
    return second.folder / f"{second.source}_{end}.nii.gz"
