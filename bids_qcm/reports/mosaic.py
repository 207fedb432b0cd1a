"""Mosaics of axial, coronal and sagittal slices."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple, TypeVar

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy import ndimage

_Scalar = TypeVar("_Scalar", bound=np.generic)

_MARGIN_MM = 6.0

# Height of a line of text, and width of a gap that contains one letter.
_LINE_INCHES = 0.14
_FONT_SIZE = 8


class _Plane(NamedTuple):
    axis: int
    letter: str
    horizontal: int
    vertical: int


# Axial, coronal and sagittal planes of an image in RAS+ orientation.
_PLANES = (_Plane(2, "z", 0, 1), _Plane(1, "y", 0, 2), _Plane(0, "x", 1, 2))

# Letters for the low and high ends of the axes in RAS+ orientation.
_ENDS = (("L", "R"), ("P", "A"), ("I", "S"))


def drawn_axes(shape: Sequence[int]) -> list[int]:
    """Return the axes perpendicular to the planes that can be drawn, starting with axial.

    A plane is left out if its slices have only one voxel along a side, because they would be
    lines. A single-slice image therefore has one plane. If all slices are lines, all planes are
    drawn.

    Parameters
    ----------
    shape : sequence of 3 ints
        Shape of the image.

    Returns
    -------
    list of int
        At least one axis.
    """
    found = [p.axis for p in _PLANES if shape[p.horizontal] > 1 and shape[p.vertical] > 1]
    return found or [plane.axis for plane in _PLANES]


def box_of(
    inside: NDArray[np.bool_], affine: NDArray[np.floating], margin: float
) -> tuple[slice, ...]:
    """Return the bounding box of a region of interest with a margin in mm.

    Parameters
    ----------
    inside : ndarray of bool, shape (X, Y, Z)
    affine : ndarray, shape (4, 4)
        Maps voxel indices to mm.
    margin : float
        Width of the margin in mm.
    """
    (interest,) = ndimage.find_objects(inside.astype(np.uint8))
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    return tuple(
        _widened(part, n, margin / size)
        for part, n, size in zip(interest, inside.shape, sizes, strict=True)
    )


def typical_voxel(inside: NDArray[np.bool_]) -> list[int]:
    """Return the indices of an axial, a coronal and a sagittal slice, sorted by axis.

    The axial and coronal slices divide the volume of the region into halves. The sagittal slice is
    in the middle of the left hemisphere.
    """
    return [_spread(inside, plane, 1)[0] for plane in sorted(_PLANES)]


@dataclass(frozen=True)
class Tile:
    """A slice and its position in the mosaic.

    Attributes
    ----------
    axis, index : int
        Axis perpendicular to the slice, and index of the slice along this axis.
    extent : tuple of 4 floats
        Left, right, bottom and top in the mosaic, in mm.
    label : str
        Scanner coordinate of the slice, such as ``z = 12``.
    """

    axis: int
    index: int
    extent: tuple[float, float, float, float]
    label: str


class Mosaic:
    """A mosaic with a row of axial, a row of coronal and a row of sagittal slices.

    Planes whose slices would be lines, such as two planes of a single-slice image, are omitted.
    Labels are beside the slices: the scanner coordinate above each slice, and the letters of the
    directions around the first slice of each plane.

    Parameters
    ----------
    inside : ndarray of bool, shape (X, Y, Z)
        Region of interest in RAS+ orientation. Each slice represents an equal part of the volume of
        this region.
    affine : ndarray, shape (4, 4)
        Maps voxel indices to mm.
    columns : int
        Maximum number of slices in a row. The row of sagittal slices has an even number of slices,
        or a single slice. The central slice is avoided, because the median plane of a head shows
        the fissure between the hemispheres.
    width_inches : float
        Width of the mosaic in the figure, from which the size of the gaps for the labels follows.
    margin : float
        Width of the margin around the region of interest in mm.
    through : ndarray of bool, shape (X, Y, Z), optional
        Small region, such as the lesions. In each row, the slice nearest to the largest
        cross-section of this region is moved to this cross-section.
    in_one_row : bool
        Whether the slices of all planes form a single row.
    """

    def __init__(
        self,
        inside: NDArray[np.bool_],
        affine: NDArray[np.floating],
        columns: int,
        width_inches: float,
        *,
        margin: float = _MARGIN_MM,
        through: NDArray[np.bool_] | None = None,
        in_one_row: bool = False,
    ) -> None:
        self.width_inches = width_inches
        self._size = np.linalg.norm(affine[:3, :3], axis=0)
        self._box = box_of(inside, affine, margin)
        drawn = drawn_axes([part.stop - part.start for part in self._box])
        rows = []
        for plane in (one for one in _PLANES if one.axis in drawn):
            indices = _spread(inside, plane, columns)
            if through is not None and through.any():
                indices = _moved(indices, through, plane)
            rows.append([(plane, index) for index in indices])
        if in_one_row:
            rows = [list(chain.from_iterable(rows))]
        # A row has a gap on the left of each slice and on the right of the last slice. Between two
        # planes, the gap contains two letters.
        line = _LINE_INCHES / width_inches
        self.width = max(
            sum(self._extent(plane)[0] for plane, _ in row)
            / (1 - line * (len(row) + 1) * (1 + in_one_row))
            for row in rows
        )
        self._line = line * self.width
        heights = [max(self._extent(plane)[1] for plane, _ in row) for row in rows]
        self.height = sum(height + 2 * self._line for height in heights)
        self.tiles = list(self._place(rows, heights, affine))

    def _extent(self, plane: _Plane) -> tuple[float, float]:
        """Return the width and height of a plane's slices in mm."""
        lengths = [
            (part.stop - part.start) * size
            for part, size in zip(self._box, self._size, strict=True)
        ]
        return lengths[plane.horizontal], lengths[plane.vertical]

    def _place(
        self,
        rows: list[list[tuple[_Plane, int]]],
        heights: list[float],
        affine: NDArray[np.floating],
    ) -> Iterator[Tile]:
        top = self.height
        for row, row_height in zip(rows, heights, strict=True):
            # The slices of narrower rows are spread over the full width.
            free = self.width - sum(self._extent(plane)[0] for plane, _ in row)
            left = gap = free / (len(row) + 1)
            top -= self._line
            for plane, index in row:
                width, height = self._extent(plane)
                centre = [(part.start + part.stop - 1) / 2 for part in self._box]
                centre[plane.axis] = index
                position = (affine @ [*centre, 1])[plane.axis]
                yield Tile(
                    plane.axis,
                    index,
                    (left, left + width, top - height, top),
                    f"{plane.letter} = {position:.0f}",
                )
                left += width + gap
            top -= row_height + self._line

    def prepare(self, axes: Axes) -> None:
        """Set the limits of the axes, and write the slice positions and the directions."""
        axes.set_xlim(0, self.width)
        axes.set_ylim(0, self.height)
        axes.set_aspect("equal")
        axes.set_axis_off()
        style: dict[str, Any] = {"fontsize": _FONT_SIZE, "color": "#333", "va": "center"}
        half, labelled = self._line / 2, set()
        for tile in self.tiles:
            left, right, bottom, top = tile.extent
            axes.text(left, top + half, tile.label, ha="left", **style)
            if tile.axis in labelled:
                continue
            labelled.add(tile.axis)
            plane = next(one for one in _PLANES if one.axis == tile.axis)
            middle, centre = (left + right) / 2, (bottom + top) / 2
            places = [(left - half, centre), (right + half, centre)]
            places += [(middle, bottom - half), (middle, top + half)]
            for letter, (x, y) in zip(
                _ENDS[plane.horizontal] + _ENDS[plane.vertical], places, strict=True
            ):
                axes.text(x, y, letter, ha="center", fontweight="bold", **style)

    def show(
        self, axes: Axes, paint: Callable[..., NDArray[np.floating]], *volumes: NDArray[Any]
    ) -> None:
        """Draw all slices of the mosaic.

        Parameters
        ----------
        axes : Axes
        paint : callable
            Function that takes the slices of all volumes, each of shape (A, B), and returns the
            colours of the slice, shape (A, B, 4).
        *volumes : ndarray, shape (X, Y, Z)
            Volumes whose slices are passed to `paint`.
        """
        for tile in self.tiles:
            axes.imshow(
                paint(*(self._cut(volume, tile) for volume in volumes)).swapaxes(0, 1),
                origin="lower",
                extent=tile.extent,
                interpolation="nearest",
            )

    def outline(self, axes: Axes, mask: NDArray[np.bool_], colour: str, width: float = 1.0) -> None:
        """Draw the outline of a mask on all slices."""
        for tile in self.tiles:
            shown = self._cut(mask, tile)
            if min(shown.shape) > 1 and shown.any() and not shown.all():
                left, right, bottom, top = tile.extent
                across, up = (
                    low + (high - low) * (np.arange(n) + 0.5) / n
                    for n, low, high in zip(shown.shape, (left, bottom), (right, top), strict=True)
                )
                axes.contour(
                    across, up, shown.T, levels=[0.5], colors=colour, linewidths=width, zorder=2
                )

    def _cut(self, values: NDArray[_Scalar], tile: Tile) -> NDArray[_Scalar]:
        chosen: list[slice | int] = list(self._box)
        chosen[tile.axis] = tile.index
        return values[tuple(chosen)]


def _moved(indices: list[int], through: NDArray[np.bool_], plane: _Plane) -> list[int]:
    """Move the slice nearest to a region's largest cross-section to this cross-section."""
    largest = int(through.sum(axis=(plane.horizontal, plane.vertical)).argmax())
    nearest = min(indices, key=lambda index: abs(index - largest))
    return [largest if index == nearest else index for index in indices]


def _widened(part: slice, n: int, margin: float) -> slice:
    steps = int(np.ceil(margin))
    return slice(max(0, part.start - steps), min(n, part.stop + steps))


def _spread(inside: NDArray[np.bool_], plane: _Plane, columns: int) -> list[int]:
    """Return indices of slices that divide the volume of a region into equal parts.

    A sagittal slice is never the central slice of the volume.
    """
    n = columns if plane.axis else max(1, 2 * ((columns - 1) // 2))
    shares = (np.arange(n) + 0.5) / n if n > 1 or plane.axis else np.array([0.25])
    volume = np.cumsum(inside.sum(axis=(plane.horizontal, plane.vertical)))
    return [int(index) for index in np.unique(np.searchsorted(volume, shares * volume[-1]))]
