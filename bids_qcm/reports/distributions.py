"""Histograms of conductivity in tissues."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bids_qcm.reports.colours import literal, tissue_colours

_RANGE = (-0.5, 3.0)
_BINS = 105
_EDGES = np.linspace(*_RANGE, _BINS + 1)

_WIDTH_INCHES = 10.0
_ROW_INCHES = 0.32
_TITLE_INCHES = 0.3
_AXIS_INCHES = 0.5
_NAMES_INCHES = 1.5
_GAP_INCHES = 0.15

# Height of the highest histogram, relative to the distance between rows.
_HIGHEST = 0.95


def density_of(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the histogram of conductivities from -0.5 to 3 S/m as densities.

    Parameters
    ----------
    values : ndarray of float
        Conductivity in S/m; invalid where not finite.

    Returns
    -------
    ndarray of float, shape (105,)
        Densities per S/m. The area of the histogram is the fraction of valid voxels in this range.
    """
    valid = values[np.isfinite(values)]
    counts, _ = np.histogram(valid, _EDGES)
    density: NDArray[np.floating] = counts / (max(1, valid.size) * np.diff(_EDGES))
    return density


def draw_distributions(
    densities: Mapping[str, Mapping[str, NDArray[np.floating]]], literature: Mapping[str, float]
) -> Figure:
    """Draw a histogram for each method and tissue.

    Parameters
    ----------
    densities : mapping of str to mapping of str to ndarray of float, shape (105,)
        Histograms from :func:`density_of`, keyed by method and tissue. All methods have the same
        tissues.
    literature : mapping of str to float
        Literature values of the conductivity in S/m, for the tissues that have such a value.

    Returns
    -------
    Figure
        A row for each method, and axes for each tissue. All histograms of a tissue have the same
        scale. Dotted lines mark the literature values.
    """
    tissues = list(next(iter(densities.values())))
    rows = _ROW_INCHES * len(densities)
    height = _TITLE_INCHES + rows + _AXIS_INCHES
    width = (_WIDTH_INCHES - _NAMES_INCHES) / len(tissues)
    figure = Figure(figsize=(_WIDTH_INCHES, height))
    colours = tissue_colours(tissues)
    for number, tissue in enumerate(tissues):
        # The axes have a fixed position, because a layout engine would take most of the run time.
        axes = figure.add_axes(
            (
                (_NAMES_INCHES + number * width) / _WIDTH_INCHES,
                _AXIS_INCHES / height,
                (width - _GAP_INCHES) / _WIDTH_INCHES,
                rows / height,
            )
        )
        _draw_rows(axes, [of_method[tissue] for of_method in densities.values()], colours[tissue])
        if tissue in literature:
            axes.axvline(literature[tissue], color="black", linestyle=":", linewidth=1.2)
        axes.set_title(literal(tissue), fontsize="medium", pad=4)
        axes.set_xlabel("S/m")
        names = list(densities) if number == 0 else []
        axes.set_yticks(-np.arange(len(names)), [literal(name) for name in names])
    return figure


def _draw_rows(axes: Axes, densities: list[NDArray[np.floating]], colour: str) -> None:
    """Draw histograms below each other, the first at the height 0, the next at -1, and so on."""
    highest = max(density.max() for density in densities) or 1.0
    for row, density in enumerate(densities):
        curve = _HIGHEST * density / highest - row
        axes.stairs(curve, _EDGES, baseline=-row, color=colour, fill=True, alpha=0.6)
        axes.axhline(-row, color="0.8", linewidth=0.6)
    axes.set_xlim(_RANGE)
    axes.set_ylim(-len(densities) + 0.9, 1.05)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
