"""Run records: date, duration, command line and failures of the last run of an acquisition."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.derivatives import write_json
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.files import visible
from bids_qcm.bids.names import join_name, parse_name
from bids_qcm.bids.readers import read_json_object
from bids_qcm.bids.sidecars import is_number

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

    step: str
    error: str
    crash_file: str | None = None


@dataclass(frozen=True)
class RunRecord:
    """The record of the last run of an acquisition.

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
    """Return a new record for an acquisition; the arguments are the fields of `RunRecord`."""
    source = join_name(acquisition.output_entities)
    return RunRecord(acquisition.name, source, date, command, seconds, tuple(failures))


def write_record(output_dir: Path, record: RunRecord) -> None:
    """Write a record and replace the record of an earlier run."""
    write_json(output_dir / LOGS / f"{record.acquisition}.json", asdict(record))


def read_records(
    output_dir: Path, participant: str, damaged: list[InputError] | None = None
) -> list[RunRecord]:
    """Read the records of a participant's acquisitions.

    Parameters
    ----------
    output_dir : Path
        Derivative dataset.
    participant : str
        Label with ``sub-``, such as ``sub-01``.
    damaged : list of InputError, optional
        List to add an error to for each record that cannot be read.

    Returns
    -------
    list of RunRecord
        Readable records, sorted by acquisition. Fields of a later version are ignored.
    """
    records = []
    for path in sorted(visible(output_dir / LOGS, f"{participant}_*.json")):
        try:
            records.append(_read_record(path))
        except InputError as error:
            if damaged is not None:
                damaged.append(error)
    return records


def _read_record(path: Path) -> RunRecord:
    remedy = "delete this record, or run the participant again"
    content = read_json_object(path, remedy)
    texts = [content.get(name) for name in ("acquisition", "source", "date", "command")]
    seconds, failures = content.get("seconds"), content.get("failures")
    if not (_are_texts(texts) and is_number(seconds) and isinstance(failures, list)):
        raise InputError(path, "is not a run record", remedy)
    return RunRecord(*texts, seconds, tuple(_failure(path, one, remedy) for one in failures))


def _failure(path: Path, entry: Any, remedy: str) -> Failure:  # noqa: ANN401
    if isinstance(entry, dict):
        step, error, crash_file = (entry.get(name) for name in ("step", "error", "crash_file"))
        if _are_texts([step, error, crash_file or ""]):
            return Failure(step, error, crash_file)
    raise InputError(path, "has a failure without a step or an error", remedy)


def _are_texts(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) for value in values)
