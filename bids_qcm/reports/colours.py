"""Colours and colour scales for all figures."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba
from numpy.typing import NDArray

from bids_qcm.checks.plausible import is_implausible
from bids_qcm.segmentation.lesions import LESION
from bids_qcm.segmentation.tissues import TISSUES

LARGEST_CONDUCTIVITY = 2.2
"""Upper end of the conductivity scale in S/m, slightly above cerebrospinal fluid."""

LARGEST_STD = 0.5
"""Upper end of the scale of standard deviations in S/m."""

LARGEST_Z = 4.0
"""End of the colour scale for differences in units of noise."""

INVALID = "#2fd12f"
"""Colour of invalid voxels, which no colour scale contains."""

IMPLAUSIBLE = "#19c3ff"
"""Colour of voxels with implausible conductivity, which no colour scale contains."""

OUTLINE = "#ff3333"
"""Colour of the mask outline."""

LESION_OUTLINE = "#ffffff"
"""Colour of the outlines of lesions on conductivity maps, lighter than brain tissue."""

TEMPLATE_OUTLINES = (OUTLINE, "#d9d9d9")
"""Colours of the outlines of a template: brain and white matter."""

# The palette of Okabe and Ito, which is suitable for colour-blind readers.
_TISSUE_COLOURS = {
    TISSUES["GM"].name: "#e69f00",
    TISSUES["WM"].name: "#0072b2",
    TISSUES["CSF"].name: "#009e73",
    TISSUES["SGM"].name: "#cc79a7",
    LESION.name: "#ff3333",
}
_OTHER_COLOURS = ("#d55e00", "#56b4e9", "#f0e442", "#999999")


def tissue_colours(names: list[str]) -> dict[str, str]:
    """Return a colour for each tissue name.

    The main tissues and lesions have fixed colours. Other tissues take the remaining colours in
    turn.
    """
    others = [name for name in names if name not in _TISSUE_COLOURS]
    turns = {name: _OTHER_COLOURS[turn % len(_OTHER_COLOURS)] for turn, name in enumerate(others)}
    return {name: _TISSUE_COLOURS.get(name) or turns[name] for name in names}


def literal(name: str) -> str:
    r"""Escape a name for matplotlib, which interprets text between dollar signs as mathematics.

    Examples
    --------
    >>> print(literal(r"$\foo$"))
    \$\foo\$
    """
    return name.replace("$", r"\$")


def colour_scale(colours: str, low: float, high: float) -> ScalarMappable:
    """Return a linear colour scale of a colour map; invalid values have the colour `INVALID`."""
    return ScalarMappable(Normalize(low, high), colormaps[colours].with_extremes(bad=INVALID))


def conductivity_scale() -> ScalarMappable:
    """Return the colour scale of conductivity in S/m."""
    return colour_scale("inferno", 0, LARGEST_CONDUCTIVITY)


def white_of(magnitude: NDArray[np.floating], mask: NDArray[np.bool_]) -> float:
    """Return the magnitude that is white: the 99.5th percentile in the mask.

    Parameters
    ----------
    magnitude : ndarray of float, shape (X, Y, Z)
    mask : ndarray of bool, shape (X, Y, Z)
        Not empty.
    """
    return float(np.percentile(magnitude[mask], 99.5))


def paint(
    values: NDArray[np.floating],
    inside: NDArray[np.bool_],
    scale: ScalarMappable,
    *,
    mark_implausible: bool = False,
) -> NDArray[np.floating]:
    """Return the colours of a slice.

    Parameters
    ----------
    values : ndarray of float, shape (A, B)
    inside : ndarray of bool, shape (A, B)
        Pixels to show; all other pixels are white.
    scale : ScalarMappable
    mark_implausible : bool
        Whether the values are conductivities, so that implausible values have the colour
        `IMPLAUSIBLE`.

    Returns
    -------
    ndarray of float, shape (A, B, 4)
        RGBA colours from 0 to 1.
    """
    colours = scale.to_rgba(np.ma.masked_invalid(values))
    if mark_implausible:
        colours[is_implausible(values)] = to_rgba(IMPLAUSIBLE)
    colours[~inside] = 1
    return colours


def draw_scale(
    axes: Axes, height: float, scale: ScalarMappable, label: str, extend: str = "both"
) -> None:
    """Draw a horizontal colour bar at a relative height (0 to 1) in the axes."""
    axes.figure.colorbar(
        scale,
        cax=axes.inset_axes((0.05, height, 0.9, 0.06)),
        orientation="horizontal",
        label=label,
        extend=extend,
    )
