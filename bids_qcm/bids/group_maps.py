"""Mean and variation of a group's conductivity maps in template spaces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_qcm.bids.anatomy.auxiliary import NATIVE
from bids_qcm.bids.derivatives import bids_uri, save_with_sidecar
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_grid, read_values
from bids_qcm.bids.names import join_name
from bids_qcm.bids.outputs import FIGURES
from bids_qcm.bids.results import Result, read_sidecar
from bids_qcm.bids.sidecar_schema import GroupMapSidecar, InSpace
from bids_qcm.grids import Grid
from bids_qcm.statistics import RunningMoments

# NIfTI code for coordinates of a template.
_TEMPLATE_CODE = 4

_CONTENTS = {
    "Mean": ("Mean conductivity over the participants", "S/m"),
    "Sd": ("Standard deviation of the conductivity between participants (n - 1)", "S/m"),
    "N": ("Number of participants with a valid value", "1"),
    "Cv": ("Standard deviation between participants divided by the mean", "1"),
}


GROUP_MAP_FILES = (
    *(
        f"tpl-*/anat/tpl-*_desc-*{name}_condmap.{extension}"
        for name in _CONTENTS
        for extension in ("nii.gz", "json")
    ),
    f"tpl-*/{FIGURES}/tpl-*_desc-*Mean_figure.png",
)
"""Patterns of the files of all group maps and of their figures."""


@dataclass(frozen=True)
class GroupMap:
    """Maps of a group in a template space, for one method and one kind of acquisition.

    Attributes
    ----------
    template, method, kind : str
        Template label, method name, and entities of the acquisition.
    n_participants, n_maps : int
        Number of participants, and number of their maps.
    files : mapping of str to Path
        Files, keyed by ``Mean``, ``Sd``, ``N`` and ``Cv``.
    """

    template: str
    method: str
    kind: str
    n_participants: int
    n_maps: int
    files: Mapping[str, Path]


class _Source(NamedTuple):
    """A resampled map, and the participant that it belongs to."""

    participant: str
    path: Path


class _Group(NamedTuple):
    """Attributes that all maps of a group share."""

    template: str
    kind: str
    method: str
    desc: str


def write_group_maps(
    output_dir: Path, results: Sequence[Result], damaged: list[InputError]
) -> list[GroupMap]:
    """Write mean, standard deviation, number and coefficient of variation in each template space.

    The maps from ``--output-spaces`` are read one at a time. All maps of a participant are
    averaged first, so that the number in each voxel is the number of participants.

    Parameters
    ----------
    output_dir : Path
        Derivative dataset.
    results : sequence of Result
        Results of all participants.
    damaged : list of InputError
        List to which an error is added for each map that cannot be read or has a different grid
        from most maps. Such a map is left out.

    Returns
    -------
    list of GroupMap
        Empty if there is no map in a template space. The maps are 0 outside all masks, and NaN
        where there are too few values: one for the mean, two for the standard deviation. The number
        has no NaN.
    """
    groups: dict[_Group, list[_Source]] = {}
    for result in results:
        for one in result.maps:
            for template, path in one.in_spaces.items():
                if template != NATIVE:
                    group = _Group(template, result.kind, one.method, one.desc)
                    groups.setdefault(group, []).append(_Source(result.participant, path))
    written = [
        _write(output_dir, group, sorted(groups[group]), damaged) for group in sorted(groups)
    ]
    return [one for one in written if one is not None]


def _write(
    output_dir: Path, group: _Group, sources: Sequence[_Source], damaged: list[InputError]
) -> GroupMap | None:
    """Write the maps of a group; return None if no map can be read."""
    grid, sources = _on_common_grid(sources, damaged)
    moments, inside = RunningMoments(grid.shape), np.zeros(grid.shape, np.bool_)
    n_participants, used = 0, []
    for _, of_participant in groupby(sources, key=attrgetter("participant")):
        mean, paths = _mean(inside, [one.path for one in of_participant], damaged)
        if paths:
            moments.add(mean)
            used += paths
            n_participants += 1
    if not used:
        return None
    reference = read_sidecar(used[0], InSpace).spatial_reference
    files = {}
    for name, values in _maps(moments, inside).items():
        description, units = _CONTENTS[name]
        sidecar = GroupMapSidecar(
            description=description,
            units=units,
            sources=[bids_uri(path, {"": output_dir}) for path in used],
            method=group.method,
            spatial_reference=reference,
            number_of_participants=n_participants,
            number_of_maps=len(used),
        )
        path = files[name] = _path(output_dir, group, name)
        codes = (_TEMPLATE_CODE, _TEMPLATE_CODE)
        save_with_sidecar(path, values, grid.affine, sidecar.to_dict(), codes)
    return GroupMap(group.template, group.method, group.kind, n_participants, len(used), files)


def _path(output_dir: Path, group: _Group, name: str) -> Path:
    start = "_".join(filter(None, [f"tpl-{group.template}", group.kind]))
    folder = output_dir / f"tpl-{group.template}" / "anat"
    return folder / f"{start}_{join_name({'desc': group.desc + name}, 'condmap')}.nii.gz"


def _on_common_grid(
    sources: Sequence[_Source], damaged: list[InputError]
) -> tuple[Grid, list[_Source]]:
    """Return the grid of most maps, and the maps on this grid."""
    grids: list[Grid] = []
    on_grids: list[list[_Source]] = []
    for source in sources:
        try:
            grid = read_grid(source.path)
        except InputError as error:
            damaged.append(error)
            continue
        number = next((n for n, one in enumerate(grids) if one.matches(grid)), len(grids))
        if number == len(grids):
            grids.append(grid)
            on_grids.append([])
        on_grids[number].append(source)
    if not grids:
        return Grid((0, 0, 0), np.eye(4)), []
    best = max(range(len(grids)), key=lambda number: len(on_grids[number]))
    for number, others in enumerate(on_grids):
        damaged += [
            InputError(
                one.path,
                f"has a different grid from most maps in this space (shape {grids[number].shape} "
                f"instead of {grids[best].shape}, or a different affine)",
                "compute the maps of all participants with the same template",
            )
            for one in others
            if number != best
        ]
    return grids[best], on_grids[best]


def _mean(
    inside: NDArray[np.bool_], paths: Sequence[Path], damaged: list[InputError]
) -> tuple[NDArray[np.float64], list[Path]]:
    """Return the mean of a participant's maps, NaN outside the masks, and the paths of these maps.

    The voxels in the masks of these maps are added to `inside`.
    """
    moments, used = RunningMoments(inside.shape), []
    for path in paths:
        try:
            values = read_values(path)
        except InputError as error:
            damaged.append(error)
            continue
        inside |= values != 0
        moments.add(np.where(values == 0, np.float32(np.nan), values))
        used.append(path)
    return moments.mean, used


def _maps(moments: RunningMoments, inside: NDArray[np.bool_]) -> dict[str, NDArray[np.float32]]:
    """Return the maps of a group, keyed by the suffix of their ``desc`` label."""
    mean, sd, n = moments.mean, moments.sd, moments.n
    ratio = np.divide(sd, mean, out=np.full_like(sd, np.nan), where=mean > 0)
    maps: dict[str, NDArray[Any]] = {"Mean": mean, "Sd": sd, "N": n, "Cv": ratio}
    return {name: np.where(inside, one, 0).astype(np.float32) for name, one in maps.items()}
