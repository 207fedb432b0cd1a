"""Command ``bids-qcm``: compute conductivity maps of a BIDS dataset."""

import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bids_qcm import __version__
from bids_qcm.bids.anatomy.datasets import SearchedDatasets, derivative_datasets
from bids_qcm.bids.dataset import check_description, find_acquisitions
from bids_qcm.bids.derivatives import refuse_links, write_dataset_files
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.planning import Plan
from bids_qcm.bids.run_records import Failure, write_config
from bids_qcm.cli.display import progress_display
from bids_qcm.cli.exits import ExitStatus, status_of
from bids_qcm.cli.limits import check_semaphores
from bids_qcm.cli.parser import parse_settings
from bids_qcm.cli.plan_table import plan_table
from bids_qcm.cli.reports import rebuild_citation, rebuild_reports, report_group, report_run
from bids_qcm.cli.slurm import write_slurm_scripts
from bids_qcm.cli.summary import Summary, log_existing_maps
from bids_qcm.settings import Settings
from bids_qcm.workflows.configuration import require_private
from bids_qcm.workflows.finished import FinishedRecord
from bids_qcm.workflows.fork_server import start_fork_server
from bids_qcm.workflows.names import run_name
from bids_qcm.workflows.preflight import Preflight
from bids_qcm.workflows.progress import REPORTS, Progress, run_progress, skip_acquisitions

LOGGER = logging.getLogger("bids_qcm")

