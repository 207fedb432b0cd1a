"""Figures of the input images and the conductivity maps of an acquisition."""

from collections.abc import Mapping
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from bids_qcm.checks.plausible import PLAUSIBLE, is_implausible
from bids_qcm.reports.colours import (
    IMPLAUSIBLE,
    INVALID,
    LARGEST_STD,
    LARGEST_Z,
    LESION_OUTLINE,
    OUTLINE,
    colour_scale,
    conductivity_scale,
    draw_scale,
    literal,
    paint,
    tissue_colours,
    white_of,
)
from bids_qcm.reports.mosaic import Mosaic

# Width of a block of slices. Two figures with one block each are side by side on the page.
_BLOCK_INCHES = 6.0
_GAP_INCHES = 0.2
# Maximum height of a block with one slice, which would otherwise fill the screen.
_MOST_INCHES = 5.0
_TITLE_INCHES = 0.25
_LEGEND_INCHES = 0.85
_SHORT_LEGEND_INCHES = 0.35
_COLUMNS = 5
_COLUMNS_OF_MAPS = 4
_MASK_MARGIN_MM = 15.0
_LEAST_B1_CONTRAST = 0.05


def draw_mask(
    magnitude: NDArray[np.floating], mask: NDArray[np.bool_], affine: NDArray[np.floating]
) -> Figure:
    """Draw the magnitude and the outline of the mask, with a margin of 15 mm around the mask.

    Parameters
    ----------
    magnitude : ndarray of float, shape (X, Y, Z)
        Magnitude in any unit. All volumes in this module are in RAS+ orientation.
    mask : ndarray of bool, shape (X, Y, Z)
    affine : ndarray, shape (4, 4)
        Maps voxel indices to mm.

    Returns
    -------
    Figure
    """
    mosaic = Mosaic(mask, affine, _COLUMNS, _BLOCK_INCHES, margin=_MASK_MARGIN_MM)
    figure, ((axes, legend),) = _blocks(mosaic, [""], _SHORT_LEGEND_INCHES)
    mosaic.show(axes, _magnitude_scale(magnitude, mask).to_rgba, magnitude)
    mosaic.outline(axes, mask, OUTLINE, 1.2)
    _write_legend(legend, {"mask": OUTLINE})
    return figure


def draw_tissues(
    magnitude: NDArray[np.floating],
    mask: NDArray[np.bool_],
    labels: NDArray[np.integer],
    names: Mapping[int, str],
    affine: NDArray[np.floating],
    lesions: NDArray[np.bool_] | None = None,
) -> tuple[Figure, Figure]:
    """Draw the magnitude without and with the outlines of the tissues.

    Parameters
    ----------
    magnitude, mask, affine
        As in :func:`draw_mask`.
    labels : ndarray of int, shape (X, Y, Z)
        Tissue labels; 0 is not a tissue.
    names : mapping of int to str
        Tissue names by label. Tissues without a voxel in the mask are not drawn.
    lesions : ndarray of bool, shape (X, Y, Z), optional
        Lesions through which slices are drawn.

    Returns
    -------
    without, with_outlines : Figure
        Figures with the same size, slices and gray scale.
    """
    mosaic = Mosaic(mask, affine, _COLUMNS, _BLOCK_INCHES, through=lesions)
    scale = _magnitude_scale(magnitude, mask)
    plain, ((axes, _),) = _blocks(mosaic, ["magnitude"], _SHORT_LEGEND_INCHES)
    mosaic.show(axes, scale.to_rgba, magnitude)
    outlined, ((axes, legend),) = _blocks(mosaic, ["tissues"], _SHORT_LEGEND_INCHES)
    mosaic.show(axes, scale.to_rgba, magnitude)
    present = {label: names[label] for label in np.unique(labels[mask]).tolist() if label != 0}
    colours = tissue_colours(list(present.values()))
    for label, name in present.items():
        mosaic.outline(axes, labels == label, colours[name], 0.7)
    _write_legend(legend, colours)
    return plain, outlined


