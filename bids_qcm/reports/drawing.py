"""Draw the figures of an acquisition from the files in the derivative dataset."""

import math
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
from bids_qcm.bids.results import Result
from bids_qcm.checks.verdict import COLOURS
from bids_qcm.grids import Volume
from bids_qcm.phase.unwrapping import wrap
from bids_qcm.reports.colours import TEMPLATE_OUTLINES, tissue_colours
from bids_qcm.reports.comparison import MethodComparison
from bids_qcm.reports.distributions import density_of, draw_distributions
from bids_qcm.reports.figures import (
    draw_b1,
    draw_map,
    draw_mask,
    draw_phase,
    draw_space,
    draw_tissues,
)
from bids_qcm.reports.saving import save_png, save_svg
from bids_qcm.reports.viewer import ViewerGrid, write_viewer
from bids_qcm.segmentation.template import is_mni152, template_regions

_Scalar = TypeVar("_Scalar", bound=np.generic)

_GRAY = ("mask", "magnitude", "tissues")


@dataclass(frozen=True)
class Drawn:
    """The figure files of an acquisition.

    Attributes
    ----------
    shared : mapping of str to Path
        Figures of the acquisition by name: ``mask``, ``magnitude`` and ``tissues``, ``wrapped``
        and ``phase``, ``b1``, ``comparison`` and ``distributions``. Figures whose images are
        missing are left out.
    maps : mapping of str to Path
        Figure of each map, keyed by method.
    spaces : mapping of str to Path
        Figures of the first map in other spaces, keyed by the label of the space.
    viewer : Path
        Page with the interactive viewer of all maps.
    noise : mapping of str to mapping of str to float
        Median of the noise standard deviation over the valid voxels in S/m, keyed by method and
        tissue, for the methods with a noise map.
    """

    shared: Mapping[str, Path]
    maps: Mapping[str, Path]
    spaces: Mapping[str, Path]
    viewer: Path
    noise: Mapping[str, Mapping[str, float]]

    @property
    def paths(self) -> set[Path]:
        """All figure files."""
        return {*self.shared.values(), *self.maps.values(), *self.spaces.values(), self.viewer}


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
    maps, together = {}, _AllMaps(volumes)
    for one in result.maps:
        conductivity = volumes.read(one.condmap)
        std = None if one.condstd is None else volumes.read(one.condstd)
        maps[one.method] = folder / f"{stem}{one.desc}_figure.png"
        save_png(volumes.draw_map(conductivity, std), maps[one.method])
        together.add(one.method, conductivity, std)
    if together.comparison is not None:
        shared["comparison"] = folder / f"{stem}comparison_figure.png"
        save_png(together.comparison.figure, shared["comparison"])
    shared["distributions"] = folder / f"{stem}distributions_figure.svg"
    save_svg(together.draw_distributions(), shared["distributions"])
    viewer = folder / f"{stem}viewer_figure.html"
    together.write_viewer(viewer)
    spaces = {}
    for space, path in result.maps[0].in_spaces.items():
        spaces[space] = folder / f"{stem}space{space}_figure.png"
        save_png(_draw_space(space, path, result), spaces[space])
    drawn = Drawn(shared, maps, spaces, viewer, together.noise)
    for old in before - drawn.paths:
        old.unlink()
    return drawn


class _AllMaps:
    """The content of the figures that show all maps together.

    The maps are added one after the other, so that only one map is in memory.
    """

    def __init__(self, volumes: "_Volumes") -> None:
        self._volumes = volumes
        self._grid = ViewerGrid(volumes.mask, volumes.affine)
        self._encoded: dict[str, dict[str, str]] = {}
        self._densities: dict[str, dict[str, NDArray[np.floating]]] = {}
        self.noise: dict[str, dict[str, float]] = {}
        methods = [one.method for one in volumes.result.maps]
        self.comparison = (
            MethodComparison(methods, volumes.mask, volumes.affine) if len(methods) > 1 else None
        )

    def add(
        self,
        method: str,
        conductivity: NDArray[np.floating],
        std: NDArray[np.floating] | None,
    ) -> None:
        tissues = self._volumes.tissues
        if self.comparison is not None:
            self.comparison.draw(method, conductivity)
        self._encoded[method] = {"conductivity": self._grid.encode_conductivity(conductivity)}
        self._densities[method] = {
            name: density_of(conductivity[inside]) for name, inside in tissues.items()
        }
        if std is not None:
            self._encoded[method]["std"] = self._grid.encode_std(std)
            self.noise[method] = {
                name: _median_of_valid(std[inside]) for name, inside in tissues.items()
            }

    def draw_distributions(self) -> Figure:
        literature = self._volumes.result.literature(self._volumes.tissues)
        return draw_distributions(self._densities, literature)

    def write_viewer(self, path: Path) -> None:
        result = self._volumes.result
        magnitude = None
        if result.magnitude:
            magnitude = self._grid.encode_magnitude(self._volumes.read(result.magnitude))
        # the viewer first shows the first map with the best verdict
        ranks = [*COLOURS, None]
        colours = {
            name: verdict.colour if verdict else None for name, verdict in result.verdicts.items()
        }
        write_viewer(
            path,
            f"Viewer of {result.name}",
            self._grid,
            self._encoded,
            magnitude,
            self._volumes.tissues,
            min(self._encoded, key=lambda name: ranks.index(colours[name])),
        )


def _median_of_valid(values: NDArray[np.floating]) -> float:
    """Return the median of the finite values; NaN without finite values."""
    valid = values[np.isfinite(values)]
    return float(np.median(valid)) if valid.size else math.nan


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

    def draw_shared(self) -> Iterator[tuple[str, Figure]]:
        result = self.result
        if result.magnitude:
            magnitude = self.read(result.magnitude)
            yield "mask", draw_mask(magnitude, self.mask, self.affine)
            if self.labels is not None and self.names:
                arguments = (self.mask, self.labels, self.names, self.affine, self.lesions)
                pair = draw_tissues(magnitude, *arguments)
                yield from zip(("magnitude", "tissues"), pair, strict=True)
        if result.phi0:
            phi0 = self.read(result.phi0)
            # Unwrapping only adds whole cycles, so wrapping phi0 restores the phase before
            # unwrapping, apart from its sign.
            pair = draw_phase(wrap(phi0), phi0, self.mask, self.affine)
            yield from zip(("wrapped", "phase"), pair, strict=True)
        if result.b1_map:
            yield "b1", draw_b1(self.read(result.b1_map), self.mask, self.affine)

    @cached_property
    def tissues(self) -> dict[str, NDArray[np.bool_]]:
        """Voxels of each tissue in the mask; of the whole mask without a segmentation."""
        found = {name: self.mask & (self.labels == label) for label, name in self.names.items()}
        return found or {"whole mask": self.mask}

    def draw_map(
        self, conductivity: NDArray[np.floating], std: NDArray[np.floating] | None
    ) -> Figure:
        return draw_map(conductivity, std, self.mask, self.affine, self.lesions)
