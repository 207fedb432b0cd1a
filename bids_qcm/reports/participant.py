"""Write the report page of a participant."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bids_qcm.bids.anatomy.auxiliary import NATIVE
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_grid
from bids_qcm.bids.names import parse_name
from bids_qcm.bids.outputs import FIGURES
from bids_qcm.bids.privacy import without_paths
from bids_qcm.bids.results import (
    MapResult,
    Result,
    find_results,
    map_warnings,
    read_sidecar,
)
from bids_qcm.bids.run_records import RunRecord, crash_files, read_records
from bids_qcm.bids.sidecar_schema import (
    InSpace,
    MapSidecar,
    MaskSidecar,
    Phi0Sidecar,
    Placement,
    SegmentationSidecar,
)
from bids_qcm.checks.plausible import PLAUSIBLE
from bids_qcm.physics import PROTON_GYROMAGNETIC_RATIO
from bids_qcm.recon import METHODS
from bids_qcm.reports.citations import as_html
from bids_qcm.reports.drawing import Drawn, draw_result
from bids_qcm.reports.methods_text import Processing, describe_methods
from bids_qcm.reports.pages import link, write_page
from bids_qcm.reports.states import participant_state
from bids_qcm.reports.tables import (
    comparison_table,
    lesion_rows,
    region_rows,
    statistics_rows,
)
from bids_qcm.segmentation.template import is_mni152

_INPUT_FIGURES = {
    "mask": (
        "Magnitude and mask",
        "Magnitude, root sum of squares over the echoes. The red line is the outline of the mask. "
        "Conductivity is computed inside the mask. The mask is {mask}.",
    ),
    "tissues": (
        "Tissues",
        "Magnitude and outlines of the tissues, which the methods with 'seg' in their names use. "
        "The outlines must follow the tissue boundaries in the magnitude. Where two tissues meet, "
        "the outline has the colour of one of them.",
    ),
    "phase": (
        "Phase",
        "Phase at echo time zero, before and after unwrapping. The unwrapped phase has the sign "
        "that makes the conductivity positive. It must not have any jumps.",
    ),
    "b1": (
        "Transmit field |B1+|",
        "Transmit field magnitude used by {b1_methods}, relative to its median in the mask. The "
        "field must be smooth and must not show the tissues. |B1+| is {b1}.",
    ),
}

# Figures that alternate with another figure of the same size while the pointer is over them.
_ALTERNATIVES = {"tissues": "magnitude", "phase": "wrapped"}


@dataclass(frozen=True)
class _Picture:
    """A figure on the page.

    Attributes
    ----------
    source : str
        URL of the image.
    title, caption : str
    alternative : str or None
        URL of the image that alternates with this image while the pointer is over it.
    """

    source: str
    title: str
    caption: str
    alternative: str | None = None


def write_participant_pages(
    output_dir: Path, participant: str, aggregated_sessions: int | None = None
) -> tuple[list[Path], list[InputError]]:
    """Draw the figures of a participant, and write the report pages.

    Parameters
    ----------
    output_dir : Path
        Derivative dataset; no other files are read.
    participant : str
        Label with ``sub-``, such as ``sub-01``.
    aggregated_sessions : int, optional
        Maximum number of sessions on one page. With more sessions, each session also gets
        a separate page.

    Returns
    -------
    paths : list of Path
        Pages that were written.
    damaged : list of InputError
        Errors for the files that cannot be read. The pages omit the content that depends on these
        files.
    """
    state = participant_state(output_dir, participant, aggregated_sessions)
    damaged: list[InputError] = []
    results, sections, done = [], {}, {}
    for result in find_results(output_dir, participant, damaged):
        try:
            drawn = draw_result(result, output_dir / participant / FIGURES)
            sections[result.source] = _section(output_dir, result, drawn)
            done[result.source] = processing(result)
        except InputError as error:
            damaged.append(error)
        else:
            results.append(result)
    records = read_records(output_dir, participant)
    sessions = {one.session for one in results} | {one.session for one in records}
    named = sorted(session for session in sessions if session is not None)
    pages: dict[str, str | None] = {}
    if aggregated_sessions is not None and len(named) > aggregated_sessions:
        pages |= {f"{participant}_ses-{session}": session for session in named}
    # write the page of the participant last, because its fingerprint includes the other pages
    pages[participant] = None
    written = []
    for name, session in pages.items():
        chosen = [one for one in results if session is None or one.session == session]
        path = output_dir / f"{name}.html"
        write_page(
            path,
            "participant.html",
            # without a fingerprint, the report is written again, so that each run lists the damaged
            # files
            fingerprint="" if damaged or name != participant else state.fingerprint(),
            plausible=PLAUSIBLE,
            title=name.replace("_", ", "),
            acquisitions=[sections[result.source] for result in chosen],
            methods_text=as_html(describe_methods([done[one.source] for one in chosen]))
            if chosen
            else "",
            failures=_failures(
                output_dir, [one for one in records if session is None or one.session == session]
            ),
            damaged=[without_paths(str(one), {str(output_dir): "OUTPUT_DIR/"}) for one in damaged],
        )
        written.append(path)
    return written, damaged


def processing(result: Result, methods: Sequence[str] | None = None) -> Processing:
    """Return the sidecars of an acquisition, for the given methods or for all methods.

    Maps of methods that this version does not have are left out.
    """
    wanted = METHODS if methods is None else methods
    maps = [one for one in result.maps if one.method in METHODS and one.method in wanted]
    return Processing(
        phi0=result.sidecar,
        mask=result.mask_sidecar,
        segmentation=result.segmentation_sidecar,
        maps={one.method: one.sidecar for one in maps},
        stds={one.method: one.condstd_sidecar for one in maps if one.condstd_sidecar},
        spaces={
            space: read_sidecar(path, InSpace) for space, path in result.maps[0].in_spaces.items()
        },
    )


def _section(output_dir: Path, result: Result, drawn: Drawn) -> dict[str, Any]:
    """Return the content of the page section for an acquisition."""
    lesions = {one.method: lesion_rows(one) for one in result.maps if one.lesions}
    verdicts = [_verdict(one, result) for one in result.maps]
    return {
        "anchor": result.source,
        "name": result.name,
        "verdicts": verdicts,
        "verdict_of_method": {one["method"]: one["text"] for one in verdicts},
        "warnings": map_warnings(result),
        "fine": all(one and one.colour == "green" for one in result.verdicts.values()),
        "table": comparison_table(result, drawn.noise),
        "viewer": _url(output_dir, drawn.viewer),
        **_shared_pictures(output_dir, result, drawn),
        "lesions": [{"name": method, "rows": rows} for method, rows in lesions.items()],
        "methods": [
            {
                "name": one.method,
                "anchor": _anchor(one, result),
                "map": _picture(
                    output_dir,
                    drawn.maps[one.method],
                    f"Conductivity by {one.method}",
                    _map_caption(one),
                ),
                **statistics_rows(one, result),
                "regions": region_rows(one),
            }
            for one in result.maps
        ],
        "summary": _summary(result),
        "record": result.record,
    }


def _picture(
    output_dir: Path, path: Path, title: str, caption: str, alternative: Path | None = None
) -> _Picture:
    """Return a figure on the page from the files of its images."""
    other = _url(output_dir, alternative) if alternative else None
    return _Picture(_url(output_dir, path), title, caption, other)


def _url(output_dir: Path, path: Path) -> str:
    """Return the URL of a file, relative to the page."""
    return link(path.relative_to(output_dir).as_posix())


def _shared_pictures(output_dir: Path, result: Result, drawn: Drawn) -> dict[str, Any]:
    """Return the figures of an acquisition that do not belong to a single map."""
    picture = partial(_picture, output_dir)
    comparison = drawn.shared.get("comparison")
    return {
        "comparison": comparison
        and picture(
            comparison,
            "All methods",
            "Axial, coronal and sagittal slice of each map. The colour scale is the same for all "
            "maps.",
        ),
        "inputs": _input_pictures(output_dir, result, drawn),
        "distributions": picture(
            drawn.shared["distributions"],
            "Distribution of the conductivity",
            "Density of the conductivity of the valid voxels in each tissue, with the same scale "
            "for all methods. Dotted lines mark the literature values at this frequency.",
        ),
        "spaces": [
            picture(path, f"Space {space}", _space_caption(space, result))
            for space, path in drawn.spaces.items()
        ],
    }


def _input_pictures(output_dir: Path, result: Result, drawn: Drawn) -> list[_Picture]:
    """Return the figures of the images from which the maps were computed."""
    b1_map = result.b1_map
    with_b1 = result.with_b1(parse_name(b1_map.name)[0]["desc"]) if b1_map else []
    captioned = {
        "mask": _mask(result),
        "b1": _b1(with_b1[0].sidecar) if with_b1 else "",
        "b1_methods": ", ".join(one.method for one in with_b1),
    }
    return [
        _picture(
            output_dir,
            drawn.shared[name],
            title,
            caption.format(**captioned),
            drawn.shared.get(_ALTERNATIVES.get(name, "")),
        )
        for name, (title, caption) in _INPUT_FIGURES.items()
        if name in drawn.shared
    ]


def _anchor(one: MapResult, result: Result) -> str:
    """Return the anchor of a map on the page."""
    return f"{result.source}-{one.desc}"


def _space_caption(space: str, result: Result) -> str:
    where = "in the space of the T1w image" if space == NATIVE else f"in the space {space}"
    if is_mni152(space):
        outlines = (
            " The lines are the outlines of the brain and the white matter of the MNI152 template. "
            "They must follow the borders of the brain and of the fluid-filled ventricles."
        )
    elif space in result.segmentation_in_spaces:
        outlines = " The lines are the outlines of the tissues, resampled in the same way."
    else:
        outlines = ""
    return f"Conductivity in S/m from {result.maps[0].method} {where}.{outlines}"


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


def _verdict(one: MapResult, result: Result) -> dict[str, Any]:
    """Return the badge of the verdict on a map (its text and colour) and the reasons."""
    verdict = result.verdicts[one.method]
    shown = {"method": one.method, "anchor": _anchor(one, result)}
    if verdict is None:
        reason = (
            "the map was computed by a version without verdicts; compute it again to get a verdict"
        )
        return {**shown, "colour": "none", "text": "no verdict", "reasons": [reason]}
    reasons = verdict.reasons or ["no check found a problem"]
    return {**shown, "colour": verdict.colour, "text": verdict.colour, "reasons": reasons}


def _summary(result: Result) -> dict[str, str]:
    """Return the summary table: the inputs and the processing of the maps.

    A row is omitted if its fields are missing, for example in the sidecars of an older version.
    """
    phi0, grid = result.sidecar, read_grid(result.maps[0].condmap)
    versions = phi0.software_versions or {}
    summary = {
        "Acquisition": ", ".join(uri.partition(":")[2] for uri in phi0.sources or ()),
        "Field": _field(phi0),
        "Echoes": _echoes(phi0),
        "Voxels": f"{_times(grid.voxel_size, 'g')} mm, {_times(grid.shape, 'd')} voxels",
        "Phase": _phase(phi0),
        "Sign": _sign(phi0),
        "Noise of phi0": _with(phi0.median_phase_noise, "median standard deviation {:.2g} rad"),
        "Mask": _mask(result),
        "Segmentation": _segmentation(result),
        "Lesions": _lesions(result),
        "|B1+|": "; ".join(_b1_of_maps(result)),
        "Methods": "; ".join(_method(one) for one in result.maps),
        "Software": ", ".join(f"{name} {v}" for name, v in versions.items()),
    }
    if result.record:
        summary["Environment"] = "; ".join(
            f"{name}: {value}" for name, value in result.record.environment.items()
        )
        summary["Last run"] = (
            f"{result.record.date}, {result.record.seconds:.0f} s in total for all steps"
        )
        summary["Command"] = without_paths(result.record.command, {})
    return {name: text for name, text in summary.items() if text}


def _field(phi0: Phi0Sidecar) -> str:
    frequency = phi0.imaging_frequency
    if frequency is None:
        return ""
    source = _with(phi0.imaging_frequency_source, " (from {})")
    return f"{frequency * 1e6 / PROTON_GYROMAGNETIC_RATIO:.2f} T, {frequency:.3f} MHz{source}"


def _echoes(phi0: Phi0Sidecar) -> str:
    if not phi0.phase_units:
        return ""
    n = len(phi0.phase_units)
    combined = ""
    if phi0.averaged_acquisitions:
        combined = f"; average of {len(phi0.averaged_acquisitions)} acquisitions"
    elif phi0.combined_coils:
        combined = f"; combined from {phi0.combined_coils} receive coils"
    if phi0.echo_time is None:
        return f"{n}{combined}"
    numbers = ""
    if phi0.echoes_used and phi0.echoes_requested != "all":
        numbers = f" (number {', '.join(map(str, phi0.echoes_used))})"
    echoes = f"{n}{numbers}, at {', '.join(f'{1e3 * time:.4g}' for time in phi0.echo_time)} ms"
    echoes += combined
    if phi0.echo_misfit_of_each:
        each = ", ".join(f"{misfit:.2g}" for misfit in phi0.echo_misfit_of_each)
        echoes += f"; misfit of the line fit over echo time: {each} rad"
    if phi0.alternating_phase:
        echoes += "; a constant and linear phase difference between odd and even echoes was removed"
        echoes += _with(phi0.alternating_phase.amplitude, " (root mean square {:.2g} rad)")
    return echoes


def _phase(phi0: Phi0Sidecar) -> str:
    if not phi0.phase_units:
        return ""
    units = ", ".join(dict.fromkeys(phi0.phase_units))
    scaled = {
        "complex": "computed from real and imaginary parts",
        "rad": "in radians",
    }.get(units, f"converted from {units}")
    axes = phi0.alternate_slices_flipped or []
    slices = f"; every second slice along {' and '.join(axes)} shifted by half a cycle"
    in_plane = _with(
        phi0.slices_aligned_along,
        "; differentiated only within slices, not along axis {}; slices aligned",
    )
    kind = _with(phi0.phase_type, "; interpreted as {} phase")
    return f"{scaled}{slices if axes else ''}{in_plane}{kind}"


def _sign(phi0: Phi0Sidecar) -> str:
    sign, share = phi0.phase_sign, phi0.phase_sign_agreement
    if sign is None or phi0.phase_sign_origin is None:
        return sign or ""
    if phi0.phase_sign_origin == "given":
        return f"{sign}, given by the user"
    agreement = f"{'an unknown part' if share is None else f'{share:.1%}'} of the voxels agree"
    if phi0.phase_sign_origin == "Manufacturer":
        return (
            f"{sign}, the usual sign of the manufacturer, because only {agreement} with the "
            "automatic sign"
        )
    weak = "; weak evidence" if phi0.phase_sign_weak else ""
    return f"{sign}, determined automatically: {agreement}{weak}"


def _mask(result: Result) -> str:
    """Return a description of the mask: its origin, alignment and overlap with the signal."""
    sidecar = result.mask_sidecar
    if sidecar.used_origin == "signal":
        note = f" ({sidecar.mask_note})" if sidecar.mask_note else ""
        return f"the region of reliable signal in the magnitude{note}"
    share = _with(sidecar.mask_overlap, "; {:.0%} of the brain has signal")
    if sidecar.used_origin == "template":
        return (
            "a brain mask computed from the magnitude with the MNI152 template"
            f"{_template_fit(sidecar)}{share}"
        )
    if sidecar.used_origin == "T1w":
        return (
            f"a brain mask computed from the T1w image {_uri(sidecar)}, {_placement(sidecar)}"
            f"{share}"
        )
    return f"the brain mask {_uri(sidecar)}, {_placement(sidecar)}"


def _template_fit(sidecar: MaskSidecar) -> str:
    information, chance = sidecar.mutual_information, sidecar.mutual_information_chance
    if information is None or chance is None:
        return ""
    return f" (mutual information {information:.3f}, expected by chance {chance:.3f})"


def _segmentation(result: Result) -> str:
    sidecar = result.segmentation_sidecar
    if sidecar is None:
        return "none"
    own = "computed from " if sidecar.segmentation_confidence == "low" else ""
    volumes = [f"{name} {ml:.0f} ml" for name, ml in (sidecar.tissue_volumes or {}).items()]
    parts = [
        f"{own}{_uri(sidecar)}, {_placement(sidecar)}",
        _with(sidecar.mask_coverage, "covers {:.0%} of the mask"),
        ", ".join(volumes),
    ]
    return "; ".join(filter(None, parts))


def _lesions(result: Result) -> str:
    sidecar = result.lesions_sidecar
    if sidecar is None:
        return ""
    volumes = list((sidecar.lesion_volumes or {}).values())
    files = ", ".join(
        one.removeprefix("bids:") for one in sidecar.sources or () if "_xfm." not in one
    )
    return (
        f"{files}, {_placement(sidecar)}; {len(volumes)} lesion(s), {sum(volumes):.1f} ml in total"
    )


def _b1_of_maps(result: Result) -> list[str]:
    """Return a description of each ``|B1+|`` that was used, with its methods."""
    methods: dict[str, list[str]] = {}
    for one in result.maps:
        methods.setdefault(_b1(one.sidecar), []).append(one.method)
    if len(methods) == 1:
        return list(methods)
    return [f"{b1} ({', '.join(names)})" for b1, names in methods.items()]


def _b1(sidecar: MapSidecar) -> str:
    """Return a description of the ``|B1+|`` that was used for a map."""
    if sidecar.b1_map in (None, "none"):
        return "assumed to be constant"
    span = ""
    if sidecar.b1_map_range:
        low, high = sidecar.b1_map_range
        span = f"{low:.2f} to {high:.2f} times its median (5th to 95th percentile)"
    parts = _b1_model(sidecar) if sidecar.b1_map == "model" else _b1_measurement(sidecar)
    return ", ".join(filter(None, [*parts, span]))


def _b1_model(sidecar: MapSidecar) -> list[str]:
    known = [
        _with(sidecar.b1_model_conductivity, "{:g} S/m"),
        _with(sidecar.b1_model_permittivity, "relative permittivity {:g}"),
        _with(sidecar.b1_model_volume, "{:.1f} l"),
    ]
    body = ", ".join(filter(None, known))
    model = "modelled for a homogeneous body with the outline of the head"
    return [f"{model} ({body})" if body else model]


def _b1_measurement(sidecar: MapSidecar) -> list[str]:
    files = [one.removeprefix("bids:") for one in sidecar.sources or () if "_TB1map." in one]
    return [
        "measured",
        f"{', '.join(files)}{_with(sidecar.b1_map_units, ' ({})')}",
        _with(sidecar.b1_map_smoothing, "smoothed over {:g} mm"),
        _with(sidecar.b1_map_filled_fraction, "extended over {:.0%} of the mask"),
    ]


def _with(value: float | str | None, form: str) -> str:
    """Return a formatted value; an empty string if the value is missing."""
    return "" if value is None else form.format(value)


def _placement(sidecar: Placement) -> str:
    """Return a description of the alignment of a mask or segmentation with the phase."""
    if sidecar.transforms:
        return f"aligned by {', '.join(sidecar.transforms)}"
    if sidecar.coregistration is None:
        return "on the grid of the phase"
    ways = {"rigid": "aligned by registration", "header": "aligned by the headers"}
    placed = ways[sidecar.coregistration]
    shift = sidecar.registered_shift
    before, after = sidecar.mutual_information_header, sidecar.mutual_information_registered
    if shift is None or before is None or after is None:
        return placed
    return (
        f"{placed} (the registration shifts the image by {shift:.1f} mm and changes the mutual "
        f"information from {before:.3f} to {after:.3f})"
    )


def _uri(sidecar: MaskSidecar | SegmentationSidecar) -> str:
    """Return the dataset and file of a derivative's first source."""
    return sidecar.sources[0].removeprefix("bids:") if sidecar.sources else "from an unknown file"


