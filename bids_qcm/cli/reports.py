"""What is told of a run when it has ended: records, the citation, and the pages."""

import logging
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.results import reported_participants
from bids_qcm.bids.run_records import new_record, write_record
from bids_qcm.cli.exits import ExitStatus
from bids_qcm.cli.summary import Summary
from bids_qcm.settings import Settings

LOGGER = logging.getLogger("bids_qcm")


def report_run(acquisitions: Sequence[Acquisition], settings: Settings, summary: Summary) -> None:
    """Write what a run did: a record of each acquisition, the citation and the pages.

    Parameters
    ----------
    acquisitions : sequence of Acquisition
        All of the run, those that failed too.
    settings : Settings
    summary : Summary
        Reports that fail are added to it.
    """
    _settle_matplotlib(settings)
    date = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
    for one in acquisitions:
        record = new_record(
            one,
            date=date,
            command=settings.command,
            seconds=summary.seconds.get(one.name, 0.0),
            failures=summary.failures.get(one.name, ()),
        )
        write_record(settings.output_dir, record)
    participants = sorted({f"sub-{one.subject}" for one in acquisitions})
    _write_pages(participants, settings, summary)
    # it takes matplotlib and jinja2 to import
    from bids_qcm.reports.citation_files import write_citation

    try:
        write_citation(settings.output_dir, summary.methods)
    except Exception as error:
        LOGGER.exception("the citation could not be written")
        summary.failed_reports.append(f"logs/CITATION.md: {error!r}")


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
    for path in write_group(settings.output_dir, participants):
        LOGGER.info("written: %s", path)
    return ExitStatus.DONE


def _settle_matplotlib(settings: Settings) -> None:
    """Let matplotlib keep its list of fonts in the work directory, not in the user's home."""
    os.environ.setdefault("MPLCONFIGDIR", str(settings.work_dir / "matplotlib"))


def _write_pages(participants: Sequence[str], settings: Settings, summary: Summary) -> None:
    """Write the pages, several at a time; one that fails costs no other."""
    from bids_qcm.reports.participant import write_participant_pages

    write = partial(
        write_participant_pages,
        settings.output_dir,
        aggregated_sessions=settings.aggregated_sessions,
    )
    n_workers = min(settings.nprocs, len(participants))
    if n_workers == 1:
        for participant in participants:
            _conclude(participant, _called(write, participant), summary)
        return
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(n_workers, mp_context=context) as pool:
        futures = {participant: pool.submit(write, participant) for participant in participants}
        for participant, future in futures.items():
            _conclude(participant, future, summary)


def _called(write: partial, participant: str) -> Future:
    """Call in this process, with what comes of it as a pool gives it."""
    future: Future = Future()
    try:
        future.set_result(write(participant))
    except Exception as error:
        future.set_exception(error)
    return future


def _conclude(participant: str, future: Future, summary: Summary) -> None:
    error = future.exception()
    if error is None:
        for path in future.result():
            LOGGER.info("report: %s", path)
        return
    LOGGER.error("%s: the report failed", participant, exc_info=error)
    summary.failed_reports.append(f"{participant}: {error!r}")
