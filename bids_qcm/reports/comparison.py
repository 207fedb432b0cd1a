"""A figure of conductivity maps beside the truth."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.recon import METHODS

LARGEST_CONDUCTIVITY = 2.2
"""Upper end of the colour scale, S/m: a little more than that of cerebrospinal fluid."""

LARGEST_ERROR = 1.0
"""Both ends of the colour scale of errors, S/m."""

_INVALID = "#2fd12f"
"""Colour of invalid voxels; neither scale has it."""

_ROWS = ("laplacian", "integral")
_EDGES = {
    (False, False): "no edges",
    (True, False): "magnitude",
    (False, True): "segmentation",
    (True, True): "both",
}
_COLUMNS = ("finite difference", *_EDGES.values())

_PANEL_INCHES = (1.9, 2.5)
_HEADING_INCHES = 0.35


@dataclass(frozen=True, eq=False)
class MapSlice:
    """A slice of a conductivity map.

    Attributes
    ----------
    values : ndarray of float, shape (X, Y)
        S/m; invalid where not finite.
    mae : float
        The map's mean absolute error, S/m.
    """

    values: NDArray[np.floating]
    mae: float


def arrange(methods: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Arrange methods as the table of the documentation does.

    Parameters
    ----------
    methods : iterable of str
        Names.

    Returns
    -------
    dict of str to (int, int)
        Row and column. The Laplacian forms are in row 0 and the integral forms in row 1; the column
        tells what preserves edges. Names that are not in the table follow in further rows.
    """
    places = {}
    others = 0
    for name in methods:
        method = METHODS.get(name)
        if method is None:
            row, column = divmod(others, len(_COLUMNS))
            places[name] = len(_ROWS) + row, column
            others += 1
        elif method.derivative == "finite-difference":
            places[name] = _ROWS.index(method.form), 0
        else:
            edges = _EDGES[method.uses_magnitude, method.uses_labels]
            places[name] = _ROWS.index(method.form), _COLUMNS.index(edges)
    return places


def draw_comparison(
    maps: Mapping[str, MapSlice],
    truth: NDArray[np.floating],
    brain: NDArray[np.bool_],
    pixel_size: tuple[float, float],
    title: str,
) -> Figure:
    """Draw a slice of maps, their errors underneath, and the truth beside them.

    Parameters
    ----------
    maps : mapping of str to MapSlice
        By the name of the method; arranged by :func:`arrange`, without empty rows and columns.
    truth : ndarray of float, shape (X, Y)
        True conductivity, S/m.
    brain : ndarray of bool, shape (X, Y)
        What to show; X runs from left to right and Y from bottom to top.
    pixel_size : tuple of 2 floats
        mm.
    title : str

    Returns
    -------
    Figure
        Conductivity from 0 to 2.2 S/m, errors (map less truth) from -1 to 1 S/m; what is beyond has
        the colour of the scale's end. Invalid voxels are green.
    """
    places = arrange(maps)
    rows, columns = (sorted(set(used)) for used in zip(*places.values(), strict=True))
    n_rows, n_columns = 2 * len(rows), len(columns) + 1
    width, height = _PANEL_INCHES
    figure = Figure(
        figsize=(width * n_columns, height * n_rows + 2 * _HEADING_INCHES), layout="constrained"
    )
    figure.suptitle(title)
    grid = figure.add_gridspec(
        1 + n_rows, n_columns, height_ratios=[_HEADING_INCHES, *[height] * n_rows]
    )
    view = _View(brain, pixel_size)
    conductivity = _scale("inferno", 0, LARGEST_CONDUCTIVITY)
    error = _scale("RdBu_r", -LARGEST_ERROR, LARGEST_ERROR)
    for index, column in enumerate(columns):
        _write_heading(figure.add_subplot(grid[0, index]), _COLUMNS[column])
    for name, one in maps.items():
        row, column = rows.index(places[name][0]), columns.index(places[name][1])
        above = figure.add_subplot(grid[1 + 2 * row, column])
        below = figure.add_subplot(grid[2 + 2 * row, column])
        view.show(above, one.values, conductivity)
        view.show(below, one.values - truth, error)
        above.set_title(f"{name}\n{one.mae:.3f} S/m", fontsize="medium")
    _write_heading(figure.add_subplot(grid[0, -1]), "truth")
    view.show(figure.add_subplot(grid[1, -1]), truth, conductivity)
    legend = figure.add_subplot(grid[2, -1])
    _draw_scale(legend, 0.75, conductivity, "conductivity, S/m")
    _draw_scale(legend, 0.4, error, "error, S/m")
    if any(not np.isfinite(one.values[brain]).all() for one in maps.values()):
        legend.legend(handles=[Patch(color=_INVALID, label="invalid")], loc="lower center")
    legend.set_axis_off()
    return figure


def _scale(colours: str, low: float, high: float) -> ScalarMappable:
    return ScalarMappable(Normalize(low, high), colormaps[colours].with_extremes(bad=_INVALID))


@dataclass(frozen=True, eq=False)
class _View:
    """How slices are shown: cut to the brain, and nothing outside it."""

    brain: NDArray[np.bool_]
    pixel_size: tuple[float, float]

    def show(self, axes: Axes, values: NDArray[np.floating], scale: ScalarMappable) -> None:
        colours = scale.to_rgba(np.ma.masked_invalid(values))
        colours[~self.brain] = 1
        (box,) = ndimage.find_objects(self.brain.astype(np.uint8))
        width, height = self.pixel_size
        axes.imshow(
            colours[box].swapaxes(0, 1),
            origin="lower",
            aspect=height / width,
            interpolation="nearest",
        )
        axes.set_axis_off()


def _write_heading(axes: Axes, text: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", fontweight="bold")


def _draw_scale(axes: Axes, height: float, scale: ScalarMappable, label: str) -> None:
    axes.figure.colorbar(
        scale,
        cax=axes.inset_axes((0.05, height, 0.9, 0.06)),
        orientation="horizontal",
        extend="both",
        label=label,
    )