def draw_phase(
    wrapped: NDArray[np.floating],
    phi0: NDArray[np.floating],
    mask: NDArray[np.bool_],
    affine: NDArray[np.floating],
) -> tuple[Figure, Figure]:
    """Draw the phase at echo time zero before and after unwrapping.

    Parameters
    ----------
    wrapped, phi0 : ndarray of float, shape (X, Y, Z)
        Phase before and after unwrapping, in rad, with the same sign.
    mask, affine
        As in :func:`draw_mask`.

    Returns
    -------
    before, after : Figure
        Figures with the same size, slices and colour scale. Pixels without a wrap therefore have
        the same colour in both figures.
    """
    percentiles = [np.percentile(values[mask], (1, 99)) for values in (wrapped, phi0)]
    scale = colour_scale("viridis", np.min(percentiles), np.max(percentiles))
    mosaic = Mosaic(mask, affine, _COLUMNS, _BLOCK_INCHES)

    def draw(title: str, values: NDArray[np.floating]) -> Figure:
        figure, ((axes, legend),) = _blocks(mosaic, [title])
        _show_inside(mosaic, axes, values, mask, scale)
        draw_scale(legend, 0.8, scale, "rad", extend="both")
        return figure

    return draw("before unwrapping", wrapped), draw("unwrapped: phi0", phi0)


def draw_b1(
    b1_map: NDArray[np.floating], mask: NDArray[np.bool_], affine: NDArray[np.floating]
) -> Figure:
    """Draw a ``|B1+|`` map relative to its median over the mask.

    Parameters
    ----------
    b1_map : ndarray of float, shape (X, Y, Z)
        Map in any unit.
    mask, affine
        As in :func:`draw_mask`.

    Returns
    -------
    Figure
    """
    relative = b1_map / np.median(b1_map[mask])
    low, high = np.percentile(relative[mask], (1, 99))
    # The scale is symmetric about 1. Its minimum range prevents the noise of a nearly constant map
    # from filling the whole colour scale.
    half = max(high - 1, 1 - low, _LEAST_B1_CONTRAST)
    scale = colour_scale("coolwarm", 1 - half, 1 + half)
    mosaic = Mosaic(mask, affine, _COLUMNS, _BLOCK_INCHES)
    figure, ((axes, legend),) = _blocks(mosaic, [""])
    _show_inside(mosaic, axes, relative, mask, scale)
    draw_scale(legend, 0.8, scale, "|B1+| over its median", extend="both")
    return figure


def draw_map(
    conductivity: NDArray[np.floating],
    std: NDArray[np.floating] | None,
    mask: NDArray[np.bool_],
    affine: NDArray[np.floating],
    lesions: NDArray[np.bool_] | None = None,
    titles: tuple[str, str] = ("conductivity", "noise standard deviation"),
) -> Figure:
    """Draw a conductivity map, and its noise standard deviation next to it if available.

    Parameters
    ----------
    conductivity : ndarray of float, shape (X, Y, Z)
        Conductivity in S/m; invalid where not finite.
    std : ndarray of float, shape (X, Y, Z), or None
        Noise standard deviation in S/m.
    mask, affine
        As in :func:`draw_mask`.
    lesions : ndarray of bool, shape (X, Y, Z), optional
        Lesions whose outline is drawn on the conductivity.
    titles : tuple of 2 str
        Titles of both maps.

    Returns
    -------
    Figure
        Invalid voxels and voxels with implausible conductivity have separate colours.
    """
    mosaic = Mosaic(mask, affine, _COLUMNS_OF_MAPS, _BLOCK_INCHES, through=lesions)
    figure, blocks = _blocks(mosaic, list(titles[: 1 if std is None else 2]))
    inside = conductivity[mask]
    shares = {
        "invalid": (INVALID, np.mean(~np.isfinite(inside))),
        f"< {PLAUSIBLE[0]:g} or > {PLAUSIBLE[1]:g} S/m": (
            IMPLAUSIBLE,
            np.mean(is_implausible(inside)),
        ),
    }
    axes, legend = blocks[0]
    scale = conductivity_scale()
    _show_inside(mosaic, axes, conductivity, mask, scale, mark_implausible=True)
    draw_scale(legend, 0.8, scale, "S/m", extend="max")
    colours = {f"{name}: {share:.1%}": colour for name, (colour, share) in shares.items()}
    if lesions is not None and lesions.any():
        mosaic.outline(axes, lesions, LESION_OUTLINE)
        colours["lesion"] = LESION_OUTLINE
    _write_legend(legend, colours)
    if std is not None:
        axes, legend = blocks[1]
        scale = colour_scale("viridis", 0, LARGEST_STD)
        _show_inside(mosaic, axes, std, mask, scale)
        draw_scale(legend, 0.8, scale, "S/m", extend="max")
    return figure


