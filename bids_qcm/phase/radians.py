"""Infer the unit of a phase image from the sidecar and the value range."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

_CYCLE = 2 * np.pi

# Maximum rounding error of stored radians, in cycles.
_SLACK = 1e-3

# Maximum range of a wrapped phase, in rad. This limit accepts coarsely rounded radians, such as
# +-3.15. Accepting an unwrapped phase is harmless, because unwrapping does not change it.
_WRAPPED_RANGE = 1.02 * _CYCLE

# Minimum fraction of the range that the values must cover. A wrapped phase image with noise around
# the head covers its range, except for one or two percent at the ends.
_FILLED = 0.98

# Fraction of voxels that is ignored at each end of the range. These voxels may be outliers, for
# example in air or at an edge.
_OVERSHOOT = 0.001

# Maximum range of an unwrapped phase, in rad. The phase of a head wraps fewer than 100 times.
_LARGEST_UNWRAPPED_RANGE = 100 * _CYCLE


class PhaseUnitsError(ValueError):
    """Error raised if the unit of a phase image cannot be inferred."""


@dataclass(frozen=True)
class PhaseUnits:
    """Conversion of the values of a phase image to radians.

    Attributes
    ----------
    name : str
        Name of the recognised unit.
    radians_per_unit : float
        Factor by which the values are multiplied. No offset is added.
    use_stored : bool
        Whether the factor applies to the stored values, ignoring ``scl_slope`` and ``scl_inter``.
    warning : str or None
        Warning for the user if the values contradict the sidecar, the header, or the user's option.
    """

    name: str
    radians_per_unit: float = 1.0
    use_stored: bool = False
    warning: str | None = None


@dataclass(frozen=True)
class _VendorRange:
    name: str
    low: float
    high: float
    radians_per_unit: float

    def matches(self, low: float, high: float) -> bool:
        """Whether the values from low to high are within this range and cover it."""
        lows = (self.low, self.low + (1 - _FILLED) * (self.high - self.low))
        highs = (self.high - (1 - _FILLED) * (self.high - self.low), self.high)
        return lows[0] <= low <= lows[1] and highs[0] <= high <= highs[1]


_VENDOR_RANGES = (
    _VendorRange("unsigned 12-bit, 4096 per cycle", 0, 4096, _CYCLE / 4096),
    _VendorRange("signed 12-bit, 4096 per cycle", -2048, 2048, _CYCLE / 4096),
    _VendorRange("signed, 8192 per cycle", -4096, 4096, _CYCLE / 8192),
    # as above without the intercept
    _VendorRange("unsigned, 8192 per cycle", 0, 8192, _CYCLE / 8192),
    _VendorRange("milliradian", -3143, 3143, 1e-3),
    _VendorRange("milliradian", 0, 6285, 1e-3),
    _VendorRange("degrees", -180, 180, _CYCLE / 360),
    _VendorRange("degrees", 0, 360, _CYCLE / 360),
)

_NAMED_UNITS = {"rad": 1.0, "mrad": 1e-3}


def recognise_units(
    stored: NDArray[np.number],
    slope: float = 1.0,
    intercept: float = 0.0,
    *,
    units: str | None = None,
    phase_units: str | float = "auto",
) -> PhaseUnits:
    """Infer the unit of a phase image.

    Parameters
    ----------
    stored : ndarray, any shape
        Values as stored in the file, before scaling.
    slope, intercept : float
        The file's ``scl_slope`` and ``scl_inter``.
    units : str, optional
        The sidecar's ``Units``.
    phase_units : {"auto", "rad", "mrad"} or float
        The user's choice: a unit, or the number of scaled values in one cycle (2 pi).

    Returns
    -------
    PhaseUnits

    Raises
    ------
    PhaseUnitsError
        If there is no finite value, or if no known unit has this value range.

    Notes
    -----
    Only fixed factors are used. The range is never stretched to one cycle: if the phase does not
    cover a cycle, stretching would multiply the conductivity by an arbitrary factor.

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
        chosen = _chosen_units(phase_units)
        ends = _scaled(raw, slope, intercept)
        return replace(chosen, warning=_contradiction(chosen, stored, slope, intercept, ends))
    found = _units_of_range(raw, slope, intercept, units)
    if found is None:
        trimmed = np.quantile(finite, (_OVERSHOOT, 1 - _OVERSHOOT))
        found = _units_of_range(tuple(trimmed.tolist()), slope, intercept, units)
    if found is None:
        low, high = _scaled(raw, slope, intercept)
        raise PhaseUnitsError(
            f"the phase ranges from {low:g} to {high:g} and its sidecar's Units is {units!r}, but "
            "no known unit has this range"
        )
    return found


def _scaled(raw: tuple[float, float], slope: float, intercept: float) -> tuple[float, float]:
    """Return the lower and the upper end of a stored range after scaling."""
    low, high = sorted(slope * value + intercept for value in raw)
    return low, high


