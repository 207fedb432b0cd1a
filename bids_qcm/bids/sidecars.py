"""Sidecars, by the inheritance principle, one file's at a time."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.files import require_content, visible
from bids_qcm.bids.names import parse_name
from bids_qcm.physics import PROTON_GYROMAGNETIC_RATIO

# Wider than any scanner; outside lies another unit.
_FIELD_STRENGTH_RANGE = (0.01, 30.0)
_LONGEST_ECHO_TIME = 1.0

_HEAD_WORDS = ("head", "brain", "skull", "neuro", "cerebr", "cranium")
_UNKNOWN_BODY_PARTS = ("", "none", "n/a", "unknown", "other", "mr", "whole body", "wholebody")

# A nominal field strength may be some percent off: 3 T magnets of one vendor are at 2.89 T.
_NOMINAL_FIELD = 0.1
_SAME = 1e-3


def read_sidecar(image: Path, root: Path) -> dict[str, Any]:
    """Read all metadata that applies to an image.

    pybids reads the whole dataset's sidecars at once, and a single malformed one ends the run;
    here a bad file concerns its own images only.

    Parameters
    ----------
    image : Path
        A NIfTI file inside `root`.
    root : Path
        The dataset's folder.

    Returns
    -------
    dict
        Keys of files nearer to the image win.

    Raises
    ------
    InputError
        If a sidecar is not a JSON object.
    """
    metadata: dict[str, Any] = {}
    relative = image.relative_to(root)
    entities, suffix = parse_name(image.name)
    for folder in [root / part for part in reversed(relative.parents)]:
        applicable = []
        for path in visible(folder, f"*{suffix}.json"):
            its_entities, its_suffix = parse_name(path.name)
            if its_suffix == suffix and its_entities.items() <= entities.items():
                applicable.append((len(its_entities), path))
        for _, path in sorted(applicable):
            metadata |= _read_json_object(path)
    return metadata


def larmor_frequency(metadata: dict[str, Any], image: Path) -> tuple[float, str]:
    """Give the Larmor frequency and where it is from.

    Parameters
    ----------
    metadata : dict
        The image's sidecar.
    image : Path
        For the message.

    Returns
    -------
    frequency : float
        In Hz.
    source : str
        The sidecar field it was taken from.

    Raises
    ------
    InputError
        If neither field is there or the value makes no sense.
    """
    low, high = _FIELD_STRENGTH_RANGE
    if "ImagingFrequency" in metadata:
        megahertz = _number(metadata, "ImagingFrequency", image, "MHz")
        frequency = megahertz * 1e6
        source = "ImagingFrequency"
    elif "MagneticFieldStrength" in metadata:
        tesla = _number(metadata, "MagneticFieldStrength", image, "tesla")
        frequency = tesla * PROTON_GYROMAGNETIC_RATIO
        source = "MagneticFieldStrength"
    else:
        raise InputError(
            image,
            "its sidecar has neither ImagingFrequency nor MagneticFieldStrength",
            "add ImagingFrequency (MHz) or MagneticFieldStrength (tesla)",
        )
    if not low <= frequency / PROTON_GYROMAGNETIC_RATIO <= high:
        raise InputError(
            image,
            f"its sidecar's {source} is {metadata[source]!r}, which is no scanner's",
            "give ImagingFrequency in MHz, MagneticFieldStrength in tesla",
        )
    return frequency, source


def contradictions(metadata: Sequence[Mapping[Path, Mapping[str, Any]]]) -> list[str]:
    """Find numbers in the sidecars of an acquisition's images that cannot all be true.

    Parameters
    ----------
    metadata : sequence of mappings of Path to mapping
        For each echo, the metadata of both images.

    Returns
    -------
    list of str
        What is worth a warning. What is no number does not count.
    """
    found = []
    images = {path: own for echo in metadata for path, own in echo.items()}
    for field in ("ImagingFrequency", "MagneticFieldStrength"):
        found += _differing(images, field)
    for echo in metadata:
        found += _differing(echo, "EchoTime")
    for path, own in images.items():
        megahertz, tesla = own.get("ImagingFrequency"), own.get("MagneticFieldStrength")
        if is_number(megahertz) and is_number(tesla) and tesla > 0:
            expected = tesla * PROTON_GYROMAGNETIC_RATIO / 1e6
            if abs(megahertz - expected) > _NOMINAL_FIELD * expected:
                found.append(
                    f"{path.name}: its sidecar's ImagingFrequency is {megahertz:g} MHz, but its "
                    f"MagneticFieldStrength, {tesla:g} T, means {expected:.1f} MHz; the first is "
                    "used"
                )
                break
    return found


def _differing(metadata: Mapping[Path, Mapping[str, Any]], field: str) -> list[str]:
    values = {path: own[field] for path, own in metadata.items() if is_number(own.get(field))}
    for path, value in values.items():
        first, expected = next(iter(values.items()))
        if not math.isclose(value, expected, rel_tol=_SAME):
            return [
                f"{path.name}: its sidecar's {field} is {value:g}, but that of {first.name} is "
                f"{expected:g}"
            ]
    return []


def echo_time(metadata: dict[str, Any], image: Path) -> float:
    """Give the echo time in s.

    Raises
    ------
    InputError
        If there is none or it makes no sense.
    """
    if "EchoTime" not in metadata:
        raise InputError(
            image,
            "its sidecar has no EchoTime, but there are several echoes",
            "add EchoTime (seconds) to the sidecar of every echo",
        )
    seconds = _number(metadata, "EchoTime", image, "seconds")
    if not 0 <= seconds <= _LONGEST_ECHO_TIME:
        raise InputError(
            image, f"its sidecar's EchoTime is {seconds:g}", "give EchoTime in seconds"
        )
    return seconds


def shows_head(metadata: Mapping[str, Any]) -> bool | None:
    """Whether a sidecar says that an image shows a head; None if the sidecar does not say.

    Parameters
    ----------
    metadata : mapping
        The image's sidecar, with ``BodyPartExamined`` or without.

    Returns
    -------
    bool or None
    """
    body_part = str(metadata.get("BodyPartExamined") or "").strip().lower()
    if body_part in _UNKNOWN_BODY_PARTS:
        return None
    return any(word in body_part for word in _HEAD_WORDS)


def is_number(value: Any) -> bool:  # noqa: ANN401
    """Whether a value of a sidecar is a finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _number(metadata: dict[str, Any], field: str, image: Path, unit: str) -> float:
    value = metadata[field]
    if not is_number(value):
        raise InputError(
            image, f"its sidecar's {field} is {value!r}", f"give one number, in {unit}"
        )
    return float(value)


def _read_json_object(path: Path) -> dict[str, Any]:
    require_content(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read as JSON ({error})", "mend the sidecar") from error
    if not isinstance(content, dict):
        raise InputError(path, "is not a JSON object", "mend the sidecar")
    return content
