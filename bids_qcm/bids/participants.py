"""Read the participant and session tables of a BIDS dataset."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.names import plain_label
from bids_qcm.bids.readers import read_json_object, read_rows

PARTICIPANTS = "participants.tsv"
"""Table of the participants in the root folder of a BIDS dataset."""

_MISSING = ("", "n/a")


@dataclass(eq=False)
class Phenotype:
    """The columns of ``participants.tsv`` and ``sessions.tsv``.

    Attributes
    ----------
    dictionary : dict
        Data dictionary entry of each column, in the order of the tables.
    of_participants : dict
        Values of each participant, keyed by participant (``sub-01``) and column. A missing value is
        None.
    of_sessions : dict
        Values of each session, keyed by participant and session (``sub-01``, ``ses-a``) and column.
    """

    dictionary: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    of_participants: dict[str, dict[str, str | None]] = field(default_factory=dict)
    of_sessions: dict[tuple[str, str], dict[str, str | None]] = field(default_factory=dict)

    def values(self, participant: str, session: str | None) -> dict[str, str | None]:
        """Return the value of each column for a session; a missing value is None.

        Parameters
        ----------
        participant : str
            Label with ``sub-``.
        session : str or None
            Label with ``ses-``; None for a participant without sessions.
        """
        known = {
            **self.of_participants.get(participant, {}),
            **self.of_sessions.get((participant, session or ""), {}),
        }
        return {name: known.get(name) for name in self.dictionary}


def phenotype_files(bids_dir: Path, participants: Sequence[str]) -> list[Path]:
    """Return the files that :func:`read_phenotype` may read, whether or not they exist."""
    tables = [bids_dir / PARTICIPANTS, *(_sessions_table(bids_dir, one) for one in participants)]
    files = [file for table in tables for file in (table, table.with_suffix(".json"))]
    return [*files, bids_dir / "sessions.json"]


def read_phenotype(
    bids_dir: Path,
    participants: Sequence[str],
    damaged: list[InputError],
    taken: Collection[str] = (),
) -> Phenotype:
    """Read ``participants.tsv`` and the ``sessions.tsv`` files of the participants, if they exist.

    Parameters
    ----------
    bids_dir : Path
        BIDS dataset; the folder need not exist.
    participants : sequence of str
        Labels with ``sub-``.
    damaged : list of InputError
        List to which an error is added for each table that cannot be used.
    taken : collection of str
        Reserved column names. A column with a reserved name gets the prefix ``participants_`` or
        ``sessions_``. A column of both tables is renamed in the same way in ``sessions.tsv``.

    Returns
    -------
    Phenotype
    """
    found = Phenotype()
    rows, names = _read(bids_dir / PARTICIPANTS, "participant_id", "sub-", damaged, found, taken)
    found.of_participants = {
        one: {name: rows[one][column] for column, name in names.items()}
        for one in participants
        if one in rows
    }
    taken = {*taken, *found.dictionary}
    for one in participants:
        table = _sessions_table(bids_dir, one)
        rows, names = _read(table, "session_id", "ses-", damaged, found, taken)
        for session, row in rows.items():
            values = {name: row[column] for column, name in names.items()}
            found.of_sessions[one, session] = values
    return found


def _sessions_table(bids_dir: Path, participant: str) -> Path:
    return bids_dir / participant / f"{participant}_sessions.tsv"


def _read(
    path: Path,
    key: str,
    prefix: str,
    damaged: list[InputError],
    found: Phenotype,
    taken: Collection[str],
) -> tuple[dict[str, dict[str, str | None]], dict[str, str]]:
    """Read a table, and add its columns to the dictionary.

    Returns
    -------
    rows : dict
        Values, keyed by the label in the column `key` and by column; empty without a usable table.
    names : dict
        Name of each column in the data dictionary.
    """
    # a broken link means that the content has not been downloaded, which is an error
    if not path.exists() and not path.is_symlink():
        return {}, {}
    try:
        rows = _rows_by_label(path, key, prefix)
    except InputError as error:
        damaged.append(error)
        return {}, {}
    table = path.stem.split("_")[-1]
    columns = [name for name in next(iter(rows.values()), {}) if name and name != key]
    names = {name: f"{table}_{name}" if name in taken else name for name in columns}
    new = [column for column, name in names.items() if name not in found.dictionary]
    described = _descriptions(path, table, damaged) if new else {}
    for column in new:
        entry = {"Description": f"Column {column} of {table}.tsv", **described.get(column, {})}
        found.dictionary[names[column]] = entry
    return rows, names


def _rows_by_label(path: Path, key: str, prefix: str) -> dict[str, dict[str, str | None]]:
    rows: dict[str, dict[str, str | None]] = {}
    for row in read_rows(path, (key,)):
        label = f"{prefix}{row[key].strip().removeprefix(prefix)}"
        if label in rows:
            raise InputError(path, f"contains the row {label} twice", "correct the table")
        rows[label] = {
            name: None if value.strip() in _MISSING else plain_label(value)
            for name, value in row.items()
        }
    return rows


def _descriptions(path: Path, table: str, damaged: list[InputError]) -> dict[str, dict[str, Any]]:
    """Return the entries of a table's data dictionary, beside the table or in the root folder."""
    dictionaries = [path.with_suffix(".json"), path.parents[1] / f"{table}.json"]
    existing = next((one for one in dictionaries if one.exists()), None)
    if existing is None:
        return {}
    try:
        content = read_json_object(existing)
    except InputError as error:
        damaged.append(error)
        return {}
    return {name: entry for name, entry in content.items() if isinstance(entry, dict)}
