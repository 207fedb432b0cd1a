"""What is told of a run when it has ended: records, the citation, and the pages."""

import logging
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.errors import NoInputError
from bids_qcm.bids.results import find_results, reported_participants, twins
from bids_qcm.bids.run_records import new_record, write_record
from bids_qcm.cli.exits import ExitStatus
from bids_qcm.cli.summary import Summary
from bids_qcm.settings import Settings

LOGGER = logging.getLogger("bids_qcm")

# Peak of a process that draws the maps of a 1 mm head.
_PAGE_GB = 0.7


def report_run(acquisitions: Sequence[Acquisition], settings: Settings, summary: Summary) -> None:
    """Write what a run did: a record of each acquisition, the pages and the citation.

    Parameters
    ----------
    acquisitions : sequence of Acquisition
        All of the run, those that failed too.
    settings : Settings
    summary : Summary
        What cannot be written is added to its failed reports, and raises nothing.
    """
    _settle_matplotlib(settings)
    _conclude("records", _called(_write_records, acquisitions, settings, summary), summary)
    _write_pages(sorted({f"sub-{one.subject}" for one in acquisitions}), settings, summary)
    _conclude("citation", _called(_write_citation, settings, summary), summary)


def rebuild_reports(settings: Settings) -> ExitStatus:
    """Write the pages of participants again, from the derivative dataset alone.

    Raises
    ------
    InputError
        If it is no derivative dataset, or a participant that was asked for is not in it.
    """
    _settle_matplotlib(settings)
    participants = reported_participants(settings.output_dir, settings.participant_labels)
    summary = Summary()
    _write_pages(participants, settings, summary)
    return summary.conclude()


def rebuild_citation(settings: Settings) -> ExitStatus:
    """Write the methods text of all maps of participants, from the derivative dataset alone.

    Raises
    ------
    InputError
        If it is no derivative dataset, or those asked for have no map.
    """
    from bids_qcm.reports.citation_files import write_citation

    participants = reported_participants(settings.output_dir, settings.participant_labels)
    paths = write_citation(settings.output_dir, participants)
    if not paths:
        raise NoInputError(settings.output_dir, "has no map to tell of", "map conductivity first")
    for path in paths:
        LOGGER.info("written: %s", path)
    return ExitStatus.DONE


def report_group(settings: Settings) -> ExitStatus:
    """Write the table and the page of the group, from the derivative dataset alone.

    Raises
    ------
    InputError
        If it is no derivative dataset, or has no statistics of a map.
    """
    _settle_matplotlib(settings)
    from bids_qcm.reports.group import write_group

    participants = reported_participants(settings.output_dir, settings.participant_labels)
    for participant in participants:
        for warning in twins(find_results(settings.output_dir, participant)):
            LOGGER.warning("%s: %s", participant, warning)
    for path in write_group(settings.output_dir, participants):
        LOGGER.info("written: %s", path)
    return ExitStatus.DONE


def _settle_matplotlib(settings: Settings) -> None:
    """Let matplotlib keep its list of fonts in the work directory, not in the user's home."""
    os.environ.setdefault("MPLCONFIGDIR", str(settings.work_dir / "matplotlib"))


def _write_records(
    acquisitions: Sequence[Acquisition], settings: Settings, summary: Summary
) -> list[Path]:
    date = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
    for one in acquisitions:
        record = new_record(
            one,
            date=date,
            command=settings.command,
            seconds=summary.seconds.get(one.name, 0.0),
            failures=summary.failures(one),
        )
        write_record(settings.output_dir, record)
    return []


def _write_citation(settings: Settings, summary: Summary) -> list[Path]:
    from bids_qcm.reports.citation_files import write_citation

    participants = sorted({source.split("_")[0] for source in summary.methods})
    return write_citation(settings.output_dir, participants, summary.methods)


def _write_pages(participants: Sequence[str], settings: Settings, summary: Summary) -> None:
    """Write the pages, several at a time; one that fails costs no other."""
    most = settings.nprocs if settings.memory_gb is None else int(settings.memory_gb / _PAGE_GB)
    n_workers = max(1, min(settings.nprocs, most, len(participants)))
    # settings as a whole do not go to another process
    what = settings.output_dir, settings.aggregated_sessions
    if n_workers == 1:
        for participant in participants:
            _conclude(participant, _called(_write_page, participant, *what), summary)
        return
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(n_workers, mp_context=context) as pool:
        futures = {one: pool.submit(_write_page, one, *what) for one in participants}
        for participant, future in futures.items():
            _conclude(participant, future, summary)


def _write_page(participant: str, output_dir: Path, sessions: int | None) -> list[Path]:
    # it takes matplotlib and jinja2 to import; what fails in it fails a report only
    from bids_qcm.reports.participant import write_participant_pages

    return write_participant_pages(output_dir, participant, sessions)


def _called(function: Callable[..., list[Path]], *arguments: Any) -> Future:  # noqa: ANN401
    """Call in this process, and give what comes of it as a pool does."""
    future: Future = Future()
    try:
        future.set_result(function(*arguments))
    except Exception as error:
        future.set_exception(error)
    return future


def _conclude(what: str, future: Future, summary: Summary) -> None:
    error = future.exception()
    if error is None:
        for path in future.result():
            LOGGER.info("report: %s", path)
        return
    # a full disk is no fault of ours, and needs no traceback
    traceback = None if isinstance(error, OSError) else error
    LOGGER.error("%s: the report failed: %s", what, error, exc_info=traceback)
    summary.failed_reports.append(f"{what}: {error!r}")
