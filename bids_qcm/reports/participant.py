"""Write the report page of a participant."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bids_qcm.bids.images import read_grid
from bids_qcm.bids.names import parse_name
from bids_qcm.bids.results import MapResult, Result, find_results, map_warnings, read_sidecar
from bids_qcm.bids.run_records import RunRecord, read_records
from bids_qcm.bids.tables import read_condstats
from bids_qcm.checks.literature import literature_conductivity
from bids_qcm.checks.verdict import Verdict
from bids_qcm.physics import PROTON_GYROMAGNETIC_RATIO
from bids_qcm.reports.citations import as_html
from bids_qcm.reports.drawing import Drawn, draw_result
from bids_qcm.reports.methods_text import Processing, describe_methods
from bids_qcm.reports.pages import link, write_page

_SHARED_FIGURES = {
    "mask": (
        "Magnitude and mask",
        "Magnitude, root sum of squares over the echoes. The red line is the outline of the mask. "
        "Conductivity is computed inside the mask. The mask is {mask}.",
    ),
    "phase": (
        "Phase",
        "Phase at echo time zero, before and after unwrapping. The unwrapped phase has the sign "
        "that makes the conductivity positive. It must not have any jumps.",
    ),
    "tissues": (
        "Tissues",
        "Magnitude and outlines of the tissues, which the methods with seg in their name use. The "
        "outlines must follow the tissue boundaries in the magnitude. Where two tissues meet, the "
        "outline has the colour of one of the tissues.",
    ),
    "b1": (
        "Transmit field |B1+|",
        "Magnitude of the transmit field, relative to its median in the mask, which was used by "
        "{b1_methods}. The field must be smooth and must not show the tissues. |B1+| is {b1}.",
    ),
    "comparison": (
        "All methods",
        "The slice with the largest part of the mask, with the same colour scale for all methods.",
    ),
}


@dataclass(frozen=True)
class _Picture:
    """A figure on the page."""

    source: str
    title: str
    caption: str

    @property
    def alt(self) -> str:
        return self.title


def write_participant_pages(
    output_dir: Path, participant: str, aggregated_sessions: int | None = None
) -> list[Path]:
    """Draw the figures of a participant, and write the report pages.

    Parameters
    ----------
    output_dir : Path
        Derivative dataset. No other files are read.
    participant : str
        Label with ``sub-``, such as ``sub-01``.
    aggregated_sessions : int, optional
        Largest number of sessions that share one page. With more sessions, each session also gets
        a separate page.

    Returns
    -------
    list of Path
        Pages that were written.
    """
    results = find_results(output_dir, participant)
    records = read_records(output_dir, participant)
    figures = output_dir / participant / "figures"
    drawn = {result.source: draw_result(result, figures) for result in results}
    sections = {
        result.source: _section(output_dir, result, drawn[result.source]) for result in results
    }
    sessions = {one.session for one in results} | {one.session for one in records}
    named = sorted(session for session in sessions if session is not None)
    pages: dict[str, str | None] = {participant: None}
    if aggregated_sessions is not None and len(named) > aggregated_sessions:
        pages |= {f"{participant}_ses-{session}": session for session in named}
    written = []
    for name, session in pages.items():
        chosen = [one for one in results if session is None or one.session == session]
        path = output_dir / f"{name}.html"
        write_page(
            path,
            "participant.html",
            title=name.replace("_", ", "),
            acquisitions=[sections[result.source] for result in chosen],
            methods_text=as_html(describe_methods([processing(one) for one in chosen]))
            if chosen
            else "",
            failures=_failures(
                output_dir, [one for one in records if session is None or one.session == session]
            ),
        )
        written.append(path)
    return written


def processing(result: Result, methods: Sequence[str] | None = None) -> Processing:
    """Return the sidecars of an acquisition, for the given methods or for all methods."""
    maps = [one for one in result.maps if methods is None or one.method in methods]
    return Processing(
        phi0=result.sidecar,
        mask=read_sidecar(result.mask),
        segmentation=read_sidecar(result.segmentation) if result.segmentation else None,
        maps={one.method: one.sidecar for one in maps},
        stds={one.method: read_sidecar(one.condstd) for one in maps if one.condstd},
    )


def _section(output_dir: Path, result: Result, drawn: Drawn) -> dict[str, Any]:
    """Return the content of the page section for an acquisition."""

    def picture(path: Path, title: str, caption: str) -> _Picture:
        return _Picture(link(path.relative_to(output_dir).as_posix()), title, caption)

    b1_map = result.b1_map
    with_b1 = result.with_b1(parse_name(b1_map.name)[0]["desc"]) if b1_map else []
    captioned = {
        "mask": _mask(result),
        "b1": _b1(with_b1[0].sidecar) if with_b1 else "",
        "b1_methods": ", ".join(one.method for one in with_b1),
    }
    return {
        "anchor": result.source,
        "name": result.name,
        "verdicts": [_verdict(method, verdict) for method, verdict in result.verdicts.items()],
        "warnings": map_warnings(result),
        "fine": all(one and one.colour == "green" for one in result.verdicts.values()),
        "summary": _summary(result),
        "figures": [
            picture(drawn.shared[name], title, caption.format(**captioned))
            for name, (title, caption) in _SHARED_FIGURES.items()
            if name in drawn.shared
        ],
        "methods": [
            {
                "name": one.method,
                "anchor": f"{result.source}-{one.desc}",
                "map": picture(
                    drawn.maps[one.method],
                    f"Conductivity by {one.method}",
                    _map_caption(one),
                ),
                "distribution": picture(
                    drawn.distributions[one.method],
                    f"Distribution of conductivity by {one.method}",
                    "Density of the conductivity in each tissue. Dotted lines mark the literature "
                    "values at this frequency.",
                ),
                **_tables(one, result),
            }
            for one in result.maps
        ],
    }


def _map_caption(one: MapResult) -> str:
    caption = (
        "Conductivity in S/m. Green voxels are invalid, and blue voxels have an implausible value."
    )
    if one.condstd is None:
        return f"{caption} The noise standard deviation of this map was not computed."
    return (
        f"{caption} Right: standard deviation of the conductivity caused by the noise of the "
        "images. It does not include the bias, which is often larger: in a simulated head (3 T, "
        "2 mm, SNR 50), noise caused a quarter of the mean squared error of the inversions, and 2 "
        "to 16 % of the error of the integral methods."
    )


def _verdict(method: str, verdict: Verdict | None) -> dict[str, Any]:
    """Return the badge of a verdict (its text and colour) and the reasons."""
    if verdict is None:
        reason = "the map is from a version without verdicts; compute it again to get a verdict"
        return {"method": method, "colour": "none", "text": "no verdict", "reasons": [reason]}
    text, reasons = verdict.colour, verdict.reasons or ["no check found a problem"]
    return {"method": method, "colour": text, "text": text, "reasons": reasons}


def _summary(result: Result) -> dict[str, str]:
    """Return the summary table: the inputs and the processing of the maps."""
    phi0, grid = result.sidecar, read_grid(result.maps[0].condmap)
    frequency = phi0["ImagingFrequency"]
    summary = {
        "Acquisition": ", ".join(uri.partition(":")[2] for uri in phi0["Sources"]),
        "Field": f"{frequency * 1e6 / PROTON_GYROMAGNETIC_RATIO:.2f} T, {frequency:.3f} MHz (from "
        f"{phi0['ImagingFrequencySource']})",
        "Echoes": _echoes(phi0),
        "Voxels": f"{_times(grid.voxel_size, 'g')} mm, {_times(grid.shape, 'd')} voxels",
        "Phase": _phase(phi0),
        "Sign": _sign(phi0),
        "Noise of phi0": f"{phi0['MedianPhaseNoise']:.2g} rad in the median voxel",
        "Mask": _mask(result),
        "Segmentation": _segmentation(result),
        "|B1+|": "; ".join(_b1_of_maps(result)),
        "Methods": "; ".join(_method(one) for one in result.maps),
        "Software": ", ".join(f"{name} {v}" for name, v in phi0["SoftwareVersions"].items()),
    }
    if result.record:
        summary["Last run"] = (
            f"{result.record.date}, {result.record.seconds:.0f} s in total for all steps: "
            f"{result.record.command}"
        )
    return summary


def _echoes(phi0: Mapping[str, Any]) -> str:
    n = len(phi0["PhaseUnits"])
    if "EchoTime" not in phi0:
        return f"{n}"
    echoes = f"{n}, at {', '.join(f'{1e3 * time:.4g}' for time in phi0['EchoTime'])} ms"
    if "EchoMisfitOfEach" in phi0:
        each = ", ".join(f"{misfit:.2g}" for misfit in phi0["EchoMisfitOfEach"])
        echoes += f"; misfit of the line fit over echo time: {each} rad"
    if "AlternatingPhase" in phi0:
        echoes += (
            "; a constant and linear phase difference between odd and even echoes was removed "
            f"(root mean square {phi0['AlternatingPhase']['Amplitude']:.2g} rad)"
        )
    return echoes


def _phase(phi0: Mapping[str, Any]) -> str:
    units = ", ".join(dict.fromkeys(phi0["PhaseUnits"]))
    scaled = {
        "complex": "computed from real and imaginary parts",
        "rad": "in radians",
    }.get(units, f"converted from {units}")
    axes = phi0["AlternateSlicesFlipped"]
    slices = f"; every second slice along {' and '.join(axes)} shifted by half a cycle"
    return f"{scaled}{slices if axes else ''}; interpreted as {phi0['PhaseType']} phase"


def _sign(phi0: Mapping[str, Any]) -> str:
    if phi0["PhaseSignOrigin"] == "given":
        return f"{phi0['PhaseSign']}, given by the user"
    agreement = f"{phi0['PhaseSignAgreement']:.1%} of the voxels agree"
    if phi0["PhaseSignOrigin"] == "Manufacturer":
        return (
            f"{phi0['PhaseSign']}, the usual sign of the manufacturer, because only {agreement} "
            "with the automatic sign"
        )
    weak = "; weak evidence" if phi0["PhaseSignWeak"] else ""
    return f"{phi0['PhaseSign']}, determined automatically: {agreement}{weak}"


def _mask(result: Result) -> str:
    """Return a description of the mask: its origin, alignment and overlap with the signal."""
    sidecar = read_sidecar(result.mask)
    if sidecar["Type"] != "Brain":
        note = sidecar.get("MaskNote")
        return f"the region of reliable signal in the magnitude{f' ({note})' if note else ''}"
    origin = sidecar.get("MaskOrigin", "derivative")
    share = ""
    if "MaskOverlap" in sidecar:
        share = f"; {sidecar['MaskOverlap']:.0%} of the brain has signal"
    if origin == "template":
        return (
            "a brain mask computed from the magnitude with the MNI152 template (mutual information "
            f"{sidecar['MutualInformation']:.3f}, expected by chance "
            f"{sidecar['MutualInformationChance']:.3f}){share}"
        )
    if origin == "T1w":
        return (
            f"a brain mask computed from the T1w image {_uri(sidecar)}, {_placement(sidecar)}"
            f"{share}"
        )
    return f"the brain mask {_uri(sidecar)}, {_placement(sidecar)}"


def _segmentation(result: Result) -> str:
    if result.segmentation is None:
        return "none"
    sidecar = read_sidecar(result.segmentation)
    own = "computed from " if sidecar.get("SegmentationConfidence") == "low" else ""
    volumes = ", ".join(f"{name} {ml:.0f} ml" for name, ml in sidecar["TissueVolumes"].items())
    return (
        f"{own}{_uri(sidecar)}, {_placement(sidecar)}; covers {sidecar['MaskCoverage']:.0%} of the "
        f"mask; {volumes}"
    )


def _b1_of_maps(result: Result) -> list[str]:
    """Return a description of each ``|B1+|`` that was used, with its methods."""
    methods: dict[str, list[str]] = {}
    for one in result.maps:
        methods.setdefault(_b1(one.sidecar), []).append(one.method)
    if len(methods) == 1:
        return list(methods)
    return [f"{b1} ({', '.join(names)})" for b1, names in methods.items()]


def _b1(sidecar: Mapping[str, Any]) -> str:
    """Return a description of the ``|B1+|`` that was used for a map."""
    origin = sidecar.get("B1Map", "none")
    if origin == "none":
        return "assumed to be constant"
    low, high = sidecar["B1MapRange"]
    span = f"{low:.2f} to {high:.2f} times its median (5th to 95th percentile)"
    if origin == "model":
        return (
            "modelled for a homogeneous body with the outline of the head "
            f"({sidecar['B1ModelConductivity']:g} S/m, relative permittivity "
            f"{sidecar['B1ModelPermittivity']:g}, {sidecar['B1ModelVolume']:.1f} l), {span}"
        )
    [uri] = [one for one in sidecar["Sources"] if "_TB1map." in one]
    return (
        f"measured, {uri.removeprefix('bids:')} ({sidecar['B1MapUnits']}), smoothed over "
        f"{sidecar['B1MapSmoothing']:g} mm, extended over {sidecar['B1MapFilledFraction']:.0%} of "
        f"the mask, {span}"
    )


def _placement(sidecar: Mapping[str, Any]) -> str:
    """Return how a mask or segmentation was aligned with the phase."""
    if "Transforms" in sidecar:
        return f"aligned by {', '.join(sidecar['Transforms'])}"
    way = sidecar.get("Coregistration")
    if way is None:
        return "in the grid of the phase"
    placed = {"rigid": "aligned by registration", "header": "aligned by the headers"}[way]
    if "RegisteredShift" not in sidecar:
        return placed
    return (
        f"{placed} (the registration shifts the image by {sidecar['RegisteredShift']:.1f} mm and "
        f"changes the mutual information from {sidecar['MutualInformationHeader']:.3f} to "
        f"{sidecar['MutualInformationRegistered']:.3f})"
    )


def _uri(sidecar: Mapping[str, Any]) -> str:
    """Return the dataset and file of a derivative's first source."""
    first: str = sidecar["Sources"][0]
    return first.removeprefix("bids:")


