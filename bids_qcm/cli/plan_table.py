"""Plan table, which is printed before the computation starts."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.datasets import RAW
from bids_qcm.bids.planning import Plan
from bids_qcm.settings import ACQUISITION_SPACE, Settings
from bids_qcm.workflows.duration import format_time, run_processor_seconds, run_seconds, seconds
from bids_qcm.workflows.memory import acquisition_gb, memory_limit_gb
from bids_qcm.workflows.preflight import PlanningResult

_COLUMNS = 100

# The entities of a participant and a session at the start of a file name.
_PARTICIPANT = re.compile(r"^sub-[^_]+(_ses-[^_]+)?")


def plan_table(results: Sequence[PlanningResult], settings: Settings) -> str:
    """Return the plan of a run as text.

    Parameters
    ----------
    results : sequence of PlanningResult
        One planning result for each acquisition.
    settings : Settings

    Returns
    -------
    str
        At most 100 columns wide unless a name is longer. One table row for each acquisition that
        will be computed; the inputs and methods of these acquisitions, with a letter for each
        combination; one line for each skipped acquisition or method with the reason; and a last
        line with the total time and the memory limit.
    """
    plans = [result.plan for result in results if result.plan is not None]
    times = [seconds(plan, settings) for plan in plans]
    described = [_inputs(plan, settings) for plan in plans]
    combinations = {inputs: _letters(n) for n, inputs in enumerate(dict.fromkeys(described))}
    lines = []
    if plans:
        rows = [
            _row(plan, settings) | {"inputs": combinations[inputs], "time": format_time(time)}
            for plan, inputs, time in zip(plans, described, times, strict=True)
        ]
        table = pd.DataFrame(rows)
        lines += table.to_string(index=False, justify="left").splitlines()
    for inputs, letters in combinations.items():
        lines += ["", f"inputs {letters}:"]
        for name, value in inputs:
            lines += textwrap.wrap(
                f"{name:<13}{value}",
                _COLUMNS,
                initial_indent="  ",
                subsequent_indent=" " * 15,
                break_long_words=False,
                break_on_hyphens=False,
            )
    lines += ["", *_skipped(results)]
    processor_time = format_time(run_processor_seconds(plans, settings))
    of_processor = f" ({processor_time} of processor time)" if settings.nprocs > 1 else ""
    lines.append(
        f"{len(plans)} of {len(results)} acquisition(s) to compute: about "
        f"{format_time(run_seconds(plans, settings))} in {settings.nprocs} thread(s)"
        f"{of_processor}, within {memory_limit_gb(settings):.1f} GB of memory"
    )
    return "\n".join(lines)


def plan_of(plan: Plan, settings: Settings) -> dict[str, str]:
    """Return the plan of one acquisition as text, keyed by the names in the plan table."""
    row = {name: str(value) for name, value in _row(plan, settings).items()}
    del row["acquisition"]
    return row | dict(_inputs(plan, settings))


def _skipped(results: Sequence[PlanningResult]) -> list[str]:
    return [
        f"skipped: {result.acquisition.name}: {failure.error}"
        for result in results
        for failure in result.failures
    ]


def _row(plan: Plan, settings: Settings) -> dict[str, str | int]:
    return {
        "acquisition": plan.acquisition.name,
        "echoes": len(plan.echoes),
        "voxels": "x".join(map(str, plan.grid.shape)),
        "size (mm)": "x".join(f"{size:.3g}" for size in plan.grid.voxel_size),
        "MHz": f"{plan.frequency / 1e6:.3f}",
        "GB": f"{acquisition_gb(plan, settings):.1f}",
    }


def _inputs(plan: Plan, settings: Settings) -> tuple[tuple[str, str], ...]:
    """Return the inputs and methods of an acquisition, without the names of the participant."""
    return (
        ("mask", _mask(plan)),
        ("segmentation", _file_in_dataset(plan.segmentation) if plan.segmentation else "none"),
        *_lesions(plan, settings),
        ("|B1+|", _b1(plan, settings)),
        ("methods", " ".join(plan.methods)),
        *_spaces(plan, settings),
    )


def _letters(number: int) -> str:
    """Return a, b, ..., z, aa, ab, ... for the numbers 0, 1, ..., 25, 26, 27, ..."""
    before, last = divmod(number, 26)
    return (_letters(before - 1) if before else "") + chr(ord("a") + last)


def _mask(plan: Plan) -> str:
    if plan.mask is not None and plan.mask_origins[0] == "derivative":
        return _file_in_dataset(plan.mask)
    names = {"T1w": "brain (T1w)", "template": "brain (template)", "signal": "reliable signal"}
    return names[plan.mask_origins[0]]


def _lesions(plan: Plan, settings: Settings) -> list[tuple[str, str]]:
    """Return the lesion masks; empty without lesion masks."""
    if plan.lesions is None:
        return []
    raw = RAW if plan.lesions.dataset == settings.bids_dir else None
    each = (replace(plan.lesions, paths=(path,)) for path in plan.lesions.paths)
    return [("lesions", ", ".join(_file_in_dataset(one, raw) for one in each))]


def _b1(plan: Plan, settings: Settings) -> str:
    origin = plan.b1_origins[0] if plan.b1_origins else "none"
    if plan.b1 is None or origin != "measured":
        return origin
    # show the dataset name that --b1 accepts
    raw = plan.b1.dataset == settings.bids_dir
    return _file_in_dataset(plan.b1, RAW if raw else None)


def _spaces(plan: Plan, settings: Settings) -> list[tuple[str, str]]:
    """Return the output spaces; empty if only the grid of the phase is requested."""
    if set(settings.output_spaces) <= {ACQUISITION_SPACE}:
        return []
    return [("spaces", " ".join([ACQUISITION_SPACE, *(space.name for space in plan.spaces)]))]


def _file_in_dataset(auxiliary: AuxiliaryImage, dataset: str | None = None) -> str:
    """Return the dataset and the file name of an image, with ``*`` for the participant."""
    if auxiliary.kind == "t1w":
        return "t1w (low confidence)"
    name = _PARTICIPANT.sub("*", auxiliary.path.name)
    return f"{dataset or auxiliary.dataset.name}/{name}"
