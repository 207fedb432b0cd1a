"""Figures that compare conductivity maps with each other or with the true conductivity."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.checks.plausible import PLAUSIBLE
from bids_qcm.recon import METHODS
from bids_qcm.recon.methods import Method
from bids_qcm.reports.colours import (
    IMPLAUSIBLE,
    INVALID,
    colour_scale,
    conductivity_scale,
    draw_scale,
    literal,
    paint,
)
from bids_qcm.reports.mosaic import Mosaic

LARGEST_ERROR = 1.0
"""Upper end of the symmetric colour scale of errors in S/m."""

_EDGES = {
    (False, False): "no edges",
    (True, False): "magnitude",
    (False, True): "segmentation",
    (True, True): "both",
}
_COLUMNS = ("finite difference", *_EDGES.values())

_PANEL_INCHES = (1.9, 2.5)
_HEADING_INCHES = 0.35
_LINE_INCHES = 0.25
_SCALE_INCHES = 0.95
_PAGE_INCHES = 10.0
_COMPARISON_MARGIN_MM = 2.0

# If a figure has more columns, the three slices of a map are below each other.
_MOST_COLUMNS_OF_ROWS = 2


@dataclass(frozen=True, eq=False)
class MapSlice:
    """A slice of a conductivity map.

    Attributes
    ----------
    values : ndarray of float, shape (X, Y)
        Conductivity in S/m; invalid where not finite.
    mae : float
        Mean absolute error of the map in S/m.
    """

    values: NDArray[np.floating]
    mae: float


def arrange(methods: Iterable[str]) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Arrange methods in rows and columns, as in the method table of the documentation.

    Parameters
    ----------
    methods : iterable of str
        Names of the methods.

    Returns
    -------
    places : dict of str to (int, int)
        Row and column of each method. Each family of methods has a row, in the order of the method
        table, and the integral methods with inverse-variance weights have a separate row. Each type
        of edge preservation has a column. Names that are not in the method table follow in
        additional rows. Empty rows and columns are left out.
    headings : list of str
        Headings of the columns; empty if a name is not in the method table.
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
    groups = dict.fromkeys((one.form, one.weighs_pairs) for one in METHODS.values())
    row = list(groups).index((method.form, method.weighs_pairs))
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
    """Draw one slice of several maps, their errors and the true conductivity.

    Parameters
    ----------
    maps : mapping of str to MapSlice
        Slices, keyed by method name; see :func:`arrange`.
    truth : ndarray of float, shape (X, Y)
        True conductivity in S/m.
    brain : ndarray of bool, shape (X, Y)
        Pixels to show. X runs from left to right and Y from bottom to top.
    pixel_size : tuple of 2 floats
        Pixel size in mm.
    title : str

    Returns
    -------
    Figure
        Each error is below its map, and the true conductivity is in the last column. Conductivity
        is shown from 0 to 2.2 S/m, and errors (map minus truth) from -1 to 1 S/m. Values outside
        these limits have the colour at the end of the scale. Invalid voxels are green.
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
    conductivity = conductivity_scale()
    error = colour_scale("RdBu_r", -LARGEST_ERROR, LARGEST_ERROR)
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
    draw_scale(legend, 0.75, conductivity, "conductivity, S/m")
    draw_scale(legend, 0.4, error, "error, S/m")
    if any(not np.isfinite(one.values[brain]).all() for one in maps.values()):
        legend.legend(handles=[Patch(color=INVALID, label="invalid")], loc="lower center")
    legend.set_axis_off()
    return figure


@dataclass(frozen=True, eq=False)
class _View:
    """A view of slices that is cropped to the brain and white outside it."""

    brain: NDArray[np.bool_]
    pixel_size: tuple[float, float]

    def show(self, axes: Axes, values: NDArray[np.floating], scale: ScalarMappable) -> None:
        colours = paint(values, self.brain, scale)
        (box,) = ndimage.find_objects(self.brain.astype(np.uint8))
        width, height = self.pixel_size
        axes.imshow(
            colours[box].swapaxes(0, 1),
            origin="lower",
            aspect=height / width,
            interpolation="nearest",
        )
        axes.set_axis_off()


