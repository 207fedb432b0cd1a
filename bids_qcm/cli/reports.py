"""Records, report pages and citation files, which are written at the end of a run."""

import logging
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.errors import InputError, NoInputError
from bids_qcm.bids.privacy import known_places, without_paths
from bids_qcm.bids.results import duplicate_maps, find_results, reported_participants
from bids_qcm.bids.run_records import new_record, read_record, write_record
from bids_qcm.cli.environment import describe_environment
from bids_qcm.cli.exits import ExitStatus
from bids_qcm.cli.plan_table import plan_of
from bids_qcm.cli.summary import Summary
from bids_qcm.folders import make_private
from bids_qcm.reports.group_request import GroupRequest
from bids_qcm.reports.states import (
    ReportState,
    citation_state,
    group_state,
    participant_state,
)
from bids_qcm.settings import Settings

LOGGER = logging.getLogger("bids_qcm")


class _Written(NamedTuple):
    """Files of a report, and an error for each input file that was left out."""

    paths: Sequence[Path] = ()
    damaged: Sequence[InputError] = ()


# Peak memory of a process that draws the maps of a 1 mm head.
_PAGE_GB = 0.7


def report_run(
    acquisitions: Sequence[Acquisition],
    settings: Settings,
    datasets: Mapping[str, Path],
    summary: Summary,
) -> None:
    """Write the records, the report pages and the citation files of a run.

    Parameters
    ----------
    acquisitions : sequence of Acquisition
        All acquisitions of the run, including failed and skipped acquisitions.
    settings : Settings
    datasets : mapping of str to Path
        Source datasets by their name in BIDS URIs.
    summary : Summary
        Summary of the run. If a report cannot be written, the function adds the report to
        ``summary.failed_reports`` and does not raise an error.
    """
    _set_matplotlib_cache(settings)
    places = known_places(settings, datasets)
    _log_report("records", _call(_write_records, acquisitions, settings, places, summary), summary)
    _write_pages(
        sorted({f"sub-{acquisition.subject}" for acquisition in acquisitions}), settings, summary
    )
    _log_report("citation", _call(_write_citation, settings, summary), summary)


def rebuild_reports(settings: Settings) -> ExitStatus:
    """Write the participant pages again from the derivative dataset alone.

    Raises
    ------
    InputError
        If the output folder is not a derivative dataset of bids_qcm, or does not contain a
        participant that the settings select.
    """
    _set_matplotlib_cache(settings)
    participants = reported_participants(settings.output_dir, settings.participant_labels)
    summary = Summary()
    _write_pages(participants, settings, summary)
    return summary.conclude()


def rebuild_citation(settings: Settings) -> ExitStatus:
    """Write the methods text for all maps of the participants from the derivative dataset alone.

    Raises
    ------
    InputError
        If the output folder is not a derivative dataset of bids_qcm, or if the selected
        participants have no conductivity map.
    """
    participants = reported_participants(settings.output_dir, settings.participant_labels)
    if _is_current(citation_state(settings.output_dir, participants, None)):
        return ExitStatus.DONE
    from bids_qcm.reports.citation_files import write_citation

    paths = write_citation(settings.output_dir, participants)
    if not paths:
        raise NoInputError(
            settings.output_dir, "has no conductivity map to describe", "map conductivity first"
        )
    for path in paths:
        LOGGER.info("written: %s", path)
    return ExitStatus.DONE


def report_group(settings: Settings) -> ExitStatus:
    """Write the group tables, the group page and the group maps from the derivative dataset.

    Of the BIDS dataset, only ``participants.tsv`` and ``sessions.tsv`` are read, if they exist.

    Raises
    ------
    InputError
        If the output folder is not a derivative dataset of bids_qcm, or contains no statistics
        table, or if the groups or covariates cannot be compared.
    """
    participants = reported_participants(settings.output_dir, settings.participant_labels)
    request = GroupRequest(
        output_dir=settings.output_dir,
        participants=tuple(participants),
        bids_dir=settings.bids_dir,
        group_by=settings.group_by,
        covariates=settings.covariates,
        differences=settings.differences,
    )
    damaged: list[InputError] = []
    paths: list[Path] = []
    if _is_current(group_state(request)):
        results = [
            result
            for participant in participants
            for result in find_results(settings.output_dir, participant, from_tables=True)
        ]
    else:
        _set_matplotlib_cache(settings)
        from bids_qcm.reports.group import write_group

        try:
            paths, notes, results = write_group(request, damaged, settings.omp_nthreads)
            for note in notes:
                LOGGER.warning("group level: %s", note)
        finally:
            for error in damaged:
                LOGGER.error("left out: %s", error)
    for participant, of_participant in groupby(results, key=attrgetter("participant")):
        for warning in duplicate_maps(list(of_participant)):
            LOGGER.warning("%s: %s", participant, warning)
    for path in paths:
        LOGGER.info("written: %s", path)
    return ExitStatus.SOME_FAILED if damaged else ExitStatus.DONE


