"""Layout of strip plots, which have one point per value and which a page draws as SVG."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

_WIDTH = 1000
_LEFT, _RIGHT, _TOP, _BOTTOM = 165, 20, 10, 42
_ROW_HEIGHT = 48
_SPREAD = 14.0

# Vertical offsets of outliers, so that the names of outliers with similar values do not overlap.
_OUTLIER_OFFSETS = (0.0, -1.0, 1.0)

# Beyond this fraction of the width, a name is written to the left of its point, so that it stays
# inside the plot.
_NAMED_LEFT = 0.75


@dataclass(frozen=True)
class Strips:
    """The layout of a strip plot in pixels.

    Attributes
    ----------
    width, height : int
        Size of the plot.
    left, right, top, bottom : float
        Limits of the area with the points.
    ticks : list of dict
        Ticks with ``x`` and ``text``.
    literature : list of float
        Horizontal positions of the reference lines.
    rows : list of dict
        Rows with ``name``, ``y``, ``median`` (horizontal position) and ``points``. Each point has
        ``x``, ``y``, ``name``, ``value``, ``link``, ``outlier``, ``beyond`` (-1 if the value is
        below the scale, 1 if it is above, otherwise 0) and ``anchor`` (text anchor of the name).
    """

    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    ticks: list[dict[str, Any]]
    literature: list[float]
    rows: list[dict[str, Any]]


def draw_strips(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], literature: Sequence[float]
) -> Strips:
    """Return the layout of a strip plot with one horizontal scale.

    Parameters
    ----------
    rows : mapping of str to sequence of mapping
        Points by row name. Each point has ``value``, ``name``, ``link`` and ``outlier``.
    literature : sequence of float
        Values to mark by a line, in the unit of the points.

    Returns
    -------
    Strips
        The scale includes all values except outliers. Outliers beyond the scale are placed at its
        end.
    """
    usual = [one["value"] for points in rows.values() for one in points if not one["outlier"]]
    values = [*usual, *literature]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.1 * abs(high) or 0.1
    ticks = [float(tick) for tick in MaxNLocator(8).tick_values(low - margin, high + margin)]
    low, high = ticks[0], ticks[-1]
    left, right = float(_LEFT), float(_WIDTH - _RIGHT)

    def place(value: float) -> float:
        return round(float(np.interp(value, (low, high), (left, right))), 1)

    def put(points: Sequence[Mapping[str, Any]], middle: float) -> Iterator[dict[str, Any]]:
        offsets = {False: cycle(_offsets()), True: cycle(_OUTLIER_OFFSETS)}
        for one in points:
            value, x = one["value"], place(one["value"])
            yield {
                **one,
                "x": x,
                "y": round(middle + _SPREAD * next(offsets[bool(one["outlier"])]), 1),
                "beyond": int(value > high) - int(value < low),
                "anchor": "end" if x > left + _NAMED_LEFT * (right - left) else "start",
            }

    placed = []
    for number, (name, points) in enumerate(rows.items()):
        y = _TOP + _ROW_HEIGHT * (number + 0.5)
        median = float(np.median([one["value"] for one in points]))
        placed.append(
            {"name": name, "y": y, "median": place(median), "points": list(put(points, y))}
        )
    bottom = _TOP + _ROW_HEIGHT * len(rows)
    return Strips(
        width=_WIDTH,
        height=bottom + _BOTTOM,
        left=left,
        right=right,
        top=_TOP,
        bottom=bottom,
        ticks=[{"x": place(tick), "text": f"{tick:.6g}"} for tick in ticks],
        literature=[place(value) for value in literature],
        rows=placed,
    )


def _offsets() -> list[float]:
    """Return well-separated offsets from -1 to 1, which advance in golden-ratio steps."""
    shares = (np.arange(1000) * (np.sqrt(5) - 1) / 2) % 1
    return [float(2 * share - 1) for share in shares]
