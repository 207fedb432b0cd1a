"""Fingerprints of reports, which show whether a report is up to date."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_qcm.bids.files import visible
from bids_qcm.bids.fingerprints import fingerprint, states
from bids_qcm.bids.group_maps import GROUP_MAP_FILES
from bids_qcm.bids.names import stem
from bids_qcm.bids.outputs import FIGURES, LOGS
from bids_qcm.bids.participants import phenotype_files
from bids_qcm.bids.run_records import crash_files, read_records
from bids_qcm.bids.session_differences import DIFFERENCE_FILES, SUFFIX
from bids_qcm.reports.group_request import GroupRequest

_CARRIED = re.compile(rb'<meta name="fingerprint" content="(\w+)">')
_HEAD_BYTES = 4096


@dataclass(frozen=True)
class ReportState:
    """State of a report: a fingerprint of its inputs, and the files of the report.

    Attributes
    ----------
    output_dir : Path
        Derivative dataset.
    page : Path
        Page that is written last and contains the fingerprint.
    shown : str
        Fingerprint of everything that the report shows.
    written : tuple of str
        Patterns of all other files of the report, relative to `output_dir`.
    """

    output_dir: Path
    page: Path
    shown: str
    written: tuple[str, ...]

    def fingerprint(self) -> str:
        """Return the fingerprint of the report's inputs and current files."""
        files = [path for pattern in self.written for path in visible(self.output_dir, pattern)]
        return fingerprint(self.shown, states(files, self.output_dir))

    @property
    def is_current(self) -> bool:
        """Whether the page contains the current fingerprint, so that nothing has changed."""
        try:
            with self.page.open("rb") as file:
                carried = _CARRIED.search(file.read(_HEAD_BYTES))
        except OSError:
            return False
        return carried is not None and carried[1].decode() == self.fingerprint()


def participant_state(
    output_dir: Path, participant: str, aggregated_sessions: int | None
) -> ReportState:
    """Return the state of the pages of a participant.

    Compute the state before reading the results, which may change while figures are drawn.

    Parameters
    ----------
    output_dir : Path
        Derivative dataset.
    participant : str
        Label with ``sub-``, such as ``sub-01``.
    aggregated_sessions : int or None
        As in :func:`bids_qcm.reports.participant.write_participant_pages`.
    """
    crashes = crash_files(output_dir)
    linked = [
        failure.crash_file
        for record in read_records(output_dir, participant)
        for failure in record.failures
        if failure.crash_file in crashes
    ]
    return ReportState(
        output_dir,
        output_dir / f"{participant}.html",
        _shown(output_dir, [participant], aggregated_sessions, linked),
        (f"{participant}/{FIGURES}/*", f"{participant}_*.html"),
    )


def group_state(request: GroupRequest) -> ReportState:
    """Return the state of the group tables, the group page, and the maps in template spaces."""
    tables = states(phenotype_files(request.bids_dir, request.participants), request.bids_dir)
    return ReportState(
        request.output_dir,
        request.output_dir / "group_condmap.html",
        _shown(
            request.output_dir,
            request.participants,
            *(
                list(request.participants),
                tables,
                request.group_by,
                request.covariates,
                request.differences,
            ),
        ),
        (*("group_*.tsv", "group_*.json", *GROUP_MAP_FILES, *DIFFERENCE_FILES),),
    )


def citation_state(
    output_dir: Path, participants: Sequence[str], methods: Mapping[str, Sequence[str]] | None
) -> ReportState:
    """Return the state of the methods text; see `reports.citation_files.write_citation`."""
    described = None if methods is None else {name: list(methods[name]) for name in sorted(methods)}
    return ReportState(
        output_dir,
        output_dir / LOGS / "CITATION.html",
        _shown(output_dir, participants, list(participants), described),
        (f"{LOGS}/CITATION.md", f"{LOGS}/CITATION.bib"),
    )


def _shown(output_dir: Path, participants: Iterable[str], *options: object) -> str:
    """Return the fingerprint of the results and records of participants, and of options.

    Differences of repeated scans do not count. The group level writes them, and only its own page
    shows them.
    """
    files: list[Path] = []
    for participant in participants:
        files += visible(output_dir / LOGS, f"{participant}_*.json")
        files += [
            path
            for path in visible(output_dir / participant, "**/*")
            if path.is_file()
            and path.parent.name != FIGURES
            and not stem(path).endswith(f"_{SUFFIX}")
        ]
    return fingerprint(states(files, output_dir), options)
