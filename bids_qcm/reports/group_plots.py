"""Data of the plots that the script of the group page draws."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_qcm.bids.names import natural_key
from bids_qcm.bids.participants import Phenotype
from bids_qcm.bids.results import Result
from bids_qcm.effects import as_numbers, sorted_levels
from bids_qcm.reports.group_regions import FAMILY, RegionTable
from bids_qcm.reports.pages import link_to_scan

# Values are stored as integers between the smallest and the largest value of a row.
_MOST, _MISSING = 65534, 65535

# A text column with more levels, such as comments, cannot be distinguished by colours.
_MOST_LEVELS = 20
# A numeric column with fewer values, such as a score, counts as a set of levels.
_LEAST_NUMBERS = 8

_MOST_REGION_VALUES = 1_000_000
"""Maximum number of regional values on the page (2.7 MB); above it, eroded regions are left out."""


class Scans:
    """The acquisitions of a group, in the order of the values in each plot row.

    Parameters
    ----------
    results : sequence of Result
        Results of all participants.
    """

    def __init__(self, results: Sequence[Result]) -> None:
        self.results = results
        self.number = {result.source: number for number, result in enumerate(results)}

    def row(self, name: str, values: pd.Series, **more: Any) -> dict[str, Any]:  # noqa: ANN401
        """Return a row of a plot.

        Parameters
        ----------
        name : str
            Name of the row.
        values : Series of float
            Values, indexed by the source of the acquisition.
        **more
            Other content of the row.
        """
        every = np.full(len(self.results), np.nan)
        every[self.numbers(values.index)] = values
        return {"name": name, **_packed(every), **more}

    def numbers(self, sources: Iterable[str]) -> list[int]:
        """Return the numbers of acquisitions."""
        return [self.number[source] for source in sources]

    def described(self, phenotype: Phenotype) -> dict[str, Any]:
        """Return the acquisitions with their participants, sessions and columns."""
        participants = list(dict.fromkeys(one.participant for one in self.results))
        labels = {one.session for one in self.results if one.session is not None}
        sessions = sorted(labels, key=natural_key)
        return {
            "participants": participants,
            "sessions": [f"ses-{one}" for one in sessions],
            "participant": [participants.index(one.participant) for one in self.results],
            "session": [
                -1 if one.session is None else sessions.index(one.session) for one in self.results
            ],
            "names": [one.name for one in self.results],
            "links": [link_to_scan(one.participant, one.source) for one in self.results],
            "columns": self._columns(phenotype),
        }

    def _columns(self, phenotype: Phenotype) -> list[dict[str, Any]]:
        """Return the columns that can colour the points, as codes of levels or as numbers."""
        columns = []
        values = pd.DataFrame(
            [phenotype.values(one.participant, one.session_id) for one in self.results],
            dtype=object,
        )
        for name in phenotype.dictionary:
            levels = sorted_levels(values[name])
            numbers = as_numbers(values[name])
            if numbers is not None and len(levels) >= _LEAST_NUMBERS:
                known = [None if np.isnan(one) else one for one in numbers]
                columns.append({"name": name, "numbers": known})
            elif 0 < len(levels) <= _MOST_LEVELS:
                codes = pd.Categorical(values[name], levels).codes.tolist()
                columns.append({"name": name, "levels": levels, "codes": codes})
        return columns


def _packed(values: NDArray[np.float64]) -> dict[str, Any]:
    """Return values as 16-bit integers in base 64, and the range that the integers represent."""
    finite = np.isfinite(values)
    low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0.0, 0.0)
    span = high - low or 1.0
    steps = np.round((np.where(finite, values, low) - low) / span * _MOST)
    integers = np.where(finite, steps, _MISSING).astype("<u2")
    return {
        "low": _short(low),
        "high": _short(low + span),
        "values": b64encode(integers.tobytes()).decode(),
    }


def axis(values: Iterable[float], marks: Iterable[float] = ()) -> list[float]:
    """Return the ends of an axis that includes 0, so that it does not exaggerate differences.

    Parameters
    ----------
    values : iterable of float
        Values without outliers; values that are not finite are ignored.
    marks : iterable of float
        Literature or ideal values.

    Returns
    -------
    list of 2 floats
        The smallest and the largest value, and 0, with a margin of 5 % beyond a value.
    """
    every = np.array([0.0, *values, *marks])
    every = every[np.isfinite(every)]
    low, high = 1.05 * every.min(), 1.05 * every.max()
    return [_short(low), _short(high if high > low else low + 1)]


def axis_around(values: pd.Series, references: Sequence[float] = ()) -> list[float]:
    """Return the ends of an axis of conductivity that does not exaggerate differences.

    Parameters
    ----------
    values : Series of float
        Values without outliers.
    references : sequence of float
        Literature values; if empty, the median of the values is the reference.

    Returns
    -------
    list of 2 floats
        The axis covers at least the range from 0.5 to 1.5 times the reference.
    """
    known = [*references] or [float(values.median()) if values.count() else 1.0]
    ends = [0.5 * min(known), 1.5 * max(known), *values.dropna()]
    return [_short(min(ends)), _short(max(ends))]


def region_blocks(regions: RegionTable, scans: Scans) -> tuple[list[dict[str, Any]], bool]:
    """Return the plots of regions, one block for each family of regions.

    Parameters
    ----------
    regions : RegionTable
    scans : Scans

    Returns
    -------
    blocks : list of dict
        Blocks with the columns of `FAMILY`, the ends of the ``axis`` of all regions, and ``rows``:
        the packed values of each region, the numbers of the acquisitions that are ``outliers``,
        and the ends of the region's own ``axis``.
    is_complete : bool
        Whether the eroded regions are included.
    """
    rows = regions.comparable
    n_rows = rows.groupby(FAMILY)["region"].nunique().sum() if len(rows) else 0
    is_complete = n_rows * len(scans.results) <= _MOST_REGION_VALUES
    if not is_complete:
        rows = rows[rows["erosion"] == 0]
    blocks = []
    for family, of_family in rows.groupby(FAMILY):
        usual = of_family.loc[~of_family["outlier"].astype(bool), "median"]
        rows_of_block = []
        for (_, name), region in of_family.groupby(["label", "region"]):
            values = region.set_index("source")["median"].dropna()
            is_outlier = region["outlier"].astype(bool)
            rows_of_block.append(
                scans.row(
                    str(name),
                    values,
                    outliers=scans.numbers(region.loc[is_outlier, "source"]),
                    axis=axis_around(region.loc[~is_outlier, "median"]),
                )
            )
        keys: dict[str, Any] = dict(zip(FAMILY, family, strict=True))
        keys["erosion"] = int(keys["erosion"])
        blocks.append({**keys, "axis": axis(usual), "rows": rows_of_block})
    return blocks, is_complete


def effect_rows(effects: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the effects as records for the page; values that are not finite are None."""
    columns = ["acquisition", "method", "atlas", "erosion", "region", "term", "level", "reference"]
    numbers = ["n", "estimate", "ci_low", "ci_high", "p_corrected", "hedges_g"]
    rows = []
    for row in effects[[*columns, *numbers]].to_dict("records"):
        short = {name: _short(row[name]) if np.isfinite(row[name]) else None for name in numbers}
        texts = {name: None if pd.isna(row[name]) else row[name] for name in columns}
        rows.append({**texts, **short})
    return rows


def _short(value: float) -> float:
    """Return a number with five significant digits."""
    return float(f"{value:.5g}")
