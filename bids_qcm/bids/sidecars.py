"""Read the sidecar of an image by the BIDS inheritance principle, and check its fields."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.files import visible
from bids_qcm.bids.names import parse_name
from bids_qcm.bids.readers import read_json_object
from bids_qcm.physics import PROTON_GYROMAGNETIC_RATIO

# Plausible range of the field strength in tesla. The range covers all scanners, so a value outside
# it has the wrong unit.
_FIELD_STRENGTH_RANGE = (0.01, 30.0)
_LONGEST_ECHO_TIME = 1.0

_HEAD_WORDS = ("head", "brain", "skull", "neuro", "cerebr", "cranium")
_UNKNOWN_BODY_PARTS = ("", "none", "n/a", "unknown", "other", "mr", "whole body", "wholebody")

# Relative tolerance of the field strength. The nominal value may deviate by a few percent; for
# example, one vendor's 3 T magnets have a field of 2.89 T.
_NOMINAL_FIELD = 0.1

# Relative tolerance within which numbers of two sidecars are equal. Images of one protocol have
# identical echo times and frequencies, except for rounding.
_SAME = 1e-3


def read_sidecar(image: Path, root: Path) -> dict[str, Any]:
    """Return all metadata that applies to an image.

    pybids reads the sidecars of the whole dataset at once, so a single malformed sidecar would end
    the run. This function reads only the sidecars of one image, so a malformed sidecar affects no
    other image.

    Parameters
    ----------
    image : Path
        Image file inside `root`.
    root : Path
        Folder of the dataset.

    Returns
    -------
    dict
        Merged fields. Sidecars in folders closer to the image have priority.

    Raises
    ------
    InputError
        If a sidecar is not a JSON object.
    """
    metadata: dict[str, Any] = {}
    for path in find_sidecars(image, root):
        metadata |= read_json_object(path, "correct the sidecar")
    return metadata


def find_sidecars(image: Path, root: Path) -> list[Path]:
    """Return the sidecars that apply to an image; later sidecars override earlier sidecars."""
    found = []
    relative = image.relative_to(root)
    entities, suffix = parse_name(image.name)
    for folder in [root / part for part in reversed(relative.parents)]:
        applicable = []
        for path in visible(folder, f"*{suffix}.json"):
            its_entities, its_suffix = parse_name(path.name)
            if its_suffix == suffix and its_entities.items() <= entities.items():
                applicable.append((len(its_entities), path))
        found += [path for _, path in sorted(applicable)]
    return found


def larmor_frequency(metadata: dict[str, Any], image: Path) -> tuple[float, str]:
    """Return the Larmor frequency and the sidecar field from which it was taken.

    Parameters
    ----------
    metadata : dict
        Sidecar of the image.
    image : Path
        File named in the error message.

    Returns
    -------
    frequency : float
        Larmor frequency in Hz.
    source : str
        ``ImagingFrequency``, or ``MagneticFieldStrength`` if the first field is missing.

    Raises
    ------
    InputError
        If both fields are missing, or the value is not a number or not plausible.
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
            f"its sidecar's {source} is {metadata[source]!r}, which is not plausible",
            "set ImagingFrequency in MHz or MagneticFieldStrength in tesla",
        )
    return frequency, source


def contradictions(metadata: Sequence[Mapping[Path, Mapping[str, Any]]]) -> list[str]:
    """Return warnings about contradictory numbers in the sidecars of an acquisition.

    Parameters
    ----------
    metadata : sequence of mappings of Path to mapping
        For each echo, the metadata of both images, keyed by image path.

    Returns
    -------
    list of str
        Warnings. Fields whose values are not numbers are ignored.
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
                    f"MagneticFieldStrength of {tesla:g} T corresponds to {expected:.1f} MHz; "
                    "ImagingFrequency is used"
                )
                break
    return found


def _differing(metadata: Mapping[Path, Mapping[str, Any]], field: str) -> list[str]:
    values = {path: own[field] for path, own in metadata.items() if is_number(own.get(field))}
    for path, value in values.items():
        first, expected = next(iter(values.items()))
        if not are_same(value, expected):
            return [
                f"{path.name}: its sidecar's {field} is {value:g}, but {expected:g} in the "
                f"sidecar of {first.name}"
            ]
    return []


def echo_time(metadata: dict[str, Any], image: Path) -> float:
    """Return the echo time of an image in s.

    Raises
    ------
    InputError
        If the sidecar has no echo time, or the echo time is not a number or not plausible.
    """
    if "EchoTime" not in metadata:
        raise InputError(
            image,
            "its sidecar has no EchoTime, which is needed for several echoes",
            "add EchoTime (seconds) to the sidecar of every echo",
        )
    seconds = _number(metadata, "EchoTime", image, "seconds")
    if not 0 <= seconds <= _LONGEST_ECHO_TIME:
        raise InputError(
            image,
            f"its sidecar's EchoTime is {seconds:g}, which is not plausible",
            "set EchoTime in seconds",
        )
    return seconds


def shows_head(metadata: Mapping[str, Any]) -> bool | None:
    """Whether the sidecar of an image names the head as the body part.

    Parameters
    ----------
    metadata : mapping
        Sidecar of the image.

    Returns
    -------
    bool or None
        None if the sidecar has no ``BodyPartExamined``, or a value that does not name a body part.
    """
    body_part = str(metadata.get("BodyPartExamined") or "").strip().lower()
    if body_part in _UNKNOWN_BODY_PARTS:
        return None
    return any(word in body_part for word in _HEAD_WORDS)


def is_number(value: Any) -> TypeGuard[float]:  # noqa: ANN401
    """Whether a sidecar value is a finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer may be too large for a float
        return False


def are_same(one: float, other: float) -> bool:
    """Whether two numbers of the same field, such as echo times, are equal except for rounding."""
    return math.isclose(one, other, rel_tol=_SAME)


def _number(metadata: dict[str, Any], field: str, image: Path, unit: str) -> float:
    value = metadata[field]
    if not is_number(value):
        raise InputError(
            image,
            f"its sidecar's {field} is {value!r}, which is not a finite number",
            f"set the field to one number, in {unit}",
        )
    return float(value)