def _method(one: MapResult) -> str:
    kinds = {"fit": one.sidecar.fit_radius, "integral": one.sidecar.integral_radius}
    radii = ", ".join(
        f"{kind} radius {_radius(radius)}" for kind, radius in kinds.items() if radius
    )
    return f"{one.method} ({radii})" if radii else one.method


def _radius(triple: Sequence[float]) -> str:
    return f"{triple[0]:.3g} mm" if len(set(triple)) == 1 else f"{_times(triple, '.3g')} mm"


def _times(numbers: Sequence[float], form: str) -> str:
    return " x ".join(format(number, form) for number in numbers)


def _crash_link(output_dir: Path, crash_file: str | None) -> str:
    """Return the link to a crash report in ``logs/``; empty for any other file.

    A crash report contains paths and the name of the machine, so the page contains only a link to
    the report.
    """
    return link(crash_file) if crash_file in crash_files(output_dir) else ""


def _failures(output_dir: Path, records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Return the failures of the last run, with links to the crash reports that still exist."""
    found = []
    for record in records:
        for failure in record.failures:
            found.append(
                {
                    "acquisition": record.acquisition,
                    "step": failure.step,
                    "error": without_paths(failure.error, {str(output_dir): "OUTPUT_DIR/"}),
                    "date": record.date,
                    "crash_file": _crash_link(output_dir, failure.crash_file),
                }
            )
    return found
