"""Acquisitions: the files that share every entity and the suffix except part and echo."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.names import IMAGE_EXTENSIONS, join_name, numbered, parse_name, stem

_POLAR = ("mag", "phase")
_CARTESIAN = ("real", "imag")

# entities less part and echo, and the suffix
_Key = tuple[tuple[tuple[str, str], ...], str]


@dataclass(frozen=True)
class Acquisition:
    """One acquisition's files.

    Attributes
    ----------
    entities : mapping of str to str
        Those that all files share, in the order of their names.
    suffix : str
    files : mapping of str to mapping of str to list of Path
        By part and by echo ("" where there is no echo entity). More than one in a list is a
        mistake, which :meth:`echoes` reports.
    output_entities : mapping of str to str
        Entities that start the names of this acquisition's derivatives. They differ from
        `entities` where another acquisition has the same ones and another suffix; no two
        acquisitions of a dataset have the same.
    """

    entities: Mapping[str, str]
    suffix: str
    files: Mapping[str, Mapping[str, list[Path]]]
    output_entities: Mapping[str, str]

    @property
    def subject(self) -> str:
        """Participant label."""
        return self.entities["sub"]

    @property
    def session(self) -> str | None:
        """Session label."""
        return self.entities.get("ses")

    @property
    def name(self) -> str:
        """What users know the acquisition by."""
        return join_name(self.entities, self.suffix)

    def echoes(self) -> tuple[tuple[str, str], list[tuple[Path, Path]]]:
        """Pair the files of each echo.

        Returns
        -------
        parts : ("mag", "phase") or ("real", "imag")
        pairs : list of pairs of Path
            In the order of the echo numbers.

        Raises
        ------
        InputError
            If an echo lacks its other part, or has two files for the same one.
        """
        first, second = parts = _POLAR if "phase" in self.files else _CARTESIAN
        one, other = self.files.get(first, {}), self.files.get(second, {})
        for present, absent, files in ((first, second, one), (second, first, other)):
            counterpart = self.files.get(absent, {})
            for echo, (path, *more) in files.items():
                if more:
                    raise InputError(
                        path, f"is the same image by its name as {more[0]}", "keep one of the two"
                    )
                if echo not in counterpart:
                    raise InputError(
                        path,
                        f"part-{present} has no part-{absent} beside it",
                        _how_to_add(path, present, absent),
                    )
        return parts, [(one[echo][0], other[echo][0]) for echo in sorted(one, key=_echo_number)]


def group_acquisitions(paths: Iterable[Path]) -> list[Acquisition]:
    """Group image files into acquisitions that have a phase.

    Parameters
    ----------
    paths : iterable of Path
        Images with a ``part`` entity, of any number of participants.

    Returns
    -------
    list of Acquisition
        Sorted by name. Those with a magnitude only are no acquisitions.
    """
    groups: dict[_Key, dict[str, dict[str, list[Path]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for path in sorted(paths):
        entities, suffix = parse_name(path.name)
        part, echo = entities.pop("part"), entities.pop("echo", "")
        groups[tuple(entities.items()), suffix][part][echo].append(path)
    with_phase = sorted(
        (key for key, files in groups.items() if files.keys() & {"phase", *_CARTESIAN}),
        key=lambda key: join_name(dict(key[0]), key[1]),
    )
    output_entities = _output_entities(with_phase)
    return [
        Acquisition(
            entities=MappingProxyType(dict(entities)),
            suffix=suffix,
            files=groups[entities, suffix],
            output_entities=MappingProxyType(output_entities[entities, suffix]),
        )
        for entities, suffix in with_phase
    ]


def _output_entities(keys: Sequence[_Key]) -> dict[_Key, dict[str, str]]:
    """Put the suffix into the ``acq`` entity of those that differ in nothing else."""
    # desc and seg are no entities of raw data, and the derivatives have their own
    plain = {key: {k: v for k, v in key[0] if k not in ("desc", "seg")} for key in keys}
    sharing = Counter(join_name(entities) for entities in plain.values())
    chosen = {key: own for key, own in plain.items() if sharing[join_name(own)] == 1}
    for key in keys:
        if key not in chosen:
            # acq-T1w may be the label of another acquisition already
            labels = numbered(plain[key].get("acq", "") + key[1])
            candidates = (_with_acq(plain[key], label) for label in labels)
            chosen[key] = next(names for names in candidates if names not in chosen.values())
    return chosen


def _with_acq(entities: Mapping[str, str], label: str) -> dict[str, str]:
    """Set the ``acq`` entity, which BIDS wants after subject, session and sample."""
    leading = {key: value for key, value in entities.items() if key in ("sub", "ses", "sample")}
    rest = {key: value for key, value in entities.items() if key not in (*leading, "acq")}
    return {**leading, "acq": label, **rest}


def _how_to_add(path: Path, present: str, absent: str) -> str:
    """Return the remedy for an absent part: a new name for an image without ``part``, or a file."""
    own = stem(path)
    wanted = own.replace(f"part-{present}", f"part-{absent}")
    plain = own.replace(f"_part-{present}", "")
    for extension in IMAGE_EXTENSIONS:
        if absent == "mag" and os.path.lexists(path.with_name(plain + extension)):
            return f"rename {plain}{extension} to {wanted}{extension}, and {plain}.json likewise"
    return f"add {wanted}{path.name.removeprefix(own)}"


def _echo_number(echo: str) -> tuple[int, str]:
    return (int(echo) if echo.isdecimal() else 0, echo)
