"""Draw the figures of an acquisition from the files in the derivative dataset."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bids_qcm.bids.anatomy.label_tables import read_names
from bids_qcm.bids.images import read_grid, read_integers, read_values, to_canonical
from bids_qcm.bids.results import MapResult, Result
from bids_qcm.grids import Volume
from bids_qcm.phase.unwrapping import wrap
from bids_qcm.reports.colours import TEMPLATE_OUTLINES, tissue_colours
from bids_qcm.reports.comparison import draw_methods
from bids_qcm.reports.distributions import draw_distributions
from bids_qcm.reports.figures import (
    draw_b1,
    draw_map,
    draw_mask,
    draw_phase,
    draw_space,
    draw_tissues,
)
from bids_qcm.reports.mosaic import drawn_axes
from bids_qcm.reports.saving import save_png, save_svg
from bids_qcm.segmentation.template import is_mni152, template_regions

_Scalar = TypeVar("_Scalar", bound=np.generic)

_GRAY = ("mask", "tissues")


@dataclass(frozen=True)
class Drawn:
    """The figure files of an acquisition.

    Attributes
    ----------
    shared : mapping of str to Path
        Figures of the acquisition by name: ``mask``, ``phase``, ``tissues``, ``b1`` and
        ``comparison``. Figures whose images are missing are left out.
    maps, distributions : mapping of str to Path
        Figures of each map, keyed by method.
    spaces : mapping of str to Path
        Figures of the first map in other spaces, keyed by the label of the space.
    """

    shared: Mapping[str, Path]
    maps: Mapping[str, Path]
    distributions: Mapping[str, Path]
    spaces: Mapping[str, Path]


def draw_result(result: Result, folder: Path) -> Drawn:
    """Draw all figures of an acquisition, and remove its older figures.

    Parameters
    ----------
    result : Result
    folder : Path
        Folder to write the figures to.

    Returns
    -------
    Drawn
    """
    stem = f"{result.source}_desc-"
    before = set(folder.glob(f"{stem}*_figure.*"))
    volumes = _Volumes(result)
    shared = {}
    for name, figure in volumes.draw_shared():
        shared[name] = folder / f"{stem}{name}_figure.png"
        save_png(figure, shared[name], gray=name in _GRAY)
    maps, distributions, slices = {}, {}, {}
    for one in result.maps:
        conductivity = volumes.read(one.condmap)
        maps[one.method] = folder / f"{stem}{one.desc}_figure.png"
        save_png(volumes.draw_map(one, conductivity), maps[one.method])
        distributions[one.method] = folder / f"{stem}{one.desc}Distribution_figure.svg"
        save_svg(volumes.draw_distributions(conductivity), distributions[one.method])
        # A view would keep the whole map in memory, so the slice is copied.
        slices[one.method] = volumes.widest_slice(conductivity).copy()
    if len(slices) > 1:
        shared["comparison"] = folder / f"{stem}comparison_figure.png"
        save_png(volumes.draw_comparison(slices), shared["comparison"])
    spaces = {}
    for space, path in result.maps[0].in_spaces.items():
        spaces[space] = folder / f"{stem}space{space}_figure.png"
        save_png(_draw_space(space, path, result), spaces[space])
    drawn = Drawn(shared, maps, distributions, spaces)
    written = {path for paths in vars(drawn).values() for path in paths.values()}
    for old in before - written:
        old.unlink()
    return drawn


def _draw_space(space: str, path: Path, result: Result) -> Figure:
    """Draw a map in another space, with the outline of the template or of the tissues."""
    labels_path, grid = result.segmentation_in_spaces.get(space), read_grid(path)
    regions: dict[str, NDArray[np.bool_]] = {}
    if is_mni152(space):
        regions = template_regions(grid)
        colours = dict(zip(regions, TEMPLATE_OUTLINES, strict=True))
    else:
        if labels_path is not None:
            labels, names = read_integers(labels_path), read_names(result.tissue_names)
            present = np.unique(labels).tolist()
            regions = {name: labels == one for one, name in names.items() if one in present}
        colours = tissue_colours(list(regions))
    shown = to_canonical(Volume(read_values(path), grid))
    outlines = {name: to_canonical(Volume(region, grid)).values for name, region in regions.items()}
    return draw_space(shown.values, outlines, colours, shown.grid.affine)


class _Volumes:
    """The volumes of an acquisition, reoriented to RAS+ for all figures."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.grid = read_grid(result.maps[0].condmap)
        mask = to_canonical(Volume(read_integers(result.mask) != 0, self.grid))
        self.mask, self.affine = mask.values, mask.grid.affine

    def read(self, path: Path) -> NDArray[np.float32]:
        return to_canonical(Volume(read_values(path), self.grid)).values

    @cached_property
    def labels(self) -> NDArray[np.int32] | None:
        path = self.result.segmentation
        if path is None:
            return None
        return to_canonical(Volume(read_integers(path), self.grid)).values

    @cached_property
    def lesions(self) -> NDArray[np.bool_] | None:
        path = self.result.lesions
        if path is None:
            return None
        return to_canonical(Volume(read_integers(path, allow_empty=True) > 0, self.grid)).values

    @cached_property
    def names(self) -> dict[int, str]:
        """Names of the tissues in the mask, by label."""
        if self.labels is None:
            return {}
        names = read_names(self.result.tissue_names)
        present = np.unique(self.labels[self.mask]).tolist()
        return {label: name for label, name in names.items() if label in present}

    def widest_slice(self, volume: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """Return the slice with the most mask voxels; axial, unless axial slices are lines."""
        index = np.moveaxis(self.mask, self.axis, 0).sum(axis=(1, 2)).argmax()
        chosen: NDArray[_Scalar] = np.take(volume, index, axis=self.axis)
        return chosen

    @property
    def axis(self) -> int:
        """Axis perpendicular to the slices of the method comparison."""
        return drawn_axes(self.mask.shape)[0]

    def draw_shared(self) -> Iterator[tuple[str, Figure]]:
        result = self.result
        if result.magnitude:
            magnitude = self.read(result.magnitude)
            yield "mask", draw_mask(magnitude, self.mask, self.affine)
            if self.labels is not None and self.names:
                arguments = (self.mask, self.labels, self.names, self.affine, self.lesions)
                yield "tissues", draw_tissues(magnitude, *arguments)
        if result.phi0:
            phi0 = self.read(result.phi0)
            sign = -1 if result.sidecar.phase_sign == "-" else 1
            # Unwrapping only adds whole cycles, so wrapping phi0 restores the phase before
            # unwrapping.
            yield "phase", draw_phase(wrap(sign * phi0), phi0, self.mask, self.affine)

        if result.b1_map:
            yield "b1", draw_b1(self.read(result.b1_map), self.mask, self.affine)

    def draw_map(self, one: MapResult, conductivity: NDArray[np.floating]) -> Figure:
        std = None if one.condstd is None else self.read(one.condstd)
        return draw_map(conductivity, std, self.mask, self.affine, self.lesions)

    def draw_distributions(self, conductivity: NDArray[np.floating]) -> Figure:
        tissues = {
            name: conductivity[self.mask & (self.labels == label)]
            for label, name in self.names.items()
        }
        return draw_distributions(
            tissues or {"whole mask": conductivity[self.mask]}, self.result.literature(tissues)
        )

    def draw_comparison(self, slices: Mapping[str, NDArray[np.floating]]) -> Figure:
        sizes = np.linalg.norm(self.affine[:3, :3], axis=0)
        width, height = np.delete(sizes, self.axis).tolist()
        return draw_methods(slices, self.widest_slice(self.mask), (width, height))
