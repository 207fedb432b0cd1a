"""Mosaics of axial, coronal and sagittal slices."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy import ndimage

_Scalar = TypeVar("_Scalar", bound=np.generic)

_GAP_MM = 4.0
_MARGIN_MM = 6.0
_EDGE_MM = 1.5

# Positions of the outermost slices, as fractions of the extent of the region of interest.
_FIRST, _LAST = 0.12, 0.88


class _Plane(NamedTuple):
    axis: int
    letter: str
    horizontal: int
    vertical: int


# Axial, coronal and sagittal planes of an image in RAS+ orientation.
_PLANES = (_Plane(2, "z", 0, 1), _Plane(1, "y", 0, 2), _Plane(0, "x", 1, 2))

# Letters for the left and right side of a slice, keyed by the axis perpendicular to the slice.
_SIDES = {2: ("L", "R"), 1: ("L", "R"), 0: ("P", "A")}


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

    Parameters
    ----------
    inside : ndarray of bool, shape (X, Y, Z)
        Region of interest in RAS+ orientation. The slices are spread evenly over this region.
    affine : ndarray, shape (4, 4)
        Maps voxel indices to mm.
    columns : int
        Maximum number of slices in a row. The sagittal row has one slice less, because sagittal
        slices are wider.
    margin : float
        Width of the margin around the region of interest in mm.
    through : ndarray of bool, shape (X, Y, Z), optional
        Small region, such as the lesions. In each row, the slice nearest to the largest
        cross-section of this region is moved to this cross-section.
    """

    def __init__(
        self,
        inside: NDArray[np.bool_],
        affine: NDArray[np.floating],
        columns: int,
        *,
        margin: float = _MARGIN_MM,
        through: NDArray[np.bool_] | None = None,
    ) -> None:
        self._size = np.linalg.norm(affine[:3, :3], axis=0)
        (interest,) = ndimage.find_objects(inside.astype(np.uint8))
        self._box = tuple(
            _widened(part, n, margin / size)
            for part, n, size in zip(interest, inside.shape, self._size, strict=True)
        )
        drawn = drawn_axes([part.stop - part.start for part in self._box])
        rows = []
        for plane in (one for one in _PLANES if one.axis in drawn):
            indices = _spread(interest[plane.axis], columns - (plane.axis == 0))
            if through is not None and through.any():
                indices = _moved(indices, through, plane)
            rows.append([(plane, index) for index in indices])
        extents = [self._extent(row[0][0]) for row in rows]
        self.width = max(
            len(row) * (width + _GAP_MM) - _GAP_MM
            for row, (width, _) in zip(rows, extents, strict=True)
        )
        self.height = sum(height + _GAP_MM for _, height in extents) - _GAP_MM
        self.tiles = list(self._place(rows, extents, affine))

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
        extents: list[tuple[float, float]],
        affine: NDArray[np.floating],
    ) -> Iterator[Tile]:
        top = self.height
        for row, (width, height) in zip(rows, extents, strict=True):
            # The slices of narrower rows are spread over the full width.
            step = width + (self.width - len(row) * width) / max(1, len(row) - 1)
            for column, (plane, index) in enumerate(row):
                left = column * step
                centre = [(part.start + part.stop - 1) / 2 for part in self._box]
                centre[plane.axis] = index
                position = (affine @ [*centre, 1])[plane.axis]
                yield Tile(
                    plane.axis,
                    index,
                    (left, left + width, top - height, top),
                    f"{plane.letter} = {position:.0f}",
                )
            top -= height + _GAP_MM

    def prepare(self, axes: Axes) -> None:
        """Set the limits of the axes, and write the slice positions and the L and R labels."""
        axes.set_xlim(-_EDGE_MM, self.width + _EDGE_MM)
        axes.set_ylim(-_EDGE_MM, self.height + _EDGE_MM)
        axes.set_aspect("equal")
        axes.set_axis_off()
        style: dict[str, Any] = {"fontsize": 9, "color": "#333", "va": "bottom"}
        halo = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.8}
        for tile in self.tiles:
            left, _, bottom, _ = tile.extent
            axes.text(left + 1, bottom + 1, tile.label, bbox=halo, **style)
        left, right, _, top = self.tiles[0].extent
        first, last = _SIDES[self.tiles[0].axis]
        for x, letter, side in ((left + 1, first, "left"), (right - 1, last, "right")):
            axes.text(x, top - 1, letter, bbox=halo, **style | {"va": "top", "ha": side})

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
    """Return slice indices, the nearest one replaced by the largest cross-section of a region."""
    largest = int(through.sum(axis=(plane.horizontal, plane.vertical)).argmax())
    nearest = min(indices, key=lambda index: abs(index - largest))
    return [largest if index == nearest else index for index in indices]


def _widened(part: slice, n: int, margin: float) -> slice:
    steps = int(np.ceil(margin))
    return slice(max(0, part.start - steps), min(n, part.stop + steps))


def _spread(part: slice, n: int) -> list[int]:
    """Return at most `n` indices that are spread evenly over the inner part of a range."""
    shares = np.linspace(_FIRST, _LAST, n)
    found = part.start + np.round(shares * (part.stop - 1 - part.start)).astype(int)
    return [int(index) for index in np.unique(found)]
