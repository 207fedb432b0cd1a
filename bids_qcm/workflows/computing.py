"""Run the workflow of several acquisitions, and return the outcome of each acquisition."""

import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_qcm.bids.outputs import LOGS
from bids_qcm.bids.planning import Plan
from bids_qcm.bids.run_records import Failure, Step, write_resources
from bids_qcm.settings import Settings
from bids_qcm.workflows.acquisition import write_node_name
from bids_qcm.workflows.base import init_bids_qcm_wf
from bids_qcm.workflows.duration import step_seconds
from bids_qcm.workflows.names import acquisition_wf_name, run_name
from bids_qcm.workflows.progress import Progress
from bids_qcm.workflows.running import Monitor, crash_reports, run_workflow

LOGGER = logging.getLogger("bids_qcm")


@dataclass(frozen=True)
class Outcome:
    """Outcome of the workflow of one acquisition.

    Attributes
    ----------
    plan : Plan
    methods : tuple of str
        Methods whose maps were written.
    failures : tuple of Failure
        Failed steps or, if no step failed, the methods that were not computed.
    steps : tuple of Step
        Steps that ended without an error, in the order in which they ended.
    """

    plan: Plan
    methods: tuple[str, ...]
    failures: tuple[Failure, ...]
    steps: tuple[Step, ...]


def compute_acquisitions(
    plans: Sequence[Plan], settings: Settings, datasets: Mapping[str, Path], progress: Progress
) -> list[Outcome]:
    """Compute and write the maps of several acquisitions in one workflow.

    Parameters
    ----------
    plans : sequence of Plan
    settings : Settings
    datasets : mapping of str to Path
        Source datasets by name, for the ``Sources`` in the sidecars.
    progress : Progress
        Progress of the run, which is updated.

    Returns
    -------
    list of Outcome
        One outcome for each plan. A failed step does not raise an exception.
    """
    if settings.clean_workdir:
        for plan in plans:
            folder = acquisition_wf_name(plan.acquisition)
            shutil.rmtree(settings.work_dir / run_name(settings) / folder, ignore_errors=True)
    workflow = init_bids_qcm_wf(plans=plans, settings=settings, datasets=datasets)
    monitor = run_workflow(workflow, settings, progress)
    if monitor.errors:
        LOGGER.error("crash reports are in %s", settings.output_dir / LOGS)
    crashes = crash_reports(settings.output_dir / LOGS)
    if settings.resource_monitor:
        for plan in plans:
            _write_resources(plan, monitor, settings)
    steps = {
        node: Step(
            node.rpartition(".")[2], round(time, 2), round(workflow.get_node(node).mem_gb, 3)
        )
        for node, time in monitor.seconds.items()
    }
    return [_outcome(plan, monitor, crashes, steps, settings) for plan in plans]


def _write_resources(plan: Plan, monitor: Monitor, settings: Settings) -> None:
    """Write the resources that the steps of an acquisition used, and their estimates."""
    prefix = f"{acquisition_wf_name(plan.acquisition)}."
    estimates = step_seconds(plan, settings)
    steps: list[dict[str, str | float]] = []
    for node, used in monitor.resources.items():
        if node.startswith(prefix):
            step = node.removeprefix(prefix)
            steps.append(
                {
                    "step": step,
                    "duration": monitor.seconds.get(node, math.nan),
                    "processor_time": used.usage.processor_seconds,
                    "estimated_processor_time": estimates.get(step, math.nan),
                    "peak_memory": used.usage.peak_gb,
                    "estimated_peak_memory": used.estimated_gb,
                }
            )
    write_resources(settings.output_dir, plan.acquisition, steps)


def _outcome(
    plan: Plan,
    monitor: Monitor,
    crashes: Mapping[str, Path],
    steps: Mapping[str, Step],
    settings: Settings,
) -> Outcome:
    prefix = f"{acquisition_wf_name(plan.acquisition)}."
    failures = []
    for node, error in monitor.errors.items():
        if node.startswith(prefix):
            crash = crashes.get(node)
            report = None if crash is None else crash.relative_to(settings.output_dir).as_posix()
            failures.append(Failure(node.removeprefix(prefix), error, report))
    written = [m for m in plan.methods if prefix + write_node_name(m) in monitor.finished]
    if not failures:
        missing = [method for method in plan.methods if method not in written]
        failures = [Failure(method, f"{method} was not computed") for method in missing]
    ended = tuple(step for node, step in steps.items() if node.startswith(prefix))
    return Outcome(plan, tuple(written), tuple(failures), ended)
