"""Quality table of a group, with one row for each map, and plots of its columns."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bids_qcm.bids.results import MapResult, Result
from bids_qcm.bids.sidecars import is_number
from bids_qcm.bids.tables import Dictionary, write_table
from bids_qcm.checks.verdict import COLOURS
from bids_qcm.recon import METHODS
from bids_qcm.reports.group_columns import COLUMNS
from bids_qcm.reports.group_plots import Scans, axis
from bids_qcm.segmentation.tissues import TISSUES

NO_VERDICT = "none"
"""CSS class of a map without a verdict."""

_ALL = "all"


class _Measure(NamedTuple):
    """A column of the quality table that is plotted.

    Attributes
    ----------
    description : str
    units : str or None
    of_map : bool
        Whether the value belongs to a single map; otherwise all maps of an acquisition share it.
    ideal : float or None
        Ideal value, marked by a line in the plot.
    """

    description: str
    units: str | None = None
    of_map: bool = True
    ideal: float | None = None


_MEASURES = {
    "snr": _Measure("Signal-to-noise ratio of the magnitude", of_map=False),
    "phase_noise": _Measure("Median noise standard deviation of phi0 in the mask", "rad", False),
    "echo_misfit": _Measure("Misfit of the line fit over echo time", "rad", False),
    "incoherent_fraction": _Measure(
        "Fraction of voxels with signal whose phase is incoherent with the phase of their "
        "neighbours",
        of_map=False,
    ),
    "coverage": _Measure("Fraction of the mask with signal", of_map=False),
    "sign_agreement": _Measure("Fraction of voxels that agree with the phase sign", of_map=False),
    "registration": _Measure(
        "Gain in mutual information due to the registration of the anatomical image", of_map=False
    ),
    "invalid_fraction": _Measure("Fraction of the mask that is invalid"),
    "implausible_fraction": _Measure("Fraction of the mask with implausible conductivity"),
    "noise_ratio": _Measure("Median ratio of the noise standard deviation to the conductivity"),
    "ratio_wm": _Measure(
        "Median conductivity of white matter relative to the literature value", ideal=1.0
    ),
    "ratio_gm": _Measure(
        "Median conductivity of gray matter relative to the literature value", ideal=1.0
    ),
    "ratio_csf": _Measure(
        "Median conductivity of cerebrospinal fluid relative to the literature value", ideal=1.0
    ),
    "chi_square": _Measure("Reduced chi-square of an inversion", ideal=1.0),
    "prior_chi_square": _Measure(
        "Squared variation of an inversion's map divided by its expected value", ideal=1.0
    ),
    "disagreement": _Measure(
        "Largest relative difference between a tissue's median and the median of other methods"
    ),
}

_RATIOS = {"ratio_wm": "WM", "ratio_gm": "GM", "ratio_csf": "CSF"}


def _columns() -> Dictionary:
    columns: dict[str, Mapping[str, str]] = {
        name: COLUMNS[name] for name in ("participant_id", "session_id", "source", "method")
    }
    for name, measure in _MEASURES.items():
        units = {} if measure.units is None else {"Units": measure.units}
        columns[name] = {"Description": measure.description, **units}
    return columns | {
        "mask_origin": {"Description": "Origin of the mask"},
        "verdict": {
            "Description": "Verdict on the map: green, amber or red; n/a for a map from a version "
            "without verdicts"
        },
    }


def quality_row(one: MapResult, result: Result) -> dict[str, Any]:
    """Return the row of a map in the quality table.

    Parameters
    ----------
    one : MapResult
        The map.
    result : Result
        Results of the acquisition that the map belongs to.

    Returns
    -------
    dict
        Values by column; None if the sidecar lacks the field.
    """
    phi0, condmap = result.sidecar, one.sidecar
    ratios = condmap.literature_ratio or {}
    verdict = result.verdicts[one.method]
    row = {
        "participant_id": result.participant,
        "session_id": result.session_id,
        "source": result.source,
        "method": one.method,
        "snr": phi0.signal_to_noise_ratio,
        "phase_noise": phi0.median_phase_noise,
        "echo_misfit": phi0.echo_misfit,
        "incoherent_fraction": phi0.incoherent_fraction,
        "coverage": phi0.signal_coverage,
        "sign_agreement": phi0.phase_sign_agreement,
        "registration": _registration_gain(result),
        "invalid_fraction": condmap.invalid_fraction,
        "implausible_fraction": condmap.implausible_fraction,
        "noise_ratio": condmap.noise_ratio,
        **{column: ratios.get(TISSUES[tissue].name) for column, tissue in _RATIOS.items()},
        "chi_square": condmap.reduced_chi_square,
        "prior_chi_square": condmap.prior_chi_square,
        "disagreement": result.disagreements.get(one.method),
        "mask_origin": condmap.mask_origin or phi0.mask_origin,
        "verdict": verdict and verdict.colour,
    }
    return row | {name: row[name] if is_number(row[name]) else None for name in _MEASURES}


def write_quality(output_dir: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write ``group_qc.tsv`` with its data dictionary.

    Parameters
    ----------
    output_dir : Path
        Derivative dataset.
    rows : sequence of mapping
        Rows from :func:`quality_row`.

    Returns
    -------
    Path
        File of the table.
    """
    columns = _columns()
    path = output_dir / "group_qc.tsv"
    write_table(path, pd.DataFrame(rows, columns=list(columns)), columns)
    return path


