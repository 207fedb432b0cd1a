"""Run records: date, duration, command line and failures of the last run of an acquisition."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.derivatives import write_json
from bids_qcm.bids.files import visible
from bids_qcm.bids.names import join_name, parse_name

_Kind = TypeVar("_Kind", "Failure", "RunRecord")

LOGS = "logs"
"""Folder of a derivative dataset with run records, crash reports and the methods text."""


@dataclass(frozen=True)
class Failure:
    """A failed step of a run.

    Attributes
    ----------
    step : str
        Name of the method or workflow step, or ``checks`` for the checks before the workflow.
    error : str
        Error message.
    crash_file : str or None
        Path of nipype's crash report, relative to the dataset.
    """

    step: str = ""
    error: str = ""
    crash_file: str | None = None


@dataclass(frozen=True)
class RunRecord:
    """The record of the last run of an acquisition.

    The defaults are for records of other versions, which may lack a field.

    Attributes
    ----------
    acquisition : str
        Name of the acquisition in messages and reports.
    source : str
        Common start of the derivative file names.
    date : str
        End of the run in ISO 8601 format with the time zone.
    command : str
        Command line of the run.
    seconds : float
        Total run time of its steps. Steps whose cached results were reused count as 0.
    failures : tuple of Failure
    """

    acquisition: str
    source: str = ""
    date: str = ""
    command: str = ""
    seconds: float = 0.0
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
    """Return a new record for an acquisition; the arguments are the fields of `RunRecord`."""
    source = join_name(acquisition.output_entities)
    return RunRecord(acquisition.name, source, date, command, seconds, tuple(failures))


def write_record(output_dir: Path, record: RunRecord) -> None:
    """Write a record and replace the record of an earlier run."""
    write_json(output_dir / LOGS / f"{record.acquisition}.json", asdict(record))


def read_records(output_dir: Path, participant: str) -> list[RunRecord]:
    """Read the records of a participant's acquisitions.

    Parameters
    ----------
    output_dir : Path
        Derivative dataset.
    participant : str
        Label with ``sub-``, such as ``sub-01``.

    Returns
    -------
    list of RunRecord
        Records sorted by acquisition.
    """
    records = []
    for path in sorted(visible(output_dir / LOGS, f"{participant}_*.json")):
        content = {"acquisition": path.stem, **json.loads(path.read_text(encoding="utf-8"))}
        failures = tuple(_known(Failure, failure) for failure in content.get("failures", ()))
        records.append(_known(RunRecord, content | {"failures": failures}))
    return records


def _known(kind: type[_Kind], content: Mapping[str, Any]) -> _Kind:
    """Return a record without the fields of other versions."""
    return kind(**{one.name: content[one.name] for one in fields(kind) if one.name in content})