def _set_matplotlib_cache(settings: Settings) -> None:
    """Move matplotlib's font cache from the home directory to the work directory."""
    # The group level does not require a work directory. If the work directory cannot be used, keep
    # matplotlib's default.
    with suppress(OSError):
        if not make_private(settings.work_dir):
            os.environ.setdefault("MPLCONFIGDIR", str(settings.work_dir / "matplotlib"))


def _write_records(
    acquisitions: Sequence[Acquisition],
    settings: Settings,
    places: Mapping[str, str],
    summary: Summary,
) -> _Written:
    date = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
    environment = describe_environment(settings)
    for acquisition in acquisitions:
        outcome = summary.computed.get(acquisition.name)
        record = new_record(
            acquisition,
            date=date,
            command=settings.command,
            steps=outcome.steps if outcome else (),
            plan=plan_of(outcome.plan, settings) if outcome else {},
            environment=environment,
            failures=[
                replace(failure, error=without_paths(failure.error, places))
                for failure in summary.failures(acquisition)
            ],
        )
        # keep the record of an acquisition that was not computed, so that its page does not change
        known = read_record(settings.output_dir, acquisition)
        if outcome or known is None or known.failures != record.failures:
            write_record(settings.output_dir, record)
    return _Written()


def _write_citation(settings: Settings, summary: Summary) -> _Written:
    participants = sorted({source.split("_")[0] for source in summary.methods})
    if _is_current(citation_state(settings.output_dir, participants, summary.methods)):
        return _Written()
    from bids_qcm.reports.citation_files import write_citation

    return _Written(write_citation(settings.output_dir, participants, summary.methods))


def _is_current(state: ReportState) -> bool:
    """Whether a report is up to date; log a message if it is up to date."""
    current = state.is_current
    if current:
        LOGGER.info("unchanged: %s", state.page)
    return current


def _write_pages(participants: Sequence[str], settings: Settings, summary: Summary) -> None:
    """Write the participant pages in parallel, except pages that are up to date.

    If a page fails, the others are still written.
    """
    participants = [
        participant
        for participant in participants
        if not _is_current(
            participant_state(settings.output_dir, participant, settings.aggregated_sessions)
        )
    ]
    if not participants:
        return
    most = settings.nprocs if settings.memory_gb is None else int(settings.memory_gb / _PAGE_GB)
    n_workers = max(1, min(settings.nprocs, most, len(participants)))
    # pass only these values, because mappings in Settings may not be picklable
    arguments = settings.output_dir, settings.aggregated_sessions
    if n_workers == 1:
        for participant in participants:
            _log_report(participant, _call(_write_page, participant, *arguments), summary)
        return
    for participant, future in _in_pool(n_workers, participants, *arguments).items():
        if isinstance(future.exception(), BrokenProcessPool):
            # When a worker is killed, the pool does not report which page the worker was writing,
            # and loses all unfinished pages. Each of these pages is written again, alone.
            LOGGER.warning("%s: a process was killed; this page is written again", participant)
            (future,) = _in_pool(1, [participant], *arguments).values()
        _log_report(participant, future, summary)


def _in_pool(
    n_workers: int, participants: Sequence[str], output_dir: Path, sessions: int | None
) -> dict[str, Future[_Written]]:
    """Write pages in a new pool of processes; return a completed future for each participant."""
    context = multiprocessing.get_context("forkserver")
    futures: dict[str, Future[_Written]] = {}
    with ProcessPoolExecutor(n_workers, mp_context=context) as pool:
        for name in participants:
            try:
                futures[name] = pool.submit(_write_page, name, output_dir, sessions)
            except BrokenProcessPool as error:
                futures[name] = Future()
                futures[name].set_exception(error)
    return futures


def _write_page(participant: str, output_dir: Path, sessions: int | None) -> _Written:
    # Import here, so that an error while matplotlib or jinja2 is imported affects only this report.
    from bids_qcm.reports.participant import write_participant_pages

    return _Written(*write_participant_pages(output_dir, participant, sessions))


def _call(
    function: Callable[..., _Written],
    *arguments: Any,  # noqa: ANN401
) -> Future[_Written]:
    """Call a function in this process and return its result or exception as a completed future."""
    future: Future[_Written] = Future()
    try:
        future.set_result(function(*arguments))
    except Exception as error:
        future.set_exception(error)
    return future


def _log_report(name: str, future: Future[_Written], summary: Summary) -> None:
    """Log the files of a report, or log its error and add the report to the failed reports."""
    error = future.exception()
    if error is None:
        paths, damaged = future.result()
        for path in paths:
            LOGGER.info("report: %s", path)
        for problem in damaged:
            LOGGER.error("%s: file left out of the report: %s", name, problem)
            summary.failed_reports.append(f"{name}: {problem}")
        return
    # A traceback does not help the user when, for example, the disk is full
    traceback = None if isinstance(error, OSError | InputError) else error
    LOGGER.error("%s: the report failed: %s", name, error, exc_info=traceback)
    summary.failed_reports.append(f"{name}: {error!r}")
