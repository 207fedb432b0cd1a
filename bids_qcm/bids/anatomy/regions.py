"""Plan the segmentations and atlases for regional statistics, and resample their labels."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.anatomy.alignments import Alignment, plan_alignment, resampled_files
from bids_qcm.bids.anatomy.auxiliary import NATIVE, AuxiliaryImage, named_space
from bids_qcm.bids.anatomy.datasets import SearchedDatasets
from bids_qcm.bids.anatomy.label_tables import read_names
from bids_qcm.bids.anatomy.search import find_regions
from bids_qcm.bids.anatomy.segmentations import label_table
from bids_qcm.bids.anatomy.spaces import require_t1w
from bids_qcm.bids.anatomy.transforms import check_steps, find_steps, own_first
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_integers
from bids_qcm.bids.names import parse_name, stem
from bids_qcm.grids import Grid, Volume
from bids_qcm.segmentation.resampling import PointMap, resample_nearest
from bids_qcm.settings import SHIPPED_TEMPLATE, Atlas, Settings


@dataclass(frozen=True)
class Regions:
    """A segmentation or atlas for regional statistics.

    Attributes
    ----------
    name : str
        Name in region tables, such as ``aparcaseg``.
    image : AuxiliaryImage
        Labels of the regions.
    alignment : Alignment
        How the labels are resampled to the grid of the phase.
    of_option : bool
        Whether the labels are an atlas from ``--atlas``.
    table : Path or None
        Label table that overrides all other tables.
    """

    name: str
    image: AuxiliaryImage
    alignment: Alignment
    of_option: bool = False
    table: Path | None = None

    @property
    def files(self) -> list[Path]:
        """Images, transforms and label tables from which the regions are computed."""
        tables = [self.table or self.image.table]
        images = resampled_files(self.image, self.alignment)
        return [*images, *filter(None, [self.alignment.template_t1w, *tables])]


@dataclass(frozen=True)
class FoundRegions:
    """Outcome of the search for regions.

    Attributes
    ----------
    regions : tuple of Regions
        All regions that need a registration share one anatomical image.
    refused : dict of str to str
        Atlases that cannot be used, with the reason.
    warnings : tuple of str
    """

    regions: tuple[Regions, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def plan_regions(
    acquisition: Acquisition,
    grid: Grid,
    datasets: SearchedDatasets,
    settings: Settings,
    *,
    tissues: AuxiliaryImage | None = None,
    anatomical: Path | None = None,
    headers_only: bool = False,
) -> FoundRegions:
    """Find the segmentation with the most regions, and check the atlases from ``--atlas``.

    Parameters
    ----------
    acquisition : Acquisition
    grid : Grid
        Grid of the phase.
    datasets : SearchedDatasets
    settings : Settings
    tissues : AuxiliaryImage, optional
        Segmentation into tissues. ``--label-table`` defines its labels, so the table is used for
        the regions only if they are in the same file.
    anatomical : Path, optional
        Anatomical image that is registered for other purposes.
    headers_only : bool
        Whether to skip the checks that need the voxel values.

    Returns
    -------
    FoundRegions
    """
    regions: list[Regions] = []
    refused, warnings = {}, []
    derivatives = datasets.derivatives
    if settings.segmentation not in ("none", "t1w"):
        try:
            image = find_regions(
                acquisition, grid, datasets.segmentation, settings.segmentation_filters
            )
            if image is not None:
                alignment, _ = plan_alignment(image, acquisition, grid, derivatives, settings)
                same = tissues is not None and tissues.paths == image.paths
                table = settings.label_table if same else None
                one = Regions(image.regions, image, alignment, table=table)
                _check(one, headers_only=headers_only)
                regions.append(one)
        except InputError as error:
            warnings.append(
                f"{acquisition.name}: no statistics were computed for the regions of a "
                f"segmentation: {error}"
            )
    atlases = [atlas for atlas in settings.atlases if _is_of(atlas, acquisition)]
    for atlas in atlases:
        try:
            _check_name(atlas, atlases)
            image = AuxiliaryImage((atlas.path,), atlas.path.parent, space=_space(atlas))
            alignment, found = _plan_atlas(image, acquisition, grid, derivatives, settings)
            one = Regions(atlas.name, image, alignment, of_option=True, table=atlas.table)
            _check(one, headers_only=headers_only)
            regions.append(one)
            warnings += found
        except InputError as error:
            refused[f"--atlas {atlas.name}"] = f"--atlas {atlas.name}: {error}"
    return FoundRegions(_with_one_anatomical(regions, anatomical), refused, tuple(warnings))


def _plan_atlas(
    image: AuxiliaryImage,
    acquisition: Acquisition,
    grid: Grid,
    datasets: Sequence[Path],
    settings: Settings,
) -> tuple[Alignment, list[str]]:
    """Return the alignment of an atlas, if necessary by registration to nilearn's template."""
    searched = own_first(image.dataset, datasets)
    if (
        image.space != SHIPPED_TEMPLATE
        or image.grid.matches(grid)
        or find_steps(acquisition.suffix, image.space, acquisition, searched) is not None
        or find_steps(NATIVE, image.space, acquisition, searched) is not None
    ):
        return plan_alignment(image, acquisition, grid, datasets, settings)
    t1w = require_t1w(acquisition, grid, datasets, settings)
    alignment, warnings = plan_alignment(t1w, acquisition, grid, datasets, settings)
    return replace(alignment, same_grid=False, template_t1w=t1w.path), warnings


