"""Differences between the maps of repeated scans, in units of noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from bids_qcm.bids.derivatives import bids_uri, write_json
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_grid, read_integers, read_values, read_volume, save_array
from bids_qcm.bids.names import join_name, sidecar_path
from bids_qcm.bids.outputs import FIGURES
from bids_qcm.bids.results import MapResult, Result
from bids_qcm.bids.scan_order import ScanOrder
from bids_qcm.bids.sidecar_schema import DifferenceSidecar
from bids_qcm.differences import LARGE_Z, NoisyMap, difference_in_noise
from bids_qcm.segmentation.registration import align

SUFFIX = "condzmap"
"""Suffix of the difference between two conductivity maps, divided by its noise."""


DIFFERENCE_FILES = (
    *(f"sub-*/**/*_space-*_desc-*_{SUFFIX}.{extension}" for extension in ("nii.gz", "json")),
    f"{FIGURES}/sub-*_{SUFFIX}.png",
)
"""Patterns of the files of all differences and of their figures."""


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
    n : int
        Number of voxels with a value.
    exceeding : float
        Fraction of these voxels whose absolute z exceeds 1.96; NaN without voxels.
    movement : float
        Mean movement of the mask between the scans, mm.
    """

    first: Result
    second: Result
    method: str
    path: Path
    n: int
    exceeding: float
    movement: float


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
        List to which an error is added for each scan whose files cannot be read. Its differences
        are left out.
    n_threads : int
        Number of threads of the registration.

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
            try:
                written += _write_pair(output_dir, first, second, n_threads)
            except InputError as error:
                damaged.append(error)
    return written


def _write_pair(
    output_dir: Path, first: Result, second: Result, n_threads: int
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
    magnitudes = [_magnitude(one) for one in (first, second)]
    volumes = (read_volume(path) for path in magnitudes)
    pose = align(*volumes, always=True, n_threads=n_threads).pose
    labels = [_labels(one) for one in (first, second)]
    grid = read_grid(pairs[0][0].condmap)
    points = grid.points()[(labels[0] > 0).ravel()]
    movement = float(np.linalg.norm(apply_affine(pose, points) - points, axis=1).mean())
    return [
        _write(output_dir, (first, second), pair, (labels[0], labels[1]), pose, movement)
        for pair in pairs
    ]


def _magnitude(result: Result) -> Path:
    """Return the magnitude of a scan; raise InputError if it does not exist."""
    if result.magnitude is None:
        raise InputError(
            result.folder,
            f"has no magnitude for {result.source}, which is needed to align the scans",
            "compute the maps again",
        )
    return result.magnitude


def _labels(result: Result) -> NDArray[np.int32]:
    """Return the tissue labels in the mask, or the mask if there is no segmentation."""
    labels: NDArray[np.int32] = (read_integers(result.mask) != 0).astype(np.int32)
    if result.segmentation is not None:
        # voxels of the mask without a label count as a separate tissue
        labels = labels * (read_integers(result.segmentation) + 1)
    return labels


def _write(
    output_dir: Path,
    scans: tuple[Result, Result],
    maps: tuple[MapResult, MapResult],
    labels: tuple[NDArray[np.int32], NDArray[np.int32]],
    pose: NDArray[np.float64],
    movement: float,
) -> Difference:
    first, second = (
        NoisyMap(read_values(one.condmap), read_values(one.condstd), own, read_grid(one.condmap))
        for one, own in zip(maps, labels, strict=True)
        if one.condstd is not None
    )
    z = difference_in_noise(first, second, pose)
    values = z[(first.labels > 0) & np.isfinite(z)]
    exceeding = float(np.mean(np.abs(values) > LARGE_Z)) if values.size else np.nan
    path = _path(*scans, maps[1])
    used = [path for one in maps for path in (one.condmap, one.condstd) if path is not None]
    used += [_magnitude(one) for one in scans]
    sidecar = DifferenceSidecar(
        description="Conductivity of the later scan minus conductivity of the first scan, divided "
        "by the noise standard deviation of the difference; 0 outside the mask, NaN in invalid "
        "voxels and where the tissues of the scans differ",
        units="1",
        sources=[bids_uri(one, {"": output_dir}) for one in used],
        method=maps[0].method,
        spatial_reference=bids_uri(maps[0].condmap, {"": output_dir}),
        rigid_transform=pose.round(6).tolist(),
        mean_movement=round(movement, 3),
        exceeding_fraction=None if np.isnan(exceeding) else round(exceeding, 4),
        number_of_voxels=values.size,
    )
    # an interruption never leaves an old map with a new sidecar
    path.unlink(missing_ok=True)
    write_json(sidecar_path(path), sidecar.to_dict())
    save_array(path, z, first.grid.affine)
    return Difference(*scans, maps[0].method, path, values.size, exceeding, movement)


def _path(first: Result, second: Result, one: MapResult) -> Path:
    """Return the path of a difference, in the folder of the later scan."""
    session: Mapping[str, str] = {} if first.session is None else {"ses": first.session}
    run = {key: label for key, label in first.entities.items() if key == "run"}
    label = "".join(f"{key}{value}" for key, value in {**session, **run}.items()) or "first"
    end = join_name({"space": label, "desc": one.desc}, SUFFIX)
    return second.folder / f"{second.source}_{end}.nii.gz"
