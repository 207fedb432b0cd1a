"""Plausibility checks and unit of a measured B1 map."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_qcm.physics import PROTON_GYROMAGNETIC_RATIO
from bids_qcm.recon.b1_smoothing import MEASURED, SMOOTHING_MM, SmoothB1, smooth_b1
from bids_qcm.recon.kernels import as_triple

RELATIVE_RANGE = (0.2, 2.5)
"""Plausible range of the median ``|B1+|``, relative to the nominal ``|B1+|``. In heads, the median
is 0.7 to 1.2 at 1.5 T and 3 T, and 0.5 at 7 T."""

LARGEST_SPREAD = 3.0
"""Maximum ratio of the 95th to the 5th percentile at up to 3.5 T. In the head of the full-wave
phantom, the ratio is 1.35 at 1.5 T and 1.6 at 3 T."""

LARGEST_SPREAD_ABOVE = 6.0
"""Maximum ratio of the 95th to the 5th percentile at higher field strengths. At 7 T, the ratio is
2.4 in the phantom, and heads have regions without ``|B1+|``."""

LEAST_SPREAD = 1.005
"""Minimum ratio of the 95th to the 5th percentile. A map with less variation is a placeholder,
because even the model of a head at 1.5 T has a ratio of 1.08."""

LARGEST_NEGATIVE = 0.01
"""Maximum fraction of the mask with negative values. In a B0 field map, about half of the values
are negative."""

LARGEST_CONTRAST = 0.4
"""Maximum absolute correlation between the fine details of the map and of the magnitude. In
the full-wave phantom, the correlation is 0.07 to 0.18 for ``|B1+|``, and 0.5 to 0.7 for an
anatomical image with voxels of 5 to 6 mm."""

LARGEST_REMOTE = 0.2
"""Maximum fraction of the mask that is farther than the kernel width from the measured voxels. In
this region, the smoothed map is nearly constant and does not correct the conductivity."""

EXPECTED_REMOTE = 0.02
"""Maximum fraction of the mask beyond the kernel width that does not cause a warning."""

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
_OTHERWISE = "to run without a measured map, use --b1 model or --b1 none"


class B1MapError(ValueError):
    """Error raised if a map cannot be used.

    Parameters
    ----------
    problem : str
        Description of the problem, as a predicate of the file.
    remedy : str
        Action that the user can take.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem, self.remedy = problem, remedy


@dataclass(frozen=True)
class DeclaredB1:
    """Unit and flip angles declared in the sidecar of a map.

    Attributes
    ----------
    unit : str
        ``percent``, ``ratio``, ``degrees``, ``rad`` or ``tesla``; empty if the sidecar does not
        declare a unit.
    nominal_angle : float or None
        Nominal flip angle of the map in degrees.
    flip_angle : float or None
        Flip angle in degrees of the images from which the map was computed. This may be the nominal
        flip angle, or the flip angle of a readout after the mapped pulse.
    """

    unit: str = ""
    nominal_angle: float | None = None
    flip_angle: float | None = None


def declared_unit(units: str) -> str:
    """Convert the ``Units`` field of a sidecar to a unit.

    Parameters
    ----------
    units : str
        Value of ``Units``; empty if the sidecar has no ``Units``.

    Returns
    -------
    str
        As in :class:`DeclaredB1`.

    Raises
    ------
    B1MapError
        If ``Units`` is not a unit of ``|B1+|``.
    """
    unit = _FROM_NAME.get(units.strip().lower())
    if unit is None:
        raise B1MapError(
            f"has the Units {units!r}, which is not a unit of |B1+|",
            "use percent, ratio, degrees, rad, tesla or arbitrary",
        )
    return unit


