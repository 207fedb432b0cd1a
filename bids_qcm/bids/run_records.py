"""Run records: date, command, plan, environment, steps and failures of the last run."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
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

_Kind = TypeVar("_Kind", "Failure", "Step", "RunRecord")

_NUMBERS = ("seconds", "memory_gb")
_MAPPINGS = ("environment", "plan")


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
class Step:
    """A step of a run that ended without an error.

    Attributes
    ----------
    name : str
        Name of the workflow node.
    seconds : float
        Duration in s. A step whose cached result was reused takes nearly 0 s.
    memory_gb : float
        Memory in GB that was reserved for the step.
    """

    name: str = ""
    seconds: float = 0.0
    memory_gb: float = 0.0


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
    steps : tuple of Step
        Steps in the order in which they ended.
    plan : mapping of str to str
        Inputs and methods, as in the plan table.
    environment : mapping of str to str
        Operating system, Python version, container, threads and memory limit.
    """

    acquisition: str
    source: str = ""
    date: str = ""
    command: str = ""
    seconds: float = 0.0
    failures: tuple[Failure, ...] = ()
    steps: tuple[Step, ...] = ()
    plan: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def session(self) -> str | None:
        """Session label."""
        return parse_name(self.acquisition)[0].get("ses")


def new_record(
    acquisition: Acquisition,
    *,
    date: str,
    command: str,
    failures: Sequence[Failure] = (),
    steps: Sequence[Step] = (),
    plan: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> RunRecord:
    """Return a new record for an acquisition from the fields of `RunRecord`."""
    return RunRecord(
        acquisition.name,
        join_name(acquisition.output_entities),
        date,
        command,
        sum(step.seconds for step in steps),
        tuple(failures),
        tuple(steps),
        plan or {},
        environment or {},
    )


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
        steps = tuple(_known(Step, step) for step in content.pop("steps", []))
        return replace(_known(RunRecord, content), failures=failures, steps=steps)
    except (TypeError, ValueError) as error:
        raise InputError(path, f"is not a run record ({error})", remedy) from error


def _known(kind: type[_Kind], content: Any) -> _Kind:  # noqa: ANN401
    """Return a record without fields that only other versions have."""
    known = {one.name: content[one.name] for one in fields(kind) if one.name in content}
    for name, value in known.items():
        if not _has_type_of(name, value):
            raise ValueError(f"{name} is {value!r}")
    return kind(**known)


def _has_type_of(name: str, value: Any) -> bool:  # noqa: ANN401
    """Whether a value has the type of the field with this name."""
    if name in _NUMBERS:
        return is_number(value)
    if name in _MAPPINGS:
        return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
    return isinstance(value, str) or (name, value) == ("crash_file", None)
