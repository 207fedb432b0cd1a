"""Records of what the last run did with an acquisition: when, how long, and what failed."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.derivatives import write_json
from bids_qcm.bids.files import visible
from bids_qcm.bids.names import join_name, parse_name

LOGS = "logs"
"""Folder of a derivative dataset that holds records, crash reports and the citation."""


@dataclass(frozen=True)
class Failure:
    """Something that was not done.

    Attributes
    ----------
    step : str
        The method or step of the workflow, or ``checks`` before it.
    error : str
    crash_file : str or None
        nipype's report of it, relative to the dataset.
    """

    step: str
    error: str
    crash_file: str | None = None


@dataclass(frozen=True)
class RunRecord:
    """What the last run did with an acquisition.

    Attributes
    ----------
    acquisition : str
        What users know the acquisition by.
    source : str
        What the names of its derivatives start with.
    date : str
        When the run ended, ISO 8601 with the time zone.
    command : str
        The command line.
    seconds : float
        How long its steps took together; those of an earlier run that were used again take none.
    failures : tuple of Failure
    """

    acquisition: str
    source: str
    date: str
    command: str
    seconds: float
    failures: tuple[Failure, ...] = ()

    @property
    def session(self) -> str | None:
        """Session label."""
        return parse_name(self.acquisition)[0].get("ses")


def new_record(
    acquisition: Acquisition,
    *,
    date: str,
    command: str,
    seconds: float = 0.0,
    failures: Sequence[Failure] = (),
) -> RunRecord:
    """Make the record of an acquisition."""
    source = join_name(acquisition.output_entities)
    return RunRecord(acquisition.name, source, date, command, seconds, tuple(failures))


def write_record(output_dir: Path, record: RunRecord) -> None:
    """Write a record, instead of that of an earlier run."""
    write_json(output_dir / LOGS / f"{record.acquisition}.json", asdict(record))


def read_records(output_dir: Path, participant: str) -> list[RunRecord]:
    """Read the records of a participant's acquisitions.

    Parameters
    ----------
    output_dir : Path
        The derivative dataset.
    participant : str
        Such as ``sub-01``.

    Returns
    -------
    list of RunRecord
        Sorted by acquisition.
    """
    records = []
    for path in sorted(visible(output_dir / LOGS, f"{participant}_*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        failures = tuple(Failure(**failure) for failure in content.pop("failures"))
        records.append(RunRecord(**content, failures=failures))
    return records