def recognise_unit(median: float, declared: DeclaredB1) -> str:
    """Infer the unit of a map from the sidecar and the values.

    Parameters
    ----------
    median : float
        Median of the map over the mask.
    declared : DeclaredB1
        Declaration in the sidecar.

    Returns
    -------
    str
        Unit, as in :class:`DeclaredB1`. Degrees and rad do not require a nominal flip angle,
        because a constant factor in ``|B1+|`` has no effect on the conductivity.

    Raises
    ------
    B1MapError
        If the median is implausible in the declared unit or, without a declared unit, in all units.
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
        # try percent first, because BIDS recommends this unit
        ranges.pop("rad", None)
        for unit, (low, high) in ranges.items():
            if low <= median <= high:
                return unit
        raise B1MapError(
            f"has a median of {median:.3g} in the mask, which is implausible for |B1+| in "
            f"{' or '.join(ranges)}",
            "rescale the map to percent of the nominal flip angle, or add Units to its sidecar "
            f"(for a map of flip angles, also NominalFlipAngle in degrees); {_OTHERWISE}",
        )
    # without a nominal angle, accept all flip angles of |B1+| mapping sequences
    degrees = _ANGLE_RANGE
    any_angle = {"degrees": degrees, "rad": (np.deg2rad(degrees[0]), np.deg2rad(degrees[1]))}
    low, high = (any_angle | ranges)[declared.unit]
    if not low <= median <= high:
        raise B1MapError(
            f"has a median of {median:.3g} in the mask, but its Units is {declared.unit}, for "
            f"which a median from {low:.3g} to {high:.3g} is plausible",
            f"correct Units (or NominalFlipAngle) in its sidecar; {_OTHERWISE}",
        )
    return declared.unit


class CheckedB1(NamedTuple):
    """Measured map after the plausibility checks.

    Attributes
    ----------
    smooth : SmoothB1
        Smoothed map.
    unit : str
        Unit, as in :class:`DeclaredB1`.
    median : float
        Median over the mask, in this unit.
    warnings : list of str
        Warnings, each as a predicate of the file: "is constant ...".
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
    """Smooth a measured map, and check that it is a plausible ``|B1+|`` map.

    Parameters
    ----------
    b1_map : ndarray of float, shape (X, Y, Z)
        Measured map, in the unit of the file.
    measured, negative : ndarray of float, shape (X, Y, Z)
        Fraction of each voxel that has a positive value (`measured`) or a negative value
        (`negative`).
    mask : ndarray of bool, shape (X, Y, Z)
        Mask; not empty.
    magnitude : ndarray of float, shape (X, Y, Z)
        Magnitude of the acquisition, any unit.
    voxel_size : tuple of 3 floats
        Voxel size in mm.
    frequency : float
        Larmor frequency in Hz.
    declared : DeclaredB1
        Declaration in the sidecar.

    Returns
    -------
    CheckedB1

    Raises
    ------
    B1MapError
        If the map is not a plausible ``|B1+|`` map, or does not cover the mask.
    """
    below_zero = float(negative[mask].mean())
    if below_zero > LARGEST_NEGATIVE:
        raise B1MapError(
            f"is negative in {below_zero:.0%} of the mask, but |B1+| is a magnitude",
            f"{_CHECK_IT}, not a B0 field map; {_OTHERWISE}",
        )
    known = mask & (measured >= MEASURED)
    if not known.any():
        raise B1MapError(
            "has no values in the mask", f"{_CHECK_IT} with a correct header; {_OTHERWISE}"
        )
    smooth = smooth_b1(b1_map, measured, voxel_size, mask)
    if smooth.remote > LARGEST_REMOTE:
        raise B1MapError(
            f"covers too little of the mask: {smooth.remote:.0%} of the mask is more than "
            f"{SMOOTHING_MM:g} mm from the nearest measured value",
            f"acquire |B1+| in the whole head; {_OTHERWISE}",
        )
    median = float(np.median(b1_map[known]))
    unit = recognise_unit(median, declared)
    low, high = np.percentile(smooth.values[mask], (5, 95)).tolist()
    tesla = frequency / PROTON_GYROMAGNETIC_RATIO
    limit = LARGEST_SPREAD if tesla < _HIGH_FIELD else LARGEST_SPREAD_ABOVE
    if high > limit * low:
        raise B1MapError(
            f"varies too much in the mask: the 95th percentile is {high / low:.1f} times the 5th "
            f"percentile (expected at {tesla:.1f} T: at most {limit:g} times)",
            f"{_CHECK_IT}, {_OTHERWISE}",
        )
    contrast = _shared_detail(b1_map, magnitude, known, voxel_size)
    if abs(contrast) > LARGEST_CONTRAST:
        raise B1MapError(
            "shows the tissues: the fine details of the map and of the magnitude have a "
            f"correlation of {contrast:.2f}, but |B1+| is smooth",
            f"{_CHECK_IT}, not an anatomical image; {_OTHERWISE}",
        )
    warnings = []
    if high < LEAST_SPREAD * low:
        warnings.append("is constant in the mask and therefore has no effect")
    if smooth.remote > EXPECTED_REMOTE:
        warnings.append(
            f"was extrapolated: {smooth.remote:.0%} of the mask is more than {SMOOTHING_MM:g} mm "
            "from the nearest measured value; in this part of the mask, the conductivity is as "
            "uncertain as without |B1+|"
        )
    return CheckedB1(smooth, unit, float(np.median(smooth.values[mask])), warnings)


def _shared_detail(
    b1_map: NDArray[np.floating],
    magnitude: NDArray[np.floating],
    known: NDArray[np.bool_],
    voxel_size: tuple[float, float, float],
) -> float:
    """Return the correlation between the details of the map and the magnitude.

    The detail of a volume is the volume divided by its smoothed version.
    """
    # subsample to about 2 mm, which still resolves the tissues
    steps = [max(1, round(_DETAIL_MM / size)) for size in voxel_size]
    coarse = tuple(slice(None, None, step) for step in steps)
    size = as_triple([d * step for d, step in zip(voxel_size, steps, strict=True)], "voxel size")
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
    """Return a volume divided by its smoothed version, inside a region."""
    smooth = smooth_b1(volume, inside, voxel_size, inside).values[inside]
    return volume[inside] / np.maximum(smooth, np.finfo(np.float32).tiny)
