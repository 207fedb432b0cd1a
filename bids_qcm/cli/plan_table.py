"""Plan table, which is printed before a run computes anything."""

from collections.abc import Sequence

import pandas as pd

from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.datasets import RAW
from bids_qcm.bids.planning import Plan
from bids_qcm.settings import ACQUISITION_SPACE, Settings
from bids_qcm.workflows.duration import seconds
from bids_qcm.workflows.memory import acquisition_gb, memory_limit_gb
from bids_qcm.workflows.preflight import PlanningResult


def plan_table(results: Sequence[PlanningResult], settings: Settings) -> str:
    """Return the plan of a run as text.

    Parameters
    ----------
    results : sequence of PlanningResult
        One for each acquisition.
    settings : Settings

    Returns
    -------
    str
        One table row for each acquisition that will be computed, one line for each skipped
        acquisition or method with the reason, and a last line with the total time and the memory
        limit.
    """
    plans = [result.plan for result in results if result.plan is not None]
    times = [seconds(plan, settings) for plan in plans]
    lines = []
    if plans:
        rows = [_row(plan, settings, time) for plan, time in zip(plans, times, strict=True)]
        table = pd.DataFrame(rows)
        lines += table.to_string(index=False, justify="left").splitlines()
    lines += [
        f"skipped: {result.acquisition.name}: {failure.error}"
        for result in results
        for failure in result.failures
    ]
    lines.append(
        f"{len(plans)} of {len(results)} acquisition(s) to compute: about {_time(sum(times))} in "
        f"{settings.nprocs} thread(s), within {memory_limit_gb(settings):.1f} GB of memory"
    )
    return "\n".join(lines)


def _row(plan: Plan, settings: Settings, time: float) -> dict[str, str | int]:
    return {
        "acquisition": plan.acquisition.name,
        "echoes": len(plan.echoes),
        "voxels": "x".join(map(str, plan.grid.shape)),
        "size (mm)": "x".join(f"{size:.3g}" for size in plan.grid.voxel_size),
        "MHz": f"{plan.frequency / 1e6:.3f}",
        "mask": _mask(plan),
        "segmentation": _file_in_dataset(plan.segmentation) if plan.segmentation else "none",
        "|B1+|": _b1(plan, settings),
        "methods": " ".join(plan.methods),
        **_spaces(plan, settings),
        "GB": f"{acquisition_gb(plan, settings):.1f}",
        "time": _time(time),
    }


def _mask(plan: Plan) -> str:
    if plan.mask is not None and plan.mask_origins[0] == "derivative":
        return _file_in_dataset(plan.mask)
    names = {"T1w": "brain (T1w)", "template": "brain (template)", "signal": "reliable signal"}
    return names[plan.mask_origins[0]]


def _b1(plan: Plan, settings: Settings) -> str:
    origin = plan.b1_origins[0] if plan.b1_origins else "none"
    if plan.b1 is None or origin != "measured":
        return origin
    # show the dataset name that --b1 accepts
    raw = plan.b1.dataset == settings.bids_dir
    return f"{RAW}/{plan.b1.path.name}" if raw else _file_in_dataset(plan.b1)


def _spaces(plan: Plan, settings: Settings) -> dict[str, str]:
    """Return the column of the output spaces; empty if only the grid of the phase is requested."""
    if set(settings.output_spaces) <= {ACQUISITION_SPACE}:
        return {}
    return {"spaces": " ".join([ACQUISITION_SPACE, *(space.name for space in plan.spaces)])}


def _file_in_dataset(auxiliary: AuxiliaryImage) -> str:
    if auxiliary.kind == "t1w":
        return "t1w (low confidence)"
    return f"{auxiliary.dataset.name}/{auxiliary.path.name}"


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
