"""Run records: date, duration, command line and failures of the last run of an acquisition."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.derivatives import write_json, write_text
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.files import visible
from bids_qcm.bids.names import join_name, parse_name
from bids_qcm.bids.outputs import LOGS
from bids_qcm.bids.readers import read_json_object
from bids_qcm.bids.sidecars import is_number
from bids_qcm.bids.tables import RESOURCES, write_table

_Kind = TypeVar("_Kind", "Failure", "RunRecord")


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
        Prefix that the file names of the derivatives share.
    date : str
        End of the run in ISO 8601 format with the time zone.
    command : str
        Command line of the run.
    seconds : float
        Total run time of all steps in s. A step whose cached result was reused counts as 0.
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
    """Return a new record for an acquisition from the fields of `RunRecord`."""
    source = join_name(acquisition.output_entities)
    return RunRecord(acquisition.name, source, date, command, seconds, tuple(failures))


def write_record(output_dir: Path, record: RunRecord) -> None:
    """Write a record and replace the record of an earlier run."""
    write_json(_path(output_dir, record.acquisition), asdict(record))


def write_config(output_dir: Path, command: str, config: str) -> None:
    """Write the options of a run to a new configuration file in the folder with the records.

    Parameters
    ----------
    output_dir : Path
        Derivative dataset.
    command : str
        Command line of the run, for a comment.
    config : str
        Text of the configuration file.
    """
    # the process number separates runs that start in the same second
    name = f"config-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.toml"
    write_text(output_dir / LOGS / name, f"# {command}\n{config}")


def write_resources(
    output_dir: Path, acquisition: Acquisition, steps: Sequence[Mapping[str, str | float]]
) -> None:
    """Write the resource table of an acquisition and replace the table of an earlier run.

    Parameters
    ----------
    output_dir : Path
        Derivative dataset.
    acquisition : Acquisition
    steps : sequence of mapping
        One row for each step, with the columns of `RESOURCES`.
    """
    path = output_dir / LOGS / f"resources-{acquisition.name}.tsv"
    write_table(path, pd.DataFrame(steps, columns=list(RESOURCES)), RESOURCES)


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
        List to which an error is added for each record that cannot be read.

    Returns
    -------
    list of RunRecord
        Records sorted by acquisition.
    """
    records = []
    for path in sorted(visible(output_dir / LOGS, f"{participant}_*.json")):
        try:
            records.append(_read_record(path))
        except InputError as error:
            if damaged is not None:
                damaged.append(error)
    return records


def read_record(output_dir: Path, acquisition: Acquisition) -> RunRecord | None:
    """Return the record of an acquisition; None if it does not exist or cannot be read."""
    try:
        return _read_record(_path(output_dir, acquisition.name))
    except InputError:
        return None


def crash_files(output_dir: Path) -> set[str]:
    """Return the paths of all crash reports, relative to the dataset."""
    return {f"{LOGS}/{path.name}" for path in visible(output_dir / LOGS, "crash-*.txt")}


def _path(output_dir: Path, acquisition_name: str) -> Path:
    return output_dir / LOGS / f"{acquisition_name}.json"


def _read_record(path: Path) -> RunRecord:
    remedy = "delete this record, or run the participant again"
    content = {"acquisition": path.stem, "failures": [], **read_json_object(path, remedy)}
    try:
        failures = tuple(_known(Failure, failure) for failure in content.pop("failures"))
        return replace(_known(RunRecord, content), failures=failures)
    except (TypeError, ValueError) as error:
        raise InputError(path, f"is not a run record ({error})", remedy) from error


def _known(kind: type[_Kind], content: Any) -> _Kind:  # noqa: ANN401
    """Return a record without fields that only other versions have."""
    known = {one.name: content[one.name] for one in fields(kind) if one.name in content}
    for name, value in known.items():
        of_type = is_number(value) if name == "seconds" else isinstance(value, str)
        if not of_type and (name, value) != ("crash_file", None):
            raise ValueError(f"{name} is {value!r}")
    return kind(**known)
