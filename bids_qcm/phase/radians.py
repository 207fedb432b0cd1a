"""What unit a phase image is in, from its values alone where nobody says."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

_CYCLE = 2 * np.pi

# Stored radians are rounded; more than this is not rounding.
_SLACK = 1e-3

# Roughly rounded radians, as +-3.15, are not unwrapped ones. Taking them for wrapped costs nothing:
# unwrapping does not change a phase that is unwrapped.
_WRAPPED_RANGE = 1.02 * _CYCLE

# A wrapped phase with noise around the head fills its range; the last percent or two may miss.
_FILLED = 0.98

# A few voxels that overshoot, in air or at an edge, do not decide about the unit.
_OVERSHOOT = 0.001

# No head wraps a hundred times.
_LARGEST_UNWRAPPED_RANGE = 100 * _CYCLE


class PhaseUnitsError(ValueError):
    """The unit of a phase image cannot be told from its values."""


@dataclass(frozen=True)
class PhaseUnits:
    """How to turn a phase image's values into radians.

    Attributes
    ----------
    name : str
        What the values were recognised as.
    radians_per_unit : float
        Factor on the values; there is never an offset.
    use_stored : bool
        Whether the factor applies to the stored values, ignoring ``scl_slope`` and ``scl_inter``.
    remark : str or None
        What a user should know about the decision.
    """

    name: str
    radians_per_unit: float = 1.0
    use_stored: bool = False
    remark: str | None = None


@dataclass(frozen=True)
class _VendorRange:
    name: str
    low: float
    high: float
    radians_per_unit: float

    def holds(self, low: float, high: float) -> bool:
        """Tell whether values from low to high lie in this range and fill it."""
        lows = (self.low, self.low + (1 - _FILLED) * (self.high - self.low))
        highs = (self.high - (1 - _FILLED) * (self.high - self.low), self.high)
        return lows[0] <= low <= lows[1] and highs[0] <= high <= highs[1]


_VENDOR_RANGES = (
    _VendorRange("unsigned 12-bit, 4096 per cycle", 0, 4096, _CYCLE / 4096),
    _VendorRange("signed, 8192 per cycle", -4096, 4096, _CYCLE / 8192),
    _VendorRange("milliradian", -3143, 3143, 1e-3),
    _VendorRange("degrees", -180, 180, _CYCLE / 360),
    _VendorRange("degrees", 0, 360, _CYCLE / 360),
)

_NAMED_UNITS = {"rad": 1.0, "mrad": 1e-3}


def recognise_units(
    stored: NDArray,
    slope: float = 1.0,
    intercept: float = 0.0,
    *,
    units: str | None = None,
    phase_units: str | float = "auto",
) -> PhaseUnits:
    """Tell the unit of a phase image.

    Parameters
    ----------
    stored : ndarray, any shape
        Values as stored in the file, before scaling.
    slope, intercept : float
        The file's ``scl_slope`` and ``scl_inter``.
    units : str, optional
        The sidecar's ``Units``.
    phase_units : {"auto", "rad", "mrad"} or float
        What the user says: a unit, or the number of scaled values in one cycle (2 pi).

    Returns
    -------
    PhaseUnits

    Raises
    ------
    PhaseUnitsError
        If there is no finite value, or the range is no known one.

    Notes
    -----
    Only fixed factors are used. The range is never stretched to a cycle: on phase that does not
    fill it, that would multiply the conductivity by an arbitrary number.

    Examples
    --------
    >>> import numpy as np
    >>> siemens = np.array([0, 4095], dtype=np.uint16)
    >>> recognise_units(siemens, slope=2, intercept=-4096).name
    'signed, 8192 per cycle'
    """
    finite = stored[np.isfinite(stored)]
    if finite.size == 0:
        raise PhaseUnitsError("the phase image has no finite value")
    raw = (float(finite.min()), float(finite.max()))
    if phase_units != "auto":
        told = _units_as_told(phase_units)
        ends = _scaled(raw, slope, intercept)
        return replace(told, remark=_doubt(told, stored, slope, intercept, ends))
    found = _units_of_range(raw, slope, intercept, units)
    if found is None:
        trimmed = np.quantile(finite, (_OVERSHOOT, 1 - _OVERSHOOT))
        found = _units_of_range(tuple(trimmed.tolist()), slope, intercept, units)
    if found is None:
        low, high = _scaled(raw, slope, intercept)
        raise PhaseUnitsError(
            f"the phase goes from {low:g} to {high:g} and its sidecar's Units is {units!r}: that "
            "is no known range"
        )
    return found


def _scaled(raw: tuple[float, float], slope: float, intercept: float) -> tuple[float, float]:
    """Return the ends of a stored range after scaling, the smaller one first."""
    low, high = sorted(slope * value + intercept for value in raw)
    return low, high


def _units_of_range(
    raw: tuple[float, float], slope: float, intercept: float, units: str | None
) -> PhaseUnits | None:
    """Return the unit of values that fill a range, or None if no unit fits."""
    low, high = _scaled(raw, slope, intercept)
    # Both are tested by range; integers can not fill a cycle of radians.
    if _fills_cycle(*raw) and not _fills_cycle(low, high) and (slope, intercept) != (1, 0):
        return PhaseUnits(
            "rad, stored",
            use_stored=True,
            remark=f"ignored scl_slope {slope:g} and scl_inter {intercept:g}: "
            f"the stored values are a full cycle in rad already",
        )
    # a cycle of radians that is filled outweighs any other label
    if not _fills_cycle(low, high) or units == "rad":
        named = _NAMED_UNITS.get(units or "")
        if named is not None and (high - low) * named <= _WRAPPED_RANGE:
            return PhaseUnits(units, named)
        for vendor in _VENDOR_RANGES:
            if vendor.holds(low, high):
                contradicted = named is not None and named != vendor.radians_per_unit
                remark = (
                    f"the sidecar's Units is {units!r}, but the values go from {low:g} to "
                    f"{high:g}: taken as {vendor.name}"
                )
                return PhaseUnits(
                    vendor.name, vendor.radians_per_unit, remark=remark if contradicted else None
                )
        if units == "rad" and high - low <= _LARGEST_UNWRAPPED_RANGE:
            return PhaseUnits("rad")
        return None
    return PhaseUnits("rad", remark=f"the sidecar's Units is {units!r}: a full cycle, taken as rad")


def to_radians(
    stored: NDArray, slope: float, intercept: float, units: PhaseUnits
) -> NDArray[np.float32]:
    """Convert a phase image.

    Parameters
    ----------
    stored : ndarray, shape (X, Y, Z)
        Values as stored in the file.
    slope, intercept : float
        The file's scaling.
    units : PhaseUnits
        From :func:`recognise_units`.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        In rad.
    """
    values = stored.astype(np.float64)
    if not units.use_stored:
        values = slope * values + intercept
    return (values * units.radians_per_unit).astype(np.float32)


def _units_as_told(phase_units: str | float) -> PhaseUnits:
    if isinstance(phase_units, str):
        return PhaseUnits(phase_units, _NAMED_UNITS[phase_units])
    return PhaseUnits(f"{phase_units:g} per cycle", _CYCLE / phase_units)


def _doubt(
    told: PhaseUnits,
    stored: NDArray,
    slope: float,
    intercept: float,
    span: tuple[float, float],
) -> str | None:
    """Remark on a unit that the range of values speaks against."""
    try:
        looks_like = recognise_units(stored, slope, intercept)
    except PhaseUnitsError:
        return None
    if np.isclose(looks_like.radians_per_unit, told.radians_per_unit, rtol=1e-2):
        return None
    return (
        f"taken as {told.name}, as told, but the values go from {span[0]:g} to {span[1]:g}, "
        f"which looks like {looks_like.name}"
    )


def _fills_cycle(low: float, high: float) -> bool:
    """Tell whether the values span one cycle of radians, -pi..pi or 0..2 pi."""
    slack = _CYCLE * _SLACK
    starts = (-np.pi, 0.0)
    return _FILLED * _CYCLE <= high - low <= _CYCLE + slack and any(
        start - slack <= low and high <= start + _CYCLE + slack for start in starts
    )
