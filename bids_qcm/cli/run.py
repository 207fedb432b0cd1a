"""The command `bids-qcm`: from a BIDS dataset to conductivity maps."""

import logging
import shutil
import signal
import sys
from collections.abc import Sequence

from bids_qcm import __version__
from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.companions import Companion, derivative_datasets, segmentation_datasets
from bids_qcm.bids.dataset import check_description, find_acquisitions
from bids_qcm.bids.derivatives import write_dataset_files
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.planning import Plan, plan_acquisition
from bids_qcm.cli.exits import ExitStatus, status_of
from bids_qcm.cli.parser import parse_settings
from bids_qcm.cli.slurm import write_slurm_scripts
from bids_qcm.cli.summary import Summary
from bids_qcm.settings import Settings

LOGGER = logging.getLogger("bids_qcm")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the command's name; None means those of the process.

    Returns
    -------
    int
        An :class:`~bids_qcm.cli.exits.ExitStatus`.

    Raises
    ------
    SystemExit
        Help or version was asked for (0) or the usage is wrong (64).
    """
    settings, verbosity = parse_settings(argv)
    _start_logging(verbosity)
    # schedulers and containers stop a process so; like Ctrl-C, it must not leave workers behind
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run_participants(settings, verbose=verbosity > 0)
    except InputError as error:
        LOGGER.error("%s", error)
        return status_of(error)
    except OSError as error:
        LOGGER.error("cannot write: %s", error)
        return ExitStatus.CANNOT_WRITE
    except KeyboardInterrupt:
        LOGGER.error("interrupted; the same command goes on where this one stopped")
        return ExitStatus.INTERRUPTED
    except Exception:
        LOGGER.exception("internal error; please report it with what stands below")
        return ExitStatus.INTERNAL
    finally:
        signal.signal(signal.SIGTERM, before)


def run_participants(settings: Settings, *, verbose: bool = False) -> ExitStatus:
    """Compute and write the maps of all selected participants.

    Parameters
    ----------
    settings : Settings
    verbose : bool
        Let nipype log each step of each node.

    Returns
    -------
    ExitStatus

    Raises
    ------
    InputError
        If the dataset as a whole cannot be used.
    """
    LOGGER.info("bids-qcm %s: %s -> %s", __version__, settings.bids_dir, settings.output_dir)
    if not settings.skip_bids_validation:
        check_description(settings.bids_dir)
    found = derivative_datasets(settings.bids_dir, settings.derivatives, settings.output_dir)
    acquisitions = find_acquisitions(settings)
    summary = Summary()
    plans = _plan_all(acquisitions, settings, found, summary)
    if plans and settings.slurm_dir is not None:
        write_slurm_scripts(plans, settings)
    elif plans:
        datasets = {"raw": settings.bids_dir, **found}
        write_dataset_files(settings.output_dir, datasets)
        _compute(plans, settings, datasets, summary, verbose=verbose)
    return summary.conclude()


def _plan_all(
    acquisitions: Sequence[Acquisition],
    settings: Settings,
    derivatives: dict,
    summary: Summary,
) -> list[Plan]:
    """Check every acquisition before any is computed."""
    plans = []
    for acquisition in acquisitions:
        try:
            plan = plan_acquisition(
                acquisition,
                settings,
                list(derivatives.values()),
                segmentation_datasets(settings.segmentation, derivatives),
            )
        except InputError as error:
            LOGGER.error("%s: skipped: %s", acquisition.name, error)
            summary.failed.append(f"{acquisition.name}: {error}")
            continue
        plans.append(plan)
        LOGGER.info("%s", _describe(plan))
        for warning in plan.warnings:
            LOGGER.warning("%s", warning)
        for method, reason in plan.refused.items():
            LOGGER.error("%s: no %s: %s", acquisition.name, method, reason)
            summary.failed.append(f"{acquisition.name}: {reason}")
    return plans


def _describe(plan: Plan) -> str:
    voxel = " x ".join(f"{size:g}" for size in plan.grid.voxel_size)
    segmentation = _where(plan.segmentation) if plan.segmentation else "none"
    mask = _where(plan.mask) if plan.mask else "of reliable signal"
    return (
        f"{plan.acquisition.name}: {len(plan.echoes)} echo(es), {plan.grid.shape} voxels of "
        f"{voxel} mm, {plan.frequency / 1e6:.3f} MHz ({plan.frequency_source}), mask {mask}, "
        f"segmentation {segmentation}; methods: {', '.join(plan.methods)}"
    )


def _where(companion: Companion) -> str:
    if companion.kind == "t1w":
        return f"tissue classes of {companion.path.name} (low confidence)"
    return f"{companion.path.name} of {companion.dataset.name}"


def _compute(
    plans: Sequence[Plan],
    settings: Settings,
    datasets: dict,
    summary: Summary,
    *,
    verbose: bool,
) -> None:
    """Run the workflow of all plans, and note what was written."""
    # nipype reads its configuration on import, so it comes after this
    from bids_qcm.workflows.configuration import (
        configure_nipype,
        limit_threads,
        share_compiled_code,
    )

    configure_nipype(settings, verbose=verbose)
    limit_threads(settings)
    share_compiled_code(settings)
    from bids_qcm.workflows.acquisition import write_node_name
    from bids_qcm.workflows.base import acquisition_wf_name, init_bids_qcm_wf, run_name
    from bids_qcm.workflows.running import run_workflow

    if settings.clean_workdir:
        for plan in plans:
            folder = acquisition_wf_name(plan.acquisition)
            shutil.rmtree(settings.work_dir / run_name(settings) / folder, ignore_errors=True)
    workflow = init_bids_qcm_wf(plans=plans, settings=settings, datasets=datasets)
    monitor = run_workflow(workflow, settings)
    if monitor.errors:
        LOGGER.error("crash reports are in %s", settings.output_dir / "logs")
    for plan in plans:
        prefix = acquisition_wf_name(plan.acquisition)
        errors = [e for node, e in monitor.errors.items() if node.startswith(f"{prefix}.")]
        summary.failed += [f"{plan.acquisition.name}: {error}" for error in errors]
        finished = [m for m in plan.methods if f"{prefix}.{write_node_name(m)}" in monitor.finished]
        summary.add_maps(plan, settings, finished)
        if not errors:
            missing = [method for method in plan.methods if method not in finished]
            summary.failed += [f"{plan.acquisition.name}: {m} was not computed" for m in missing]


def _start_logging(verbosity: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    LOGGER.handlers = [handler]
    LOGGER.setLevel(logging.DEBUG if verbosity else logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
