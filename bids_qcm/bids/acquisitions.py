"""Acquisitions: the files that share every entity and the suffix except part and echo."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.names import join_name, parse_name

_POLAR = ("mag", "phase")
_CARTESIAN = ("real", "imag")


@dataclass(frozen=True)
class Acquisition:
    """One acquisition's files.

    Attributes
    ----------
    entities : mapping of str to str
        Those that all files share, in the order of their names.
    suffix : str
    files : mapping of str to mapping of str to Path
        By part and by echo ("" where there is no echo entity).
    output_entities : mapping of str to str
        Entities that start the names of this acquisition's derivatives. They differ from
        `entities` where another acquisition has the same ones and another suffix.
    """

    entities: Mapping[str, str]
    suffix: str
    files: Mapping[str, Mapping[str, Path]]
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
            If an echo lacks its other part.
        """
        first, second = parts = _POLAR if "phase" in self.files else _CARTESIAN
        one, other = self.files.get(first, {}), self.files.get(second, {})
        for present, absent, files in ((first, second, one), (second, first, other)):
            counterpart = self.files.get(absent, {})
            for echo, path in files.items():
                if echo not in counterpart:
                    raise InputError(
                        path,
                        f"part-{present} has no part-{absent} beside it",
                        f"add {path.name.replace(f'part-{present}', f'part-{absent}')}",
                    )
        return parts, [(one[echo], other[echo]) for echo in sorted(one, key=_echo_number)]


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
    groups: dict[tuple, dict[str, dict[str, Path]]] = defaultdict(lambda: defaultdict(dict))
    for path in sorted(paths):
        entities, suffix = parse_name(path.name)
        part, echo = entities.pop("part"), entities.pop("echo", "")
        groups[tuple(entities.items()), suffix][part][echo] = path
    with_phase = {
        key: files for key, files in groups.items() if files.keys() & {"phase", *_CARTESIAN}
    }
    sharing = Counter(entities for entities, _ in with_phase)
    return [
        Acquisition(
            entities=MappingProxyType(dict(entities)),
            suffix=suffix,
            files=files,
            output_entities=_with_suffix(dict(entities), suffix)
            if sharing[entities] > 1
            else MappingProxyType(dict(entities)),
        )
        for (entities, suffix), files in with_phase.items()
    ]


def _with_suffix(entities: Mapping[str, str], suffix: str) -> Mapping[str, str]:
    """Put the suffix into the ``acq`` entity, which BIDS wants after subject and session."""
    leading = {key: value for key, value in entities.items() if key in ("sub", "ses", "sample")}
    acq = {"acq": entities.get("acq", "") + suffix}
    return MappingProxyType(
        {**leading, **acq, **{k: v for k, v in entities.items() if k not in (*leading, "acq")}}
    )


def _echo_number(echo: str) -> tuple[int, str]:
    return (int(echo) if echo.isdigit() else 0, echo)
