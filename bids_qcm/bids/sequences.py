"""Read from sidecars how an image was acquired, and refuse images that hold no usable phase."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_qcm.bids.errors import InputError

# dcm2niix's name, and that of DICOM and of BIDS for spectra
_NUCLEUS_FIELDS = ("ImagedNucleus", "ResonantNucleus")
_PROTON = ("1h", "h1", "h", "proton", "hydrogen", "1hydrogen", "hydrogen1")

# Units of field maps, without blanks; `bids_qcm.phase` knows the units of a phase. "rads" may be a
# plural, so seconds need a separator.
_FIELD_UNITS = re.compile(
    r"[kmµμu]?hz|hertz|rad(ian)?s?(/|per)m?s(ec(onds?)?)?|rad(ian)?s?[.*·]?s\^?-1"
    r"|[mµμun]?t(esla)?|ppm"
)

# dcm2niix writes the first, Philips the others
_FIELD_IMAGES = {"FIELDMAPHZ", "B0", "B0 MAP", "B0_MAP", "FIELD_MAP"}

# Fields in which converters name the sequence.
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
# Siemens' TrueFISP and its short name, GE's FIESTA, Philips' balanced FFE and TFE, Canon's TrueSSFP
_BALANCED_NAMES = re.compile(
    r"true?[ _-]?(fi|ssfp)|tfi[23]d|fiesta|(?<![a-z])([23]d)?b(al(anced)?)?[ _-]?(ssfp|ffe|tfe)"
    r"|(?<![a-z])ssfp(?![a-z])",
    re.IGNORECASE,
)
# FLASH, FISP, DESS, CISS; GE's SPGR and GRASS
_OTHER_NAMES = re.compile(
    r"(?<![a-z])(fl|fi|de|ci)[23]d|flash|fisp|dess|spgr|fgre|grass|mprage|t1ffe", re.IGNORECASE
)
_GRADIENT_ECHO_SUFFIXES = ("MEGRE", "T2starw", "T2star")

# spoiled, with oversampling spoiled, time-reversed, magnetisation prepared
_NOT_BALANCED = {"SP", "OSP", "TRSS", "MP"}

# In balanced sequences the echo lies in the middle of a short repetition time.
_LONGEST_BALANCED_ECHO_TIME = 0.008
_BALANCED_ECHO_PLACE = (0.4, 0.6)


def check_nucleus(metadata: Mapping[str, Any], image: Path) -> None:
    """Check that the sidecar of an image names no nucleus but the proton.

    Parameters
    ----------
    metadata : mapping
        The image's sidecar.
    image : Path
        For the message.

    Raises
    ------
    InputError
        If the image is of another nucleus.
    """
    for field in _NUCLEUS_FIELDS:
        for nucleus in _texts(metadata, field):
            if re.sub(r"[^0-9a-z]", "", nucleus.lower()) not in _PROTON:
                raise InputError(
                    image,
                    f"its sidecar's {field} is {nucleus}, but the method is for protons (1H)",
                    "leave this acquisition out with --bids-filter-file, or mend the field",
                )


def check_holds_phase(metadata: Mapping[str, Any], image: Path) -> None:
    """Check that an image is neither a phase difference nor a field map.

    Parameters
    ----------
    metadata : mapping
        The phase image's sidecar.
    image : Path
        For the message.

    Raises
    ------
    InputError
        If the sidecar says that the image is one of these.
    """
    remedy = (
        "use the phase image of each echo, as the scanner stored it, and leave this one out with "
        "--bids-filter-file"
    )
    times = [f"{name} {metadata[name]}" for name in ("EchoTime1", "EchoTime2") if name in metadata]
    if times:
        raise InputError(
            image,
            f"is a phase difference, which holds no phase at echo time zero: its sidecar has "
            f"{' and '.join(times)}",
            remedy,
        )
    units = [unit for unit in _texts(metadata, "Units") if _is_field_unit(unit)]
    kinds = [kind for kind in _texts(metadata, "ImageType") if kind.upper() in _FIELD_IMAGES]
    for field, values in (("Units", units), ("ImageType", kinds)):
        if values:
            raise InputError(
                image, f"is a field map, not a phase: its sidecar's {field} is {values[0]}", remedy
            )


def is_balanced(metadata: Mapping[str, Any]) -> bool:
    """Whether a sidecar is of a balanced steady-state sequence (bSSFP), whose phase is refocused.

    Scanners write ``GR`` (gradient recalled) as its `ScanningSequence`. The vendor's name of the
    sequence decides. Without one, an unspoiled steady state with a short echo time is balanced,
    where a known repetition time is about twice the echo time.
    """
    named = [text for field in _NAME_FIELDS for text in _texts(metadata, field)]
    if any(map(_BALANCED_NAMES.search, named)):
        return True
    variants = _codes(metadata, "SequenceVariant")
    if "SS" not in variants or variants & _NOT_BALANCED or any(map(_OTHER_NAMES.search, named)):
        return False
    echo, repetition = (_seconds(metadata, field) for field in ("EchoTime", "RepetitionTime"))
    if echo is None or echo > _LONGEST_BALANCED_ECHO_TIME:
        return False
    low, high = _BALANCED_ECHO_PLACE
    return repetition is None or low <= echo / repetition <= high


def is_gradient_echo(metadata: Mapping[str, Any], suffix: str) -> bool:
    """Whether off-resonance stays in the phase of each echo: a gradient echo that is not bSSFP."""
    gradient = suffix in _GRADIENT_ECHO_SUFFIXES or "GR" in _codes(metadata, "ScanningSequence")
    return gradient and not is_balanced(metadata)


def slice_axis(metadata: Mapping[str, Any]) -> int | None:
    """Return the axis along which slices were excited one by one; None for 3-D acquisitions."""
    if "2D" not in _codes(metadata, "MRAcquisitionType"):
        return None
    (direction,) = _texts(metadata, "SliceEncodingDirection")[:1] or ["k"]
    axis = "ijk".find(direction[:1])
    return axis if axis >= 0 else 2


def _is_field_unit(unit: str) -> bool:
    return _FIELD_UNITS.fullmatch(re.sub(r"\s", "", unit).lower()) is not None


def _codes(metadata: Mapping[str, Any], field: str) -> set[str]:
    r"""Split a field such as ``GR\\IR``, ``GR_IR`` or ``["GR", "IR"]``, by the converter."""
    return {
        code.upper() for text in _texts(metadata, field) for code in re.split(r"[\\_\s/,;]+", text)
    }


def _texts(metadata: Mapping[str, Any], field: str) -> list[str]:
    """Return the texts of a field, which may be one or a list."""
    value = metadata.get(field, [])
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str) and one.strip()]


def _seconds(metadata: Mapping[str, Any], field: str) -> float | None:
    value = metadata.get(field)
    usable = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return float(value) if usable else None
