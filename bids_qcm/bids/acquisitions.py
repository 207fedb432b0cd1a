"""Group image files into acquisitions: files that differ in ``part`` and ``echo`` only."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.names import IMAGE_EXTENSIONS, join_name, numbered, parse_name, stem

_POLAR = ("mag", "phase")
_CARTESIAN = ("real", "imag")

# Key of an acquisition: its entities without "part" and "echo", and its suffix.
_Key = tuple[tuple[tuple[str, str], ...], str]


@dataclass(frozen=True)
class Acquisition:
    """The files of one acquisition.

    Attributes
    ----------
    entities : mapping of str to str
        Entities that all files share, in the order of the file names.
    suffix : str
    files : mapping of str to mapping of str to list of Path
        Files by part and by echo label ("" for a name without an echo entity). :meth:`echoes`
        raises an error if a list has more than one file.
    output_entities : mapping of str to str
        Entities at the start of all derivative names of this acquisition. They are unique in the
        dataset. They differ from `entities` if another acquisition has the same entities and
        another suffix.
    repetitions : tuple of Acquisition
        Acquisitions to average; empty for a single acquisition. `files` are the files of the first
        acquisition.
    coils : tuple of Acquisition
        Images of the receive coils to combine; empty for combined images. `files` contains the
        files of the first coil.
    """

    entities: Mapping[str, str]
    suffix: str
    files: Mapping[str, Mapping[str, list[Path]]]
    output_entities: Mapping[str, str]
    repetitions: tuple["Acquisition", ...] = ()
    coils: tuple["Acquisition", ...] = ()

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
        """Name of the acquisition in messages and reports."""
        return join_name(self.entities, self.suffix)

    @property
    def first_file(self) -> Path:
        """An image to name in messages about the whole acquisition."""
        return next(path for files in self.files.values() for (path, *_) in files.values())

    def echoes(
        self, numbers: Sequence[int] = ()
    ) -> tuple[tuple[str, str], list[tuple[Path, Path]]]:
        """Return the pair of image files of each echo.

        Parameters
        ----------
        numbers : sequence of int
            Numbers of the echoes to return; default: all echoes. Images without an echo entity are
            always returned.

        Returns
        -------
        parts : ("mag", "phase") or ("real", "imag")
        pairs : list of pairs of Path
            Sorted by echo number.

        Raises
        ------
        InputError
            If one of these echoes has only one of the two parts, or two files for the same part,
            or if an echo does not exist.
        """
        first, second = parts = _POLAR if "phase" in self.files else _CARTESIAN
        one, other = (self._selected(part, numbers) for part in parts)
        self._check_numbers(numbers)
        for present, absent, files in ((first, second, one), (second, first, other)):
            counterpart = self.files.get(absent, {})
            for echo, (path, *more) in files.items():
                if more:
                    raise InputError(
                        path, f"names the same image as {more[0]}", "keep one of the two files"
                    )
                if echo not in counterpart:
                    raise InputError(
                        path,
                        f"has part-{present}, but there is no matching part-{absent} image",
                        _missing_part_remedy(path, present, absent) + self._without(path),
                    )
        return parts, [(one[echo][0], other[echo][0]) for echo in sorted(one, key=_echo_number)]

    def _selected(self, part: str, numbers: Sequence[int]) -> dict[str, list[Path]]:
        """Return the files of a part by echo label, for the given echo numbers only."""
        files = self.files.get(part, {})
        return {
            echo: paths
            for echo, paths in files.items()
            if not numbers or not echo or _echo_number(echo)[0] in numbers
        }

    def _check_numbers(self, numbers: Sequence[int]) -> None:
        """Check that all echoes of the given numbers exist, unless the images have no numbers."""
        labels = {echo for files in self.files.values() for echo in files if echo}
        present = sorted({_echo_number(echo)[0] for echo in labels})
        absent = sorted(set(numbers) - set(present))
        if absent and present:
            raise no_echoes(self.first_file, absent, present)

    def _without(self, path: Path) -> str:
        """Return the remedy to leave out the echo of an image; empty if there is no other echo."""
        first, second = _POLAR if "phase" in self.files else _CARTESIAN
        whole = self.files.get(first, {}).keys() & self.files.get(second, {}).keys()
        return or_without(echo_number(path), [_echo_number(echo)[0] for echo in whole if echo])


def group_acquisitions(
    paths: Iterable[Path], parts: Mapping[Path, Sequence[str]] = MappingProxyType({})
) -> list[Acquisition]:
    """Group images into acquisitions that have a phase image, or a real or imaginary part.

    Parameters
    ----------
    paths : iterable of Path
        Images from any number of participants.
    parts : mapping of Path to sequence of str, optional
        Parts in the volumes of each 4-D image that has no ``part`` entity.

    Returns
    -------
    list of Acquisition
        Sorted by name. Groups that contain only magnitude images are left out.
    """
    groups: dict[_Key, dict[str, dict[str, list[Path]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for path in sorted(paths):
        entities, suffix = parse_name(path.name)
        own = [entities.pop("part")] if "part" in entities else parts[path]
        echo = entities.pop("echo", "")
        for part in own:
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
            files={part: dict(echoes) for part, echoes in groups[entities, suffix].items()},
            output_entities=MappingProxyType(output_entities[entities, suffix]),
        )
        for entities, suffix in with_phase
    ]


def merge_repetitions(
    acquisitions: Iterable[Acquisition], entities: Sequence[str]
) -> list[Acquisition]:
    """Merge acquisitions that differ only in some entities, for averaging.

    Parameters
    ----------
    acquisitions : iterable of Acquisition
    entities : sequence of str
        Entities in which the repetitions may differ, such as ``run``.

    Returns
    -------
    list of Acquisition
        Sorted by name. The names of a merged acquisition and of its outputs do not contain these
        entities.
    """
    return _merge(acquisitions, entities, "repetitions")


def merge_coils(acquisitions: Iterable[Acquisition]) -> list[Acquisition]:
    """Merge acquisitions that differ only in the entity ``coil``, for coil combination."""
    return _merge(acquisitions, ["coil"], "coils")


def _merge(
    acquisitions: Iterable[Acquisition], entities: Sequence[str], field: str
) -> list[Acquisition]:
    """Merge acquisitions that differ only in some entities, and store them in a field."""
    groups = defaultdict(list)
    for one in acquisitions:
        groups[join_name(_without(one.entities, entities), one.suffix)].append(one)
    merged = []
    for same in groups.values():
        first = same[0]
        if len(same) > 1:
            own, output = (_without(e, entities) for e in (first.entities, first.output_entities))
            changes: dict[str, Any] = {field: tuple(same)}
            first = replace(first, entities=own, output_entities=output, **changes)
        merged.append(first)
    return sorted(merged, key=lambda one: one.name)


def _without(present: Mapping[str, str], entities: Sequence[str]) -> Mapping[str, str]:
    return MappingProxyType({key: one for key, one in present.items() if key not in entities})


def _output_entities(keys: Sequence[_Key]) -> dict[_Key, dict[str, str]]:
    """Return unique output entities for each acquisition.

    If several acquisitions differ in their suffix only, the suffix is added to their ``acq`` label.
    """
    # Leave out "desc" and "seg", because raw data have no such entities and derivatives use them.
    plain = {key: {k: v for k, v in key[0] if k not in ("desc", "seg")} for key in keys}
    sharing = Counter(join_name(entities) for entities in plain.values())
    chosen = {key: own for key, own in plain.items() if sharing[join_name(own)] == 1}
    for key in keys:
        if key not in chosen:
            # Another acquisition may already have this acq label, such as acq-T1w.
            labels = numbered(plain[key].get("acq", "") + key[1])
            candidates = (_with_acq(plain[key], label) for label in labels)
            chosen[key] = next(names for names in candidates if names not in chosen.values())
    return chosen


def _with_acq(entities: Mapping[str, str], label: str) -> dict[str, str]:
    """Return the entities with an ``acq`` entity after sub, ses and sample, in the BIDS order."""
    leading = {key: value for key, value in entities.items() if key in ("sub", "ses", "sample")}
    rest = {key: value for key, value in entities.items() if key not in (*leading, "acq")}
    return {**leading, "acq": label, **rest}


def _missing_part_remedy(path: Path, present: str, absent: str) -> str:
    """Return the remedy for a missing part: rename an image without ``part``, or add a file."""
    own = stem(path)
    wanted = own.replace(f"part-{present}", f"part-{absent}")
    plain = own.replace(f"_part-{present}", "")
    for extension in IMAGE_EXTENSIONS:
        if absent == "mag" and os.path.lexists(path.with_name(plain + extension)):
            return f"rename {plain}{extension} to {wanted}{extension}, and {plain}.json accordingly"
    return f"add {wanted}{path.name.removeprefix(own)}"


def no_echoes(image: Path, absent: Iterable[int], present: Iterable[int]) -> InputError:
    """Return the error for echoes that an acquisition does not have."""
    return InputError(
        image,
        f"belongs to an acquisition without echo {' and '.join(map(str, absent))}",
        f"use --echoes with one or more of {' '.join(map(str, present))}",
    )


def or_without(number: int, numbers: Iterable[int]) -> str:
    """Return a remedy that leaves out one of several echoes; empty if there is no other echo."""
    others = sorted(set(numbers) - {number})
    return f", or leave this echo out with --echoes {' '.join(map(str, others))}" if others else ""


def echo_number(path: Path) -> int:
    """Return the echo number in a file name; 0 if there is none."""
    return _echo_number(parse_name(path.name)[0].get("echo", ""))[0]


def _echo_number(echo: str) -> tuple[int, str]:
    return (int(echo) if echo.isdecimal() else 0, echo)
