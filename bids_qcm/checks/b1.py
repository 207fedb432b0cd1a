"""Whether a measured |B1+| map can be one, and in which unit it is."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_qcm.physics import PROTON_GYROMAGNETIC_RATIO
from bids_qcm.recon.b1_smoothing import MEASURED, SMOOTHING_MM, SmoothB1, smooth_b1

RELATIVE_RANGE = (0.2, 2.5)
"""Median |B1+| over the nominal one: in heads it is 0.7 to 1.2 at 1.5 T and 3 T, and 0.5 at 7 T."""

LARGEST_SPREAD = 3.0
"""95th over 5th percentile up to 3.5 T: 1.35 at 1.5 T and 1.6 at 3 T in the head of the full-wave
phantom."""

LARGEST_SPREAD_ABOVE = 6.0
"""The same at higher fields: at 7 T the phantom has 2.4, and heads have places without |B1+|."""

LEAST_SPREAD = 1.005
"""A map with less variation is a placeholder: the model of a head has 1.08 at 1.5 T."""

LARGEST_NEGATIVE = 0.01
"""Share of the mask with negative values; a field map of B0 has about a half."""

LARGEST_CONTRAST = 0.4
"""Correlation of the map's detail with the magnitude's detail, of either sign. On the full-wave
phantom it is 0.07 to 0.18 for |B1+|, and 0.5 to 0.7 for an image of the tissues with voxels of 5 to
6 mm."""

LARGEST_REMOTE = 0.2
"""Share of the mask that may lie further than the kernel's width from what was measured. There the
map is nearly constant, which leaves the bias of a map without |B1+|."""

EXPECTED_REMOTE = 0.02
"""More than this share is worth a warning."""

_ANGLE_RANGE = (1.0, 400.0)
_HIGH_FIELD = 3.5
_DETAIL_MM = 2.0
_NO_DETAIL = 1e-4

_UNITS = {
    "percent": ("percent", "%", "per cent", "percentage"),
    "ratio": ("ratio", "1", "fraction", "relative", "unitless", "dimensionless", "none"),
    "degrees": ("degrees", "degree", "deg", "\N{DEGREE SIGN}"),
    "rad": ("rad", "radian", "radians"),
    "tesla": ("t", "tesla", "mt", "ut", "\N{MICRO SIGN}t", "\N{GREEK SMALL LETTER MU}t", "nt"),
    "": ("", "arbitrary", "a.u.", "au", "arb. units", "n/a"),
}

_FROM_NAME = {name: unit for unit, names in _UNITS.items() for name in names}

_CHECK_IT = "check that it is a |B1+| map of this participant and session"
_OTHERWISE = "or use no map with --b1 model or --b1 none"


class B1MapError(ValueError):
    """Why a map cannot be used.

    Parameters
    ----------
    problem, remedy : str
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem, self.remedy = problem, remedy


@dataclass(frozen=True)
class DeclaredB1:
    """What a map's sidecar declares.

    Attributes
    ----------
    unit : str
        ``percent``, ``ratio``, ``degrees``, ``rad`` or ``tesla``; empty where the sidecar does not
        tell.
    nominal_angle : float or None
        Nominal flip angle of the map, degrees.
    flip_angle : float or None
        Flip angle of the images that the map was computed from, degrees. It may be the nominal one,
        or that of a readout after the pulse that was mapped.
    """

    unit: str = ""
    nominal_angle: float | None = None
    flip_angle: float | None = None


def declared_unit(units: str) -> str:
    """Return the unit that a sidecar's ``Units`` means.

    Parameters
    ----------
    units : str
        Empty where the sidecar has none.

    Returns
    -------
    str
        As in :class:`DeclaredB1`.

    Raises
    ------
    B1MapError
        If it is no unit of |B1+|.
    """
    unit = _FROM_NAME.get(units.strip().lower())
    if unit is None:
        raise B1MapError(
            f"has the Units {units!r}, which is no unit of |B1+|",
            "give percent, ratio, degrees, rad, tesla or arbitrary",
        )
    return unit


def recognise_unit(median: float, declared: DeclaredB1) -> str:
    """Infer the unit of a map from the sidecar and the values.

    Parameters
    ----------
    median : float
        Over the mask.
    declared : DeclaredB1

    Returns
    -------
    str
        As in :class:`DeclaredB1`. Degrees and rad need no nominal flip angle, because a constant
        factor of |B1+| does not matter.

    Raises
    ------
    B1MapError
        If the median is not possible in the unit, or in any.
    """
    low, high = RELATIVE_RANGE
    scales = {"percent": 100.0, "ratio": 1.0}
    angle = declared.nominal_angle
    if angle is None and not declared.unit:
        angle = declared.flip_angle
    if angle is not None:
        scales |= {"degrees": angle, "rad": float(np.deg2rad(angle))}
    ranges = {unit: (low * scale, high * scale) for unit, scale in scales.items()}
    if declared.unit == "tesla":
        return "tesla"
    if not declared.unit:
        # percent first, which BIDS recommends
        ranges.pop("rad", None)
        for unit, (low, high) in ranges.items():
            if low <= median <= high:
                return unit
        raise B1MapError(
            f"has a median of {median:.3g} in the mask, which no |B1+| map has in "
            f"{' or '.join(ranges)}",
            "scale it to percent of the nominal flip angle, or give Units in its sidecar, and "
            f"NominalFlipAngle (degrees) for flip angles; {_OTHERWISE}",
        )
    # without the nominal angle: whatever angle a sequence for |B1+| has
    degrees = _ANGLE_RANGE
    any_angle = {"degrees": degrees, "rad": (np.deg2rad(degrees[0]), np.deg2rad(degrees[1]))}
    low, high = (any_angle | ranges)[declared.unit]
    if not low <= median <= high:
        raise B1MapError(
            f"has a median of {median:.3g} in the mask, but its Units is {declared.unit}: a median "
            f"from {low:.3g} to {high:.3g} is possible",
            f"correct Units (or NominalFlipAngle) in its sidecar, {_OTHERWISE}",
        )
    return declared.unit


