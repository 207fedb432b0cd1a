"""Echoes, receive coils and parts of the complex signal in the volumes of 4-D images.

The sidecar describes the fourth axis with lists that have one value for each volume:

- ``EchoTime``, a list in BIDS for such files;
- ``CoilString``, the field in which dcm2niix writes the coil of an uncombined image;
- ``ComplexImageComponent``, the DICOM attribute (0008,9208) to which the BIDS entity ``part``
  corresponds.
"""

from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any, NamedTuple

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import count_volumes
from bids_qcm.bids.sidecars import echo_time, read_sidecar

_TIME, _COIL, _COMPONENT = _FIELDS = ("EchoTime", "CoilString", "ComplexImageComponent")

_PART_OF_COMPONENT = {"MAGNITUDE": "mag", "PHASE": "phase", "REAL": "real", "IMAGINARY": "imag"}


class VolumePair(NamedTuple):
    """The volumes of both parts of one echo and one receive coil.

    Attributes
    ----------
    volumes : pair of int or None
        Indices of the volumes in the files of both parts; None for 3-D images.
    echo_time : float or None
        Echo time in s from the list; None if the sidecar has no list of echo times.
    coil : str
        Name of the receive coil; empty if the sidecar has no list of coils.
    """

    volumes: tuple[int, int] | None = None
    echo_time: float | None = None
    coil: str = ""


def parts_in_volumes(image: Path, root: Path) -> tuple[str, ...]:
    """Return the parts that the sidecar lists for the volumes of an image without ``part`` entity.

    Parameters
    ----------
    image : Path
    root : Path
        Folder of the dataset.

    Returns
    -------
    tuple of str
        Different parts, such as ``("mag", "phase")``. Empty without a list, or with an invalid
        sidecar, because the image may have nothing to do with conductivity mapping. If one of
        several components is unknown, both parts are returned, so that :func:`pair_volumes` reports
        this component.
    """
    try:
        components = read_sidecar(image, root).get(_COMPONENT)
    except InputError:
        return ()
    if not isinstance(components, list):
        return ()
    named = [_PART_OF_COMPONENT.get(str(one).upper()) for one in components]
    parts = tuple(dict.fromkeys(part for part in named if part is not None))
    if None in named and len(named) > 1:
        return ("real", "imag") if {"real", "imag"} & set(parts) else ("mag", "phase")
    return parts


def pair_volumes(
    pair: tuple[Path, Path], parts: tuple[str, str], sidecars: Sequence[Mapping[str, Any]]
) -> list[list[VolumePair]]:
    """Return the volumes of each echo and receive coil in a pair of 4-D images.

    Parameters
    ----------
    pair : pair of Path
        Magnitude and phase, or real and imaginary part. Both may be the same file.
    parts : pair of str
        Names of these parts, as in the entity ``part``.
    sidecars : pair of mapping
        Sidecars of both images. A list of echo times or coils in one sidecar also applies to the
        other image, unless the other image has its own list.

    Returns
    -------
    list of list of VolumePair
        For each echo, its coils. The echoes have the order of their echo times, the coils have the
        order of the volumes of the second image. 3-D images have one echo and one coil.

    Raises
    ------
    InputError
        If the numbers of volumes differ, if both parts are the same 3-D image, if the sidecars do
        not describe the volumes, or if they do not describe the same echoes and coils for both
        parts.
    """
    counts = [count_volumes(path) for path in pair]
    n = max(counts)
    if min(counts) != n:
        more, fewer = pair if counts[0] == n else pair[::-1]
        raise InputError(
            more,
            f"has {n} volumes, but {fewer.name} has {min(counts)}",
            "use images of the same acquisition that have the same volumes",
        )
    first, second = sidecars
    if n == 1 and pair[0] == pair[1]:
        raise InputError(
            pair[1],
            f"has only one volume, but its sidecar's ComplexImageComponent is {second[_COMPONENT]}",
            "convert the DICOM files again, so that each part is a file or a volume",
        )
    if n == 1:
        return [[VolumePair()]]
    # describe the phase first, because an error should name the phase image
    other = _describe(pair[1], parts[1], _with_lists(second, first), n)
    one = _describe(pair[0], parts[0], _with_lists(first, second), n)
    # Echo numbers are positions in the readout train. Without a list of echo times, the only echo
    # time is None.
    times = sorted({label.time for label in other}, key=lambda time: time or 0)
    coils = dict.fromkeys(label.coil for label in other)
    labels = [[_Label(time, coil) for coil in coils] for time in times]
    wanted = dict.fromkeys(chain(*labels))
    for path, found in ((pair[1], other), (pair[0], one)):
        if found.keys() != wanted.keys():
            differing = next(
                label for label in (*wanted, *found) if (label in found) != (label in wanted)
            )
            raise InputError(
                path,
                f"has {'a' if differing in found else 'no'} volume with {differing}, unlike "
                "the other echoes, coils or parts",
                _CORRECT_LISTS,
            )
    return [
        [VolumePair((one[label], other[label]), *label) for label in of_echo] for of_echo in labels
    ]