class MethodComparison:
    """A figure of the same slices of several maps with one colour scale.

    The maps are arranged by :func:`arrange`, unless rows of equal length require fewer rows. Each
    map is shown in an axial, a coronal and a sagittal slice.

    Parameters
    ----------
    methods : sequence of str
        Names of the methods whose maps are drawn.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels to show, in RAS+ orientation.
    affine : ndarray, shape (4, 4)
        Maps voxel indices to mm.

    Attributes
    ----------
    figure : Figure
        Conductivity from 0 to 2.2 S/m. Invalid voxels and voxels with implausible conductivity
        have separate colours.
    """

    def __init__(
        self, methods: Sequence[str], mask: NDArray[np.bool_], affine: NDArray[np.floating]
    ) -> None:
        self._mask = mask
        self._places, headings = _arrange_compactly(methods)
        n_rows = 1 + max(row for row, _ in self._places.values())
        self._n_columns = 1 + max(column for _, column in self._places.values())
        # slices next to each other would be too small in narrow columns
        self._mosaic = Mosaic(
            mask,
            affine,
            1,
            _PAGE_INCHES / self._n_columns,
            margin=_COMPARISON_MARGIN_MM,
            in_one_row=self._n_columns <= _MOST_COLUMNS_OF_ROWS,
        )
        self._row_inches = (
            _LINE_INCHES + self._mosaic.width_inches * self._mosaic.height / self._mosaic.width
        )
        self._headings_inches = _LINE_INCHES if headings else 0
        height = self._headings_inches + n_rows * self._row_inches + _SCALE_INCHES
        self.figure = Figure(figsize=(_PAGE_INCHES, height))
        for column, heading in enumerate(headings):
            _write_heading(self._axes(column, 0, _LINE_INCHES), heading)
        self._scale = conductivity_scale()
        self._draw_legend()

    def draw(self, method: str, conductivity: NDArray[np.floating]) -> None:
        """Draw a map; conductivity in S/m, shape (X, Y, Z), invalid where not finite."""
        row, column = self._places[method]
        top = self._headings_inches + row * self._row_inches
        axes = self._axes(column, top + _LINE_INCHES, self._row_inches - _LINE_INCHES)
        axes.set_title(literal(method), fontsize="medium", pad=3)
        self._mosaic.prepare(axes)
        colour = partial(paint, scale=self._scale, mark_implausible=True)
        self._mosaic.show(axes, colour, conductivity, self._mask)

    def _axes(self, column: int, top: float, height: float) -> Axes:
        """Return axes at a distance from the top of the figure, in inches."""
        whole = self.figure.get_figheight()
        width = 1 / self._n_columns
        return self.figure.add_axes(
            (column * width, 1 - (top + height) / whole, width, height / whole)
        )

    def _draw_legend(self) -> None:
        legend = self.figure.add_axes((0.2, 0, 0.6, _SCALE_INCHES / self.figure.get_figheight()))
        draw_scale(legend, 0.85, self._scale, "conductivity, S/m", extend="max")
        low, high = PLAUSIBLE
        marks = {INVALID: "invalid", IMPLAUSIBLE: f"< {low:g} or > {high:g} S/m"}
        legend.legend(
            handles=[Patch(color=colour, label=label) for colour, label in marks.items()],
            loc="lower center",
            ncols=2,
            frameon=False,
        )
        legend.set_axis_off()


def _arrange_compactly(methods: Sequence[str]) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Return the arrangement of :func:`arrange`, or rows of equal length if these are fewer."""
    places, headings = arrange(methods)
    n_rows = 1 + max(row for row, _ in places.values())
    if math.ceil(len(methods) / len(_COLUMNS)) == n_rows:
        return places, headings
    width = math.ceil(len(methods) / math.ceil(len(methods) / len(_COLUMNS)))
    return {name: divmod(index, width) for index, name in enumerate(methods)}, []


def _write_heading(axes: Axes, text: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", fontweight="bold")