class CheckedB1(NamedTuple):
    """A measured map that was found plausible.

    Attributes
    ----------
    smooth : SmoothB1
    unit : str
        As in :class:`DeclaredB1`.
    median : float
        Over the mask, in the unit.
    warnings : list of str
        What is doubtful; each sentence continues the file's name.
    """

    smooth: SmoothB1
    unit: str
    median: float
    warnings: list[str]


def check_b1(
    b1_map: NDArray[np.floating],
    measured: NDArray[np.floating],
    negative: NDArray[np.floating],
    mask: NDArray[np.bool_],
    magnitude: NDArray[np.floating],
    voxel_size: tuple[float, float, float],
    frequency: float,
    declared: DeclaredB1,
) -> CheckedB1:
    """Smooth a measured map, and check that it can be |B1+|.

    Parameters
    ----------
    b1_map : ndarray of float, shape (X, Y, Z)
        In the unit of the file.
    measured, negative : ndarray of float, shape (X, Y, Z)
        Share of each voxel with a positive and with a negative value.
    mask : ndarray of bool, shape (X, Y, Z)
        Not empty.
    magnitude : ndarray of float, shape (X, Y, Z)
        Of the phase's image, any unit.
    voxel_size : tuple of 3 floats
        mm.
    frequency : float
        Larmor frequency, Hz.
    declared : DeclaredB1

    Returns
    -------
    CheckedB1

    Raises
    ------
    B1MapError
        If the map cannot be |B1+| in the mask, or does not cover it.
    """
    below_zero = float(negative[mask].mean())
    if below_zero > LARGEST_NEGATIVE:
        raise B1MapError(
            f"is negative in {below_zero:.0%} of the mask, but |B1+| is a magnitude",
            f"{_CHECK_IT}, not a field map of B0, {_OTHERWISE}",
        )
    known = mask & (measured >= MEASURED)
    if not known.any():
        raise B1MapError(
            "has no value in the mask", f"{_CHECK_IT}, with the right header, {_OTHERWISE}"
        )
    smooth = smooth_b1(b1_map, measured, voxel_size, mask)
    if smooth.remote > LARGEST_REMOTE:
        raise B1MapError(
            f"covers too little of the mask: {smooth.remote:.0%} of the mask is more than "
            f"{SMOOTHING_MM:g} mm away from its values",
            f"acquire |B1+| in the whole head, {_OTHERWISE}",
        )
    median = float(np.median(b1_map[known]))
    unit = recognise_unit(median, declared)
    low, high = np.percentile(smooth.values[mask], (5, 95)).tolist()
    tesla = frequency / PROTON_GYROMAGNETIC_RATIO
    limit = LARGEST_SPREAD if tesla < _HIGH_FIELD else LARGEST_SPREAD_ABOVE
    if high > limit * low:
        raise B1MapError(
            f"varies too much in the mask: its 95th percentile is {high / low:.1f} times its 5th, "
            f"but at {tesla:.1f} T it is at most {limit:g} times",
            f"{_CHECK_IT}, {_OTHERWISE}",
        )
    contrast = _shared_detail(b1_map, magnitude, known, voxel_size)
    if abs(contrast) > LARGEST_CONTRAST:
        raise B1MapError(
            f"shows the tissues: its detail has a correlation of {contrast:.2f} with that of the "
            "magnitude, but |B1+| is smooth",
            f"{_CHECK_IT}, not an anatomical image, {_OTHERWISE}",
        )
    warnings = []
    if high < LEAST_SPREAD * low:
        warnings.append("is constant in the mask, so that it changes nothing")
    if smooth.remote > EXPECTED_REMOTE:
        warnings.append(
            f"was extended: {smooth.remote:.0%} of the mask is more than {SMOOTHING_MM:g} mm away "
            "from its values, and conductivity there is as uncertain as without |B1+|"
        )
    return CheckedB1(smooth, unit, float(np.median(smooth.values[mask])), warnings)


def _shared_detail(
    b1_map: NDArray[np.floating],
    magnitude: NDArray[np.floating],
    known: NDArray[np.bool_],
    voxel_size: tuple[float, float, float],
) -> float:
    """Return the correlation of what smoothing takes from the map and from the magnitude."""
    # every second millimetre shows the tissues
    steps = [max(1, round(_DETAIL_MM / size)) for size in voxel_size]
    coarse = tuple(slice(None, None, step) for step in steps)
    size = tuple(size * step for size, step in zip(voxel_size, steps, strict=True))
    if not known[coarse].any():
        return 0.0
    one, other = (_detail(volume[coarse], known[coarse], size) for volume in (b1_map, magnitude))
    if min(one.std(), other.std()) < _NO_DETAIL:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _detail(
    volume: NDArray[np.floating],
    inside: NDArray[np.bool_],
    voxel_size: tuple[float, float, float],
) -> NDArray[np.floating]:
    """Return a volume over its smooth version, inside a region."""
    smooth = smooth_b1(volume, inside, voxel_size, inside).values[inside]
    return volume[inside] / np.maximum(smooth, np.finfo(np.float32).tiny)