class _Label(NamedTuple):
    """Properties that distinguish a volume from the other volumes of the same part."""

    time: float | None
    coil: str

    def __str__(self) -> str:
        """Return the label in words."""
        words = [f"{_TIME} {self.time:g} s"] if self.time is not None else []
        words += [f"{_COIL} {self.coil}"] if self.coil else []
        return " and ".join(words) or "the same part"


_CORRECT_LISTS = (
    f"correct the lists {', '.join(_FIELDS)} in the sidecar, which must contain each combination "
    "of echo, coil and part once; store each repetition in a separate file (run-1, run-2)"
)


def _with_lists(own: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return a sidecar with the lists of the other image that the sidecar does not have.

    dcm2niix writes one echo time and one coil to both sidecars, so a list replaces a single value.
    The components of the other image never apply, because the images are different parts.
    """
    lists = {
        field: other[field]
        for field in (_TIME, _COIL)
        if isinstance(other.get(field), list) and not isinstance(own.get(field), list)
    }
    return {**own, **lists}


def _describe(path: Path, part: str, sidecar: Mapping[str, Any], n: int) -> dict[_Label, int]:
    """Return the volume of each echo and coil of a part."""
    lists = {field: sidecar[field] for field in _FIELDS if isinstance(sidecar.get(field), list)}
    if not lists or any(len(values) != n for values in lists.values()):
        states = ", ".join(f"{field} is {sidecar.get(field, 'missing')}" for field in _FIELDS)
        raise InputError(
            path,
            f"has {n} volumes, but its sidecar does not describe them: {states}",
            _question(n),
        )
    components = [_part_of(one, path) for one in lists.get(_COMPONENT, [])] or [part] * n
    labels = map(
        _Label,
        [echo_time({_TIME: time}, path) for time in lists.get(_TIME, [])] or repeat(None, n),
        map(str, lists.get(_COIL, [""] * n)),
    )
    found: dict[_Label, int] = {}
    for volume, (component, label) in enumerate(zip(components, labels, strict=True)):
        if component == part and label in found:
            raise InputError(
                path,
                f"has two volumes with {label}: {found[label]} and {volume} (counted from 0)",
                _CORRECT_LISTS,
            )
        if component == part:
            found[label] = volume
    if not found:
        raise InputError(
            path,
            f"has no volume of the part {part}: its ComplexImageComponent is {lists[_COMPONENT]}",
            _CORRECT_LISTS,
        )
    return found


def _part_of(component: object, path: Path) -> str:
    """Return the part that a component of the complex signal corresponds to."""
    part = _PART_OF_COMPONENT.get(str(component).upper())
    if part is None:
        raise InputError(
            path,
            f"its sidecar's ComplexImageComponent contains {component!r}",
            f"use {', '.join(_PART_OF_COMPONENT)} for each volume",
        )
    return part


def _question(n: int) -> str:
    return (
        f"if the volumes are echoes, set EchoTime to a list of {n} echo times (seconds); if they "
        f"are receive coils, set CoilString to a list of {n} names; if they are parts of the "
        f"complex signal, set ComplexImageComponent to a list of {n} values "
        f"({', '.join(_PART_OF_COMPONENT)}); if they are repetitions, store each volume in a file "
        "with its own name (run-1, run-2)"
    )
