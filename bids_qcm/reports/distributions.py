"""Histograms of conductivity in tissues."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bids_qcm.reports.colours import literal, tissue_colours

_RANGE = (-0.5, 3.0)
_BINS = 105
_SIZE_INCHES = (8.0, 3.0)
_INSIDE = (0.09, 0.17, 0.89, 0.78)


def draw_distributions(
    tissues: Mapping[str, NDArray[np.floating]], literature: Mapping[str, float]
) -> Figure:
    """Draw histograms of the conductivity in tissues.

    Parameters
    ----------
    tissues : mapping of str to ndarray of float
        Conductivity in S/m of the voxels of each tissue; invalid where not finite.
    literature : mapping of str to float
        Literature values of the conductivity in S/m, for the tissues that have such a value.

    Returns
    -------
    Figure
        Densities of the valid voxels from -0.5 to 3 S/m. The area of a histogram is the fraction
        of valid voxels in this range. Dotted lines mark the literature values.
    """
    figure = Figure(figsize=_SIZE_INCHES)
    # The axes have a fixed position, because a layout engine would take most of the run time.
    axes = figure.add_axes(_INSIDE)
    edges = np.linspace(*_RANGE, _BINS + 1)
    colours = tissue_colours(list(tissues))
    for name, values in tissues.items():
        valid = values[np.isfinite(values)]
        if valid.size:
            counts, _ = np.histogram(valid, edges)
            density = counts / (valid.size * (edges[1] - edges[0]))
            axes.stairs(density, edges, color=colours[name], fill=True, alpha=0.25)
            axes.stairs(density, edges, color=colours[name], linewidth=1.3, label=literal(name))
        if name in literature:
            axes.axvline(literature[name], color=colours[name], linestyle=":", linewidth=1.6)
    axes.set_xlim(_RANGE)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("conductivity, S/m")
    axes.set_ylabel("density, per S/m")
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize="small")
    return figure