def draw_z(
    z: NDArray[np.floating], mask: NDArray[np.bool_], affine: NDArray[np.floating]
) -> Figure:
    """Draw the difference between two maps in units of its noise standard deviation.

    Parameters
    ----------
    z : ndarray of float, shape (X, Y, Z)
        Invalid where not finite.
    mask, affine
        As in :func:`draw_mask`.

    Returns
    -------
    Figure
        Invalid voxels have a separate colour.
    """
    mosaic = Mosaic(mask, affine, _COLUMNS, _BLOCK_INCHES)
    figure, ((axes, legend),) = _blocks(mosaic, [""])
    scale = colour_scale("RdBu_r", -LARGEST_Z, LARGEST_Z)
    _show_inside(mosaic, axes, z, mask, scale)
    draw_scale(legend, 0.8, scale, "difference in units of its noise standard deviation")
    return figure


def draw_space(
    conductivity: NDArray[np.floating],
    outlines: Mapping[str, NDArray[np.bool_]],
    colours: Mapping[str, str],
    affine: NDArray[np.floating],
) -> Figure:
    """Draw a conductivity map in a space other than the phase, with outlines of regions.

    Parameters
    ----------
    conductivity : ndarray of float, shape (X, Y, Z)
        Conductivity in S/m; NaN where invalid, 0 outside the mask.
    outlines : mapping of str to ndarray of bool, shape (X, Y, Z)
        Regions by name.
    colours : mapping of str to str
        Colour of the outline of each region.
    affine
        As in :func:`draw_mask`.

    Returns
    -------
    Figure
    """
    mask = conductivity != 0
    shown = np.logical_or.reduce([mask, *outlines.values()])
    mosaic = Mosaic(shown, affine, _COLUMNS, _BLOCK_INCHES)
    figure, ((axes, legend),) = _blocks(mosaic, [""])
    scale = conductivity_scale()
    _show_inside(mosaic, axes, conductivity, mask, scale, mark_implausible=True)
    for name, region in outlines.items():
        mosaic.outline(axes, region, colours[name], 0.9)
    draw_scale(legend, 0.8, scale, "S/m", extend="max")
    if colours:
        _write_legend(legend, colours)
    return figure


def _blocks(
    mosaic: Mosaic, titles: list[str], legend_inches: float = _LEGEND_INCHES
) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """Return a figure and, for each title, the axes of a mosaic and of its legend."""
    inches = mosaic.width_inches * mosaic.height / mosaic.width
    if len(mosaic.tiles) == 1:
        inches = min(inches, _MOST_INCHES)
    title = _TITLE_INCHES * any(titles)
    total = len(titles) * (mosaic.width_inches + _GAP_INCHES) - _GAP_INCHES
    height = inches + title + legend_inches
    width = mosaic.width_inches / total
    figure = Figure(figsize=(total, height))
    blocks = []
    for number, text in enumerate(titles):
        left = number * (mosaic.width_inches + _GAP_INCHES) / total
        axes = figure.add_axes((left, legend_inches / height, width, inches / height))
        legend = figure.add_axes((left, 0, width, legend_inches / height))
        legend.set_axis_off()
        mosaic.prepare(axes)
        if text:
            axes.set_title(text, fontsize="medium", pad=4)
        blocks.append((axes, legend))
    return figure, blocks


def _show_inside(
    mosaic: Mosaic,
    axes: Axes,
    values: NDArray[np.floating],
    mask: NDArray[np.bool_],
    scale: ScalarMappable,
    *,
    mark_implausible: bool = False,
) -> None:
    colour = partial(paint, scale=scale, mark_implausible=mark_implausible)
    mosaic.show(axes, colour, values, mask)


def _magnitude_scale(magnitude: NDArray[np.floating], mask: NDArray[np.bool_]) -> ScalarMappable:
    return colour_scale("gray", 0, white_of(magnitude, mask))


def _write_legend(axes: Axes, colours: Mapping[str, str]) -> None:
    axes.legend(
        handles=[
            Patch(facecolor=colour, edgecolor=_edge(colour), label=literal(name))
            for name, colour in colours.items()
        ],
        loc="lower center",
        ncols=4,
        frameon=False,
        fontsize=9,
        handlelength=1.2,
    )


def _edge(colour: str) -> str:
    """Return the colour of the edge of a patch in the legend, whose background is white."""
    return "black" if colour == LESION_OUTLINE else colour