def _method(one: MapResult) -> str:
    radii = ", ".join(
        f"{kind} radius {_radius(one.sidecar[key])}"
        for kind, key in (("fit", "FitRadius"), ("integral", "IntegralRadius"))
        if key in one.sidecar
    )
    return f"{one.method} ({radii})" if radii else one.method


def _radius(triple: Sequence[float]) -> str:
    return f"{triple[0]:.3g} mm" if len(set(triple)) == 1 else f"{_times(triple, '.3g')} mm"


def _times(numbers: Sequence[float], form: str) -> str:
    return " x ".join(format(number, form) for number in numbers)


def _tables(one: MapResult, result: Result) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a map's statistics tables, for whole tissues and for eroded tissues."""
    if one.condstats is None:
        return {"whole": [], "eroded": []}
    literature = literature_conductivity(1e6 * result.sidecar["ImagingFrequency"])
    rows: dict[str, list[dict[str, Any]]] = {"whole": [], "eroded": []}
    for row in read_condstats(one.condstats):
        eroded = f", {row['erosion']} voxels" if row["erosion"] else ""
        known = literature.get(row["tissue"], math.nan)
        rows["eroded" if row["erosion"] else "whole"].append(
            {
                "tissue": f"{row['tissue']}{eroded}",
                "n": f"{row['n']:d}",
                "conductivities": [_number(row[name]) for name in ("mean", "median", "sd", "iqr")],
                "invalid": _number(row["invalid_fraction"], ".1%"),
                "literature": _number(known),
                "ratio": _number(row["median"] / known, ".2f"),
            }
        )
    return rows


def _number(value: float, form: str = ".3f") -> str:
    return "-" if math.isnan(value) else format(value, form)


def _failures(output_dir: Path, records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Return the failures of the last run, with the crash reports that still exist."""
    found = []
    for record in records:
        for failure in record.failures:
            crash = output_dir / failure.crash_file if failure.crash_file else None
            text = crash.read_text("utf-8", errors="replace") if crash and crash.exists() else ""
            found.append(
                {
                    **asdict(failure),
                    "acquisition": record.acquisition,
                    "date": record.date,
                    "crash_text": text,
                    "crash_link": link(failure.crash_file) if failure.crash_file else "",
                }
            )
    return found
