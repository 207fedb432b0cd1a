"""Colours and their scales, the same in all figures."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba
from numpy.typing import NDArray

from bids_qcm.checks.plausible import is_implausible
from bids_qcm.segmentation.tissues import TISSUES

LARGEST_CONDUCTIVITY = 2.2
"""Upper end of the colour scale, S/m: a little more than that of cerebrospinal fluid."""

LARGEST_STD = 0.5
"""Upper end of the colour scale of standard deviations, S/m."""

INVALID = "#2fd12f"
"""Of invalid voxels; no scale has it."""

IMPLAUSIBLE = "#19c3ff"
"""Of voxels with implausible conductivity; no scale has it."""

OUTLINE = "#ff3333"
"""Of the mask's outline."""

# those of Okabe and Ito, which the colour-blind tell apart
_OF_TISSUES = {
    TISSUES["GM"].name: "#e69f00",
    TISSUES["WM"].name: "#0072b2",
    TISSUES["CSF"].name: "#009e73",
    TISSUES["SGM"].name: "#cc79a7",
}
_OF_OTHERS = ("#d55e00", "#56b4e9", "#f0e442", "#999999")


def tissue_colours(names: list[str]) -> dict[str, str]:
    """Give each tissue a colour: the common ones their own, others what is left, in turn."""
    others = [name for name in names if name not in _OF_TISSUES]
    turns = {name: _OF_OTHERS[turn % len(_OF_OTHERS)] for turn, name in enumerate(others)}
    return {name: _OF_TISSUES.get(name) or turns[name] for name in names}


def colour_scale(colours: str, low: float, high: float) -> ScalarMappable:
    """Make a scale by the name of its colour map; values that are not finite are `INVALID`."""
    return ScalarMappable(Normalize(low, high), colormaps[colours].with_extremes(bad=INVALID))


def conductivity_scale() -> ScalarMappable:
    """Make the scale of conductivity, S/m."""
    return colour_scale("inferno", 0, LARGEST_CONDUCTIVITY)


def paint(
    values: NDArray[np.floating],
    inside: NDArray[np.bool_],
    scale: ScalarMappable,
    *,
    mark_implausible: bool = False,
) -> NDArray[np.floating]:
    """Give the colours of a slice.

    Parameters
    ----------
    values : ndarray of float, shape (A, B)
    inside : ndarray of bool, shape (A, B)
        What to show; white outside.
    scale : ScalarMappable
    mark_implausible : bool
        The values are conductivities: those that no tissue has get the colour `IMPLAUSIBLE`.

    Returns
    -------
    ndarray of float, shape (A, B, 4)
    """
    colours = scale.to_rgba(np.ma.masked_invalid(values))
    if mark_implausible:
        colours[is_implausible(values)] = to_rgba(IMPLAUSIBLE)
    colours[~inside] = 1
    return colours


def draw_scale(
    axes: Axes, height: float, scale: ScalarMappable, label: str, **options: str
) -> None:
    """Draw a horizontal colour bar into axes, `height` being its place from 0 to 1."""
    axes.figure.colorbar(
        scale,
        cax=axes.inset_axes((0.05, height, 0.9, 0.06)),
        orientation="horizontal",
        label=label,
        **{"extend": "both", **options},
    )