def import_regions(
    regions: Regions, grid: Grid, point_map: PointMap | None
) -> tuple[NDArray[np.int32], dict[int, str]]:
    """Read the labels of regions and resample them to the grid of the phase.

    Parameters
    ----------
    regions : Regions
    grid : Grid
        Grid of the phase.
    point_map : callable or None
        As in :func:`~bids_qcm.bids.anatomy.segmentations.import_tissues`.

    Returns
    -------
    labels : ndarray of int32, shape of `grid`
        Label of the nearest voxel.
    names : dict of int to str
        Names of the labels that occur in `labels`.

    Raises
    ------
    InputError
        If no region lies in the field of view of the phase.
    """
    labels = read_integers(regions.image.path)
    if point_map is not None:
        labels = resample_nearest(Volume(labels, regions.image.grid), grid, point_map)
    if not labels.any():
        raise InputError(
            regions.image.path,
            "has no region in the field of view of the phase",
            "check the transforms of the atlas, or remove the atlas from --atlas"
            if regions.of_option
            else "use a segmentation of the same participant",
        )
    names = _names(regions)
    present = np.unique(labels[labels != 0]).tolist()
    return labels, {label: names.get(label, f"label {label}") for label in present}


def _names(regions: Regions) -> dict[int, str]:
    """Return the names of labels from the label table of a segmentation or an atlas."""
    if not regions.of_option:
        table = label_table(regions.image, regions.table)
        return {index: label.name for index, label in table.items()}
    table_file = regions.table or regions.image.table
    return {} if table_file is None else read_names(table_file)


def _is_of(atlas: Atlas, acquisition: Acquisition) -> bool:
    """Whether an atlas file names no participant, or the participant of an acquisition."""
    subject = acquisition.subject
    return parse_name(atlas.path.name)[0].get("sub", subject) == subject


def _check_name(atlas: Atlas, atlases: Sequence[Atlas]) -> None:
    """Check that no other atlas of an acquisition has the same name."""
    same = [one.path.name for one in atlases if one.name == atlas.name]
    if len(same) > 1:
        raise InputError(
            atlas.path,
            f"is one of several atlases with the name {atlas.name}: {', '.join(same)}",
            "give each atlas of a participant a different name",
        )


def _space(atlas: Atlas) -> str:
    """Return the space of an atlas: the user's space, or the entity in the file name."""
    # append an underscore; otherwise, the last entity of a name without a suffix would be its
    # suffix
    entities, _ = parse_name(f"{stem(atlas.path)}_")
    space = atlas.space or entities.get("space") or entities.get("tpl")
    if not space:
        raise InputError(
            atlas.path,
            'is in an unknown space, because its file name contains neither a "space" nor a "tpl" '
            "entity",
            f"name the space, for example --atlas {atlas.name}@T1w={atlas.path.name}",
        )
    return named_space(space)


def _check(regions: Regions, *, headers_only: bool) -> None:
    """Check the label table, the transforms and the labels."""
    _names(regions)
    check_steps(regions.alignment.steps)
    # raises an InputError if the image is damaged
    _ = regions.image.grid if headers_only else read_integers(regions.image.path)


def _with_one_anatomical(
    regions: Sequence[Regions], registered: Path | None
) -> tuple[Regions, ...]:
    """Align all regions that need a registration with the same anatomical image.

    All anatomical images of a participant share their coordinates, so one registration suffices.
    The image is the one that is registered anyway, otherwise the image of the first regions.
    """
    own = (one.alignment.anatomical for one in regions if one.alignment.anatomical)
    image = registered or next(own, None)
    return tuple(
        replace(one, alignment=replace(one.alignment, anatomical=image))
        if one.alignment.anatomical
        else one
        for one in regions
    )