# Number of acquisitions in one workflow.
_BATCH_SIZE = 32


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the command name. By default, the arguments of this process.

    Returns
    -------
    int
        An :class:`~bids_qcm.cli.exits.ExitStatus`.

    Raises
    ------
    SystemExit
        With status 0 after ``--help`` or ``--version``, and with status 64 after a usage error.
    """
    return run_command(*parse_settings(argv))


def run_command(settings: Settings, verbosity: int) -> int:
    """Run the command after its command line has been parsed.

    Parameters
    ----------
    settings : Settings
    verbosity : int
        The number of ``-v`` options.

    Returns
    -------
    int
        An :class:`~bids_qcm.cli.exits.ExitStatus`.
    """
    _open_standard_streams()
    _start_logging(verbosity)
    # Schedulers and containers stop a process with SIGTERM. Handle it like Ctrl-C, so that no
    # worker processes remain.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(settings, verbose=verbosity > 0)
    except InputError as error:
        LOGGER.error("%s", error)
        return status_of(error)
    except OSError as error:  # a write error, because read errors are raised as InputError
        LOGGER.error("cannot write: %s", error)
        return ExitStatus.CANNOT_WRITE
    except KeyboardInterrupt:
        LOGGER.error("interrupted; run the same command again to resume")
        return ExitStatus.INTERRUPTED
    except Exception:
        LOGGER.exception("internal error; please report it with the traceback below")
        return ExitStatus.INTERNAL
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(settings: Settings, *, verbose: bool) -> ExitStatus:
    refuse_links(settings.output_dir)
    if settings.analysis_level == "group":
        return report_group(settings)
    if settings.reports_only:
        return rebuild_reports(settings)
    if settings.boilerplate_only:
        return rebuild_citation(settings)
    return run_participants(settings, verbose=verbose)


def run_participants(settings: Settings, *, verbose: bool = False) -> ExitStatus:
    """Compute and write the maps of all selected participants.

    Parameters
    ----------
    settings : Settings
    verbose : bool
        Whether nipype logs each step of each node.

    Returns
    -------
    ExitStatus

    Raises
    ------
    InputError
        If the whole dataset cannot be used.
    """
    LOGGER.info("bids-qcm %s: %s -> %s", __version__, settings.bids_dir, settings.output_dir)
    if not settings.skip_bids_validation:
        check_description(settings.bids_dir)
    derivatives = derivative_datasets(settings.bids_dir, settings.derivatives, settings.output_dir)
    preflight = Preflight(settings, SearchedDatasets.of(settings, derivatives))
    results = preflight.outline(find_acquisitions(settings))
    _print_plan(plan_table(results, settings))
    summary = Summary()
    plans = summary.add_planning_results(results, already_logged=True)
    if settings.slurm_dir is not None:
        if plans:
            write_slurm_scripts(plans, settings, settings.slurm_dir)
    elif not settings.dry_run:
        datasets = {"raw": settings.bids_dir, **derivatives}
        write_dataset_files(settings.output_dir, datasets)
        records = _set_unchanged_aside(plans, settings, datasets, summary)
        progress = run_progress([record.plan for record in records], settings)
        with progress_display(progress):
            if records:
                write_config(settings.output_dir, settings.command, settings.config)
                try:
                    _compute_all(records, preflight, datasets, summary, progress, verbose=verbose)
                except KeyboardInterrupt:
                    log_existing_maps(plans, settings)
                    raise
            progress.start(REPORTS)
            report_run([result.acquisition for result in results], settings, datasets, summary)
    return summary.conclude(only_planned=settings.dry_run or settings.slurm_dir is not None)


def _print_plan(text: str) -> None:
    """Print the plan, or log a warning and continue if standard output is closed."""
    try:
        print(text, flush=True)
    except OSError as error:
        LOGGER.warning("the plan could not be printed: %s", error)
        # Python flushes standard output again at exit, which would raise the same error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _set_unchanged_aside(
    plans: Sequence[Plan], settings: Settings, datasets: Mapping[str, Path], summary: Summary
) -> list[FinishedRecord]:
    """Add the unchanged acquisitions to the summary; return the records of the others."""
    if plans:
        require_private(settings.work_dir)
        require_private(settings.work_dir / run_name(settings))
    records = [FinishedRecord.start(plan, settings, datasets) for plan in plans]
    unchanged = {record.plan.acquisition.name for record in records if record.is_unchanged}
    summary.add_unchanged([plan for plan in plans if plan.acquisition.name in unchanged], settings)
    return [record for record in records if record.plan.acquisition.name not in unchanged]


def _compute_all(
    records: Sequence[FinishedRecord],
    preflight: Preflight,
    datasets: Mapping[str, Path],
    summary: Summary,
    progress: Progress,
    *,
    verbose: bool,
) -> None:
    """Run the workflows of acquisitions in batches and add the results to the summary."""
    settings = preflight.settings
    check_semaphores()
    # nipype reads its configuration on import, so configure it before importing these modules
    from bids_qcm.workflows.configuration import (
        configure_nipype,
        limit_threads,
        share_compiled_code,
    )

    configure_nipype(settings, verbose=verbose)
    limit_threads(settings)
    share_compiled_code(settings)
    start_fork_server(settings)
    from bids_qcm.workflows.computing import compute_acquisitions
    from bids_qcm.workflows.locks import lock_acquisitions

    locked = (
        f"another run is computing this acquisition in {settings.work_dir}; wait until it ends, or "
        "choose another --work-dir"
    )
    # The memory of a workflow, and its overhead for each node, grow with the number of
    # acquisitions
    for start in range(0, len(records), _BATCH_SIZE):
        batch = {one.plan.acquisition.name: one for one in records[start : start + _BATCH_SIZE]}
        checked = summary.add_planning_results(
            preflight.check([record.plan for record in batch.values()])
        )
        with lock_acquisitions(checked, settings) as ours:
            own_names = {plan.acquisition.name for plan in ours}
            others = [one.plan for name, one in batch.items() if name not in own_names]
            skip_acquisitions(progress, others, settings)
            for plan in checked:
                if plan.acquisition.name not in own_names:
                    summary.fail(plan.acquisition, Failure("work directory", locked))
            outcomes = compute_acquisitions(ours, settings, datasets, progress) if ours else []
            summary.add_outcomes(outcomes, settings)
            for outcome in outcomes:
                if not outcome.failures:
                    batch[outcome.plan.acquisition.name].write(outcome.plan)
        if settings.stop_on_first_crash and any(outcome.failures for outcome in outcomes):
            skip_acquisitions(progress, [record.plan for record in records], settings)
            break


def _open_standard_streams() -> None:
    """Reopen closed standard streams on ``/dev/null``.

    Otherwise a pipe to a worker could get the file descriptor of a standard stream, and log
    messages would be written to the pipe.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # os.open returns the lowest free descriptor, which is the descriptor of the closed
            # stream
            descriptor = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, "w" if number else "r"))


def _start_logging(verbosity: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    LOGGER.handlers = [handler]
    LOGGER.setLevel(logging.DEBUG if verbosity else logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
