"""Read acquisition details from sidecars, and reject images without a usable phase."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.sidecars import is_number

# Fields that name the nucleus: dcm2niix writes the first field. DICOM defines the second field, and
# BIDS uses it for spectra.
_NUCLEUS_FIELDS = ("ImagedNucleus", "ResonantNucleus")
_PROTON = ("1h", "h1", "h", "proton", "hydrogen", "1hydrogen", "hydrogen1")

# Units of field maps. Blanks are removed before the comparison. Units of a phase are recognised in
# `bids_qcm.phase`. "rads" may be the plural of rad, so rad per second must contain a separator.
_FIELD_UNITS = re.compile(
    r"[kmµμu]?hz|hertz|rad(ian)?s?(/|per)m?s(ec(onds?)?)?|rad(ian)?s?[.*·]?s\^?-1"
    r"|[mµμun]?t(esla)?|ppm"
)

# Values of ImageType that mark a field map: dcm2niix writes the first value, Philips the others.
_FIELD_IMAGES = {"FIELDMAPHZ", "B0", "B0 MAP", "B0_MAP", "FIELD_MAP"}

# Fields that may contain the name of the sequence.
_NAME_FIELDS = (
    "PulseSequenceDetails",
    "PulseSequenceName",
    "InternalPulseSequenceName",
    "PulseSequenceType",
    "SequenceName",
    "ScanningSequence",
    "ProtocolName",
    "SeriesDescription",
)
# Names of balanced sequences: TrueFISP and its short name (Siemens), FIESTA (GE), balanced FFE and
# TFE (Philips), TrueSSFP (Canon).
_BALANCED_NAMES = re.compile(
    r"true?[ _-]?(fi|ssfp)|tfi[23]d|fiesta|(?<![a-z])([23]d)?b(al(anced)?)?[ _-]?(ssfp|ffe|tfe)"
    r"|(?<![a-z])ssfp(?![a-z])",
    re.IGNORECASE,
)
# Sequence names that do not count as balanced, such as FLASH, FISP, DESS and CISS (Siemens), SPGR
# and GRASS (GE).
_OTHER_NAMES = re.compile(
    r"(?<![a-z])(fl|fi|de|ci)[23]d|flash|fisp|dess|spgr|fgre|grass|mprage|t1ffe", re.IGNORECASE
)
_GRADIENT_ECHO_SUFFIXES = ("MEGRE", "T2starw", "T2star")

# SequenceVariant codes of sequences that are not balanced: spoiled, oversampling phase, time
# reversed steady state, magnetisation prepared.
_NOT_BALANCED = {"SP", "OSP", "TRSS", "MP"}

INCREMENT_FIELD = "RfPhaseIncrement"
"""Sidecar field with the phase increment of the radiofrequency pulses, in degrees."""

# In balanced sequences, the echo is in the middle of a short repetition time.
_LONGEST_BALANCED_ECHO_TIME = 0.008
_BALANCED_ECHO_PLACE = (0.4, 0.6)


SPACING_TOLERANCE = 0.005
"""Relative difference of slice distances that counts as rounding, as in the check of the voxel
sizes."""


def check_nucleus(metadata: Mapping[str, Any], image: Path) -> None:
    """Check that the sidecar of an image names no nucleus other than the proton.

    Parameters
    ----------
    metadata : mapping
        Sidecar of the image.
    image : Path
        File named in the error message.

    Raises
    ------
    InputError
        If the sidecar names a nucleus other than the proton.
    """
    for field in _NUCLEUS_FIELDS:
        for nucleus in _texts(metadata, field):
            if re.sub(r"[^0-9a-z]", "", nucleus.lower()) not in _PROTON:
                raise InputError(
                    image,
                    f"its sidecar's {field} is {nucleus}, but conductivity mapping needs protons "
                    "(1H)",
                    "exclude this acquisition with --bids-filter-file, or correct the field",
                )


def check_holds_phase(metadata: Mapping[str, Any], image: Path) -> None:
    """Check that an image is neither a phase difference nor a field map.

    Parameters
    ----------
    metadata : mapping
        Sidecar of the phase image.
    image : Path
        File named in the error message.

    Raises
    ------
    InputError
        If the sidecar identifies the image as a phase difference or a field map.
    """
    remedy = (
        "use the phase image of each echo as stored by the scanner, and exclude this image with "
        "--bids-filter-file"
    )
    times = [f"{name} {metadata[name]}" for name in ("EchoTime1", "EchoTime2") if name in metadata]
    if times:
        raise InputError(
            image,
            "is a phase difference, in which the phase at echo time zero cancels out: its sidecar "
            f"has {' and '.join(times)}",
            remedy,
        )
    units = [unit for unit in _texts(metadata, "Units") if _is_field_unit(unit)]
    kinds = [kind for kind in _texts(metadata, "ImageType") if kind.upper() in _FIELD_IMAGES]
    for field, values in (("Units", units), ("ImageType", kinds)):
        if values:
            raise InputError(
                image,
                f"is a field map, not a phase image: its sidecar's {field} is {values[0]}",
                remedy,
            )


def is_balanced(metadata: Mapping[str, Any]) -> bool:
    """Whether a sidecar describes a balanced steady-state sequence, whose phase is refocused.

    ``ScanningSequence`` is ``GR`` (gradient recalled) for these sequences too, so the vendor's name
    of the sequence is used first. Without a known name, the sequence counts as balanced if it has
    an unspoiled steady state and a short echo time. If the repetition time is known, it must also
    be about twice the echo time.
    """
    named = [text for field in _NAME_FIELDS for text in _texts(metadata, field)]
    if any(map(_BALANCED_NAMES.search, named)):
        return True
    variants = _codes(metadata, "SequenceVariant")
    if "SS" not in variants or variants & _NOT_BALANCED or any(map(_OTHER_NAMES.search, named)):
        return False
    echo, repetition = (
        positive_number(metadata, field) for field in ("EchoTime", "RepetitionTime")
    )
    if echo is None or echo > _LONGEST_BALANCED_ECHO_TIME:
        return False
    low, high = _BALANCED_ECHO_PLACE
    return repetition is None or low <= echo / repetition <= high


def are_phase_cycles(sidecars: Sequence[Mapping[str, Any]]) -> bool:
    """Whether balanced acquisitions differ in the phase increment of their pulses.

    The increment is read from the field ``RfPhaseIncrement``, in degrees. BIDS has no such field
    for balanced sequences, only ``SpoilingRFPhaseIncrement`` for spoiled sequences.
    """
    increments = list(filter(is_number, (one.get(INCREMENT_FIELD) for one in sidecars)))
    if not all(map(is_balanced, sidecars)) or len(increments) < len(sidecars):
        return False
    return len({round(one % 360) % 360 for one in increments}) > 1


def is_gradient_echo(metadata: Mapping[str, Any], suffix: str) -> bool:
    """Whether a sequence is a gradient echo other than bSSFP, so that off-resonance adds phase."""
    gradient = suffix in _GRADIENT_ECHO_SUFFIXES or "GR" in _codes(metadata, "ScanningSequence")
    return gradient and not is_balanced(metadata)


def slice_axis(metadata: Mapping[str, Any]) -> int | None:
    """Return the array axis across the slices of a 2-D acquisition; None for a 3-D acquisition.

    Without ``MRAcquisitionType``, the acquisition counts as 2-D if there are gaps between its
    slices, or if its slices were acquired at different times.
    """
    if not _is_2d(metadata):
        return None
    (direction,) = _texts(metadata, "SliceEncodingDirection")[:1] or ["k"]
    axis = "ijk".find(direction[:1])
    return axis if axis >= 0 else 2


def _is_2d(metadata: Mapping[str, Any]) -> bool:
    kinds = _codes(metadata, "MRAcquisitionType")
    if kinds:
        return "2D" in kinds
    times = metadata.get("SliceTiming")
    if isinstance(times, list) and len({str(time) for time in times}) > 1:
        return True
    thickness, spacing = (
        positive_number(metadata, name) for name in ("SliceThickness", "SpacingBetweenSlices")
    )
    return bool(thickness and spacing and spacing > (1 + SPACING_TOLERANCE) * thickness)


def _is_field_unit(unit: str) -> bool:
    return _FIELD_UNITS.fullmatch(re.sub(r"\s", "", unit).lower()) is not None


def _codes(metadata: Mapping[str, Any], field: str) -> set[str]:
    r"""Return the codes in a field, written as ``GR\\IR``, ``GR_IR`` or ``["GR", "IR"]``."""
    return {
        code.upper() for text in _texts(metadata, field) for code in re.split(r"[\\_\s/,;]+", text)
    }


def _texts(metadata: Mapping[str, Any], field: str) -> list[str]:
    """Return the non-empty strings in a field, which may be a string or a list."""
    value = metadata.get(field, [])
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str) and one.strip()]


def positive_number(metadata: Mapping[str, Any], field: str) -> float | None:
    """Return a field of a sidecar; None if it is missing or not a positive number."""
    value = metadata.get(field)
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    return None