def count_verdicts(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of maps with each verdict, `NO_VERDICT` last, without zero counts."""
    found = Counter(row["verdict"] or NO_VERDICT for row in rows)
    return {colour: found[colour] for colour in (*COLOURS, NO_VERDICT) if found[colour]}


def quality_plots(rows: Sequence[Mapping[str, Any]], scans: Scans) -> list[dict[str, Any]]:
    """Return a strip plot for each quality column that has values.

    Parameters
    ----------
    rows : sequence of mapping
        Rows from :func:`quality_row`.
    scans : Scans
        Acquisitions of the group.

    Returns
    -------
    list of dict
        Dictionaries with ``name``, ``anchor`` and ``plot``. If all maps of an acquisition have the
        same value, the acquisition has one point in the colour of its worst verdict.
    """
    plots = []
    for column, measure in _MEASURES.items():
        points: dict[str, dict[str, float]] = {}
        verdicts: dict[str, dict[int, str]] = {}
        for row in rows if measure.of_map else _worst_of_each_acquisition(rows):
            value = row[column]
            if value is not None and np.isfinite(value):
                name = row["method"] if measure.of_map else _ALL
                points.setdefault(name, {})[row["source"]] = float(value)
                number = scans.number[row["source"]]
                verdicts.setdefault(name, {})[number] = row["verdict"] or NO_VERDICT
        if points:
            order = [name for name in (*METHODS, _ALL) if name in points]
            order += sorted(set(points) - set(order))
            ideal = [] if measure.ideal is None else [measure.ideal]
            every = [value for of_row in points.values() for value in of_row.values()]
            plot = {
                "unit": ", ".join(filter(None, (column, measure.units))),
                "axis": axis(every, ideal),
                "marks": ideal,
                "rows": [
                    scans.row(name, pd.Series(points[name]), outliers=[], verdicts=verdicts[name])
                    for name in order
                ],
            }
            plots.append({"name": measure.description, "anchor": f"qc-{column}", "plot": plot})
    return plots


def _registration_gain(result: Result) -> float | None:
    """Return the gain in mutual information by registration; None without a registration."""
    sidecar = result.segmentation_sidecar
    if sidecar is None:
        return None
    before, after = sidecar.mutual_information_header, sidecar.mutual_information_registered
    return None if before is None or after is None else after - before


def _worst_of_each_acquisition(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the row with the worst verdict of each acquisition."""
    order = (None, *COLOURS)
    worst: dict[tuple[str, str], Mapping[str, Any]] = {}
    for row in rows:
        key = row["participant_id"], row["source"]
        if key not in worst or order.index(row["verdict"]) > order.index(worst[key]["verdict"]):
            worst[key] = row
    return list(worst.values())
