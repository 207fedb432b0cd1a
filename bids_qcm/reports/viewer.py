"""Write a self-contained page with an interactive viewer of three orthogonal slices."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from bids_qcm.checks.plausible import PLAUSIBLE
from bids_qcm.reports.colours import (
    IMPLAUSIBLE,
    INVALID,
    LARGEST_CONDUCTIVITY,
    LARGEST_STD,
    colour_scale,
    conductivity_scale,
    white_of,
)
from bids_qcm.reports.mosaic import box_of, drawn_axes, typical_voxel
from bids_qcm.reports.pages import embedded, write_page

_MARGIN_MM = 10.0

# Codes of conductivity: outside the mask; invalid; below the plausible range; 0, 0.01, 0.02, ...
# S/m from _FIRST to _LAST; plausible, but too large for _LAST; above the plausible range.
_OUTSIDE, _INVALID, _BELOW, _FIRST, _LAST, _HIGH, _ABOVE = 0, 1, 2, 3, 253, 254, 255
_STEP = 0.01

# Codes of standard deviations: invalid (0), the values 0, 0.002, ... S/m from the first to the last
# code, and larger values.
_STD_STEP = 0.002
_STD_FIRST, _STD_LAST, _STD_HIGH = 1, 254, 255

# Level of compression. The page is 4 % larger than with level 4 of zlib, which takes ten times as
# long.
_COMPRESSION = 2

# Code for white in the magnitude. More than 64 gray levels would only encode noise.
_WHITE = 63


@dataclass(frozen=True, eq=False)
class ViewerGrid:
    """The part of the volumes that the viewer shows.

    Attributes
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels with conductivity, in RAS+ orientation.
    affine : ndarray, shape (4, 4)
        Maps voxel indices to mm.
    """

    mask: NDArray[np.bool_]
    affine: NDArray[np.floating]

    @cached_property
    def box(self) -> tuple[slice, ...]:
        """Bounding box of the mask with a margin of 10 mm."""
        return box_of(self.mask, self.affine, _MARGIN_MM)

    def encode_conductivity(self, conductivity: NDArray[np.floating]) -> str:
        """Return a map in steps of 0.01 S/m as packed bytes."""
        conductivity = conductivity[self.box]
        rounded = np.clip(np.round(conductivity / _STEP) + _FIRST, _FIRST, _HIGH)
        low, high = PLAUSIBLE
        codes = np.select(
            [
                ~self.mask[self.box],
                ~np.isfinite(conductivity),
                conductivity < low,
                conductivity > high,
            ],
            [_OUTSIDE, _INVALID, _BELOW, _ABOVE],
            rounded,
        )
        return _pack(codes)

    def encode_std(self, std: NDArray[np.floating]) -> str:
        """Return a noise standard deviation in steps of 0.002 S/m as packed bytes."""
        std = std[self.box]
        rounded = np.clip(np.round(std / _STD_STEP) + _STD_FIRST, _STD_FIRST, _STD_HIGH)
        return _pack(np.where(self.mask[self.box] & np.isfinite(std), rounded, 0))

    def encode_magnitude(self, magnitude: NDArray[np.floating]) -> str:
        """Return the magnitude as packed bytes."""
        largest = white_of(magnitude, self.mask) or 1.0
        return _pack(np.clip(np.round(_WHITE * magnitude[self.box] / largest), 0, _WHITE))

    def encode_tissues(self, tissues: Mapping[str, NDArray[np.bool_]]) -> str:
        """Return the number of the tissue of each voxel, starting with 1, as packed bytes."""
        numbers = np.zeros(self.mask.shape, np.uint8)
        for number, inside in enumerate(tissues.values(), 1):
            numbers[inside] = number
        return _pack(numbers[self.box])


def _pack(codes: NDArray[Any]) -> str:
    """Return a code of one byte for each voxel as text, compressed by zlib, in base64."""
    return base64.b64encode(
        isal_zlib.compress(codes.astype(np.uint8).tobytes(), _COMPRESSION)
    ).decode()


def write_viewer(
    path: Path,
    title: str,
    grid: ViewerGrid,
    maps: Mapping[str, Mapping[str, str]],
    magnitude: str | None,
    tissues: Mapping[str, NDArray[np.bool_]],
    selected: str,
) -> None:
    """Write the page of the viewer.

    Parameters
    ----------
    path : Path
        File to write atomically.
    title : str
        Title of the page.
    grid : ViewerGrid
    maps : mapping of str to mapping of str to str
        Encoded ``conductivity``, and the encoded noise standard deviation ``std`` if there is one,
        keyed by method.
    magnitude : str or None
        Encoded magnitude.
    tissues : mapping of str to ndarray of bool, shape (X, Y, Z)
        Voxels of each tissue.
    selected : str
        Method whose map is shown first.
    """
    starts = [part.start for part in grid.box]
    affine = grid.affine.copy()
    affine[:3, 3] = affine[:3] @ [*starts, 1]
    shape = [part.stop - part.start for part in grid.box]
    content = {
        "shape": shape,
        "axes": drawn_axes(shape),
        "cross": np.subtract(typical_voxel(grid.mask), starts).tolist(),
        "size": np.linalg.norm(affine[:3, :3], axis=0).round(4).tolist(),
        "affine": affine[:3].round(4).tolist(),
        "maps": maps,
        "selected": selected,
        "magnitude": magnitude,
        "tissues": list(tissues),
        "labels": grid.encode_tissues(tissues),
        "colours": {"conductivity": _conductivity_colours(), "std": _std_colours()},
        "white": _WHITE,
        "steps": {
            "conductivity": {"first": _FIRST, "last": _LAST, "step": _STEP, "digits": 2},
            "std": {"first": _STD_FIRST, "last": _STD_LAST, "step": _STD_STEP, "digits": 3},
        },
        "texts": {
            _OUTSIDE: "outside the mask",
            _INVALID: "invalid",
            _BELOW: f"< {PLAUSIBLE[0]:g} S/m",
            _ABOVE: f"> {PLAUSIBLE[1]:g} S/m",
        },
    }
    largest = {"conductivity": LARGEST_CONDUCTIVITY, "std": LARGEST_STD}
    write_page(path, "viewer.html", title=title, largest=largest, data=embedded(content))


def _conductivity_colours() -> list[str]:
    """Return the colour of each code of conductivity."""
    values = (np.arange(256) - _FIRST) * _STEP
    colours = [to_hex(one) for one in conductivity_scale().to_rgba(values)]
    colours[_INVALID] = INVALID
    colours[_BELOW] = colours[_ABOVE] = IMPLAUSIBLE
    return colours


def _std_colours() -> list[str]:
    """Return the colour of each code of the noise standard deviation."""
    values = (np.arange(256) - _STD_FIRST) * _STD_STEP
    colours = [to_hex(one) for one in colour_scale("viridis", 0, LARGEST_STD).to_rgba(values)]
    return [INVALID, *colours[1:]]
