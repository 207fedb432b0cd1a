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
from bids_qcm.recon.methods import Method

LARGEST_CONDUCTIVITY = 2.2
"""Upper end of the colour scale, S/m: a little more than that of cerebrospinal fluid."""

LARGEST_ERROR = 1.0
"""Both ends of the colour scale of errors, S/m."""

_INVALID = "#2fd12f"
"""Colour of invalid voxels; neither scale has it."""

# Form, and whether it weighs pairs.
_ROWS = (("laplacian", False), ("integral", False), ("integral", True), ("inversion", False))
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


def arrange(methods: Iterable[str]) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Arrange methods as the table of the documentation does.

    Parameters
    ----------
    methods : iterable of str
        Names.

    Returns
    -------
    places : dict of str to (int, int)
        Row and column. The Laplacian forms are above the integral forms, below which are the ones
        with weighted pairs and the inversions; the column tells what preserves edges. Names that
        are not in the table follow in further rows. There is neither an empty row nor an empty
        column.
    headings : list of str
        Of the columns; none if there are other names in them.
    """
    methods = list(methods)
    in_table = {name: _place(METHODS[name]) for name in methods if name in METHODS}
    others = [name for name in methods if name not in METHODS]
    rows = sorted({row for row, _ in in_table.values()})
    columns = sorted({column for _, column in in_table.values()})
    places = {
        name: (rows.index(row), columns.index(column)) for name, (row, column) in in_table.items()
    }
    width = len(columns) or len(_COLUMNS)
    for index, name in enumerate(others):
        places[name] = len(rows) + index // width, index % width
    return places, [] if others else [_COLUMNS[column] for column in columns]


def _place(method: Method) -> tuple[int, int]:
    row = _ROWS.index((method.form, method.weighs_pairs))
    if method.derivative == "finite-difference":
        return row, 0
    return row, _COLUMNS.index(_EDGES[method.uses_magnitude, method.uses_labels])


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
        By the name of the method, see :func:`arrange`.
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
    places, headings = arrange(maps)
    n_rows = 2 * (1 + max(row for row, _ in places.values()))
    n_columns = 2 + max(column for _, column in places.values())
    width, height = _PANEL_INCHES
    figure = Figure(
        figsize=(width * n_columns, height * n_rows + 2 * _HEADING_INCHES), layout="constrained"
    )
    figure.suptitle(title, wrap=True)
    grid = figure.add_gridspec(
        1 + n_rows, n_columns, height_ratios=[_HEADING_INCHES, *[height] * n_rows]
    )
    view = _View(brain, pixel_size)
    conductivity = _scale("inferno", 0, LARGEST_CONDUCTIVITY)
    error = _scale("RdBu_r", -LARGEST_ERROR, LARGEST_ERROR)
    for column, heading in enumerate(headings):
        _write_heading(figure.add_subplot(grid[0, column]), heading)
    for name, one in maps.items():
        row, column = places[name]
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