def _units_of_range(
    raw: tuple[float, float], slope: float, intercept: float, units: str | None
) -> PhaseUnits | None:
    """Return the unit that matches the value range, or None if no unit matches."""
    low, high = _scaled(raw, slope, intercept)
    # Stored integers cannot cover a cycle in rad. If the stored values cover a cycle in rad and the
    # scaled values do not, the stored values are already in radians.
    if _fills_cycle(*raw) and not _fills_cycle(low, high) and (slope, intercept) != (1, 0):
        return PhaseUnits(
            "rad, stored",
            use_stored=True,
            warning=f"ignored scl_slope {slope:g} and scl_inter {intercept:g}: "
            f"the stored values already cover a cycle in rad",
        )
    # values that cover a cycle in rad are in radians, regardless of the sidecar
    if _fills_cycle(low, high) and units != "rad":
        warning = (
            f"the sidecar's Units is {units!r}, but the values cover a cycle in rad; the values "
            "are interpreted as rad"
        )
        return PhaseUnits("rad", warning=None if units is None else warning)
    named = None if units is None else _NAMED_UNITS.get(units)
    if units is not None and named is not None and (high - low) * named <= _WRAPPED_RANGE:
        return PhaseUnits(units, named)
    if (vendor := _vendor_range(low, high)) is not None:
        contradicted = named is not None and named != vendor.radians_per_unit
        warning = (
            f"the sidecar's Units is {units!r}, but the values range from {low:g} to {high:g}; the "
            f"values are interpreted as {vendor.name}"
        )
        return PhaseUnits(
            vendor.name, vendor.radians_per_unit, warning=warning if contradicted else None
        )
    # A negative slope may be meant to change the sign of the phase, so it is not ignored.
    if slope > 0 and (vendor := _vendor_range(*raw)) is not None:
        return PhaseUnits(
            f"{vendor.name}, stored",
            vendor.radians_per_unit,
            use_stored=True,
            warning=f"ignored scl_slope {slope:g} and scl_inter {intercept:g}, which give a range "
            f"from {low:g} to {high:g}: the stored values cover the range of {vendor.name}",
        )
    if units == "rad" and high - low <= _LARGEST_UNWRAPPED_RANGE:
        return PhaseUnits("rad")
    return None


def _vendor_range(low: float, high: float) -> _VendorRange | None:
    """Return the range of a vendor that values from low to high fill, or None."""
    return next((one for one in _VENDOR_RANGES if one.matches(low, high)), None)


def to_radians(
    stored: NDArray[np.number], slope: float, intercept: float, units: PhaseUnits
) -> NDArray[np.float32]:
    """Convert a phase image to radians.

    Parameters
    ----------
    stored : ndarray, shape (X, Y, Z)
        Values as stored in the file.
    slope, intercept : float
        The file's ``scl_slope`` and ``scl_inter``.
    units : PhaseUnits
        Unit from :func:`recognise_units`.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        Phase in rad.
    """
    if units.use_stored:
        slope, intercept = 1.0, 0.0
    factor = units.radians_per_unit
    return scale_values(stored, slope * factor, intercept * factor)


def scale_values(stored: NDArray[np.number], slope: float, intercept: float) -> NDArray[np.float32]:
    """Return ``slope * stored + intercept`` as float32, computed in float64.

    The result may be `stored` itself.
    """
    if (slope, intercept) == (1, 0):
        return stored.astype(np.float32, copy=False)
    scaled = np.empty(stored.shape, np.float32)
    # slice by slice, because all values in float64 need much memory
    for k, one in enumerate(stored):
        scaled[k] = slope * one.astype(np.float64) + intercept
    return scaled


def _chosen_units(phase_units: str | float) -> PhaseUnits:
    if isinstance(phase_units, str):
        return PhaseUnits(phase_units, _NAMED_UNITS[phase_units])
    return PhaseUnits(f"{phase_units:g} per cycle", _CYCLE / phase_units)


def _contradiction(
    chosen: PhaseUnits,
    stored: NDArray[np.number],
    slope: float,
    intercept: float,
    span: tuple[float, float],
) -> str | None:
    """Return a warning if the value range contradicts the chosen unit, else None."""
    try:
        looks_like = recognise_units(stored, slope, intercept)
    except PhaseUnitsError:
        return None
    if np.isclose(looks_like.radians_per_unit, chosen.radians_per_unit, rtol=1e-2):
        return None
    return (
        f"the values are interpreted as {chosen.name}, as requested, but range from {span[0]:g} to "
        f"{span[1]:g}, which looks like {looks_like.name}"
    )


def _fills_cycle(low: float, high: float) -> bool:
    """Whether the values cover one cycle in rad, from -pi to pi or from 0 to 2 pi."""
    slack = _CYCLE * _SLACK
    starts = (-np.pi, 0.0)
    return _FILLED * _CYCLE <= high - low <= _CYCLE + slack and any(
        start - slack <= low and high <= start + _CYCLE + slack for start in starts
    )
