"""Whether the values of an image fit the role that its name gives it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_qcm.checks.findings import Finding
from bids_qcm.phase.noise import local_noise

_CYCLE = 2 * np.pi

LARGEST_UNDERSHOOT = 0.3
"""Interpolation may leave negative values next to edges of a magnitude, up to this share of its
maximum: splines of order 3 and 5 left 23 % at most. An integer overflow starts at 100 %."""

_NEGATIVE = 0.003
LARGEST_NEGATIVE_SHARE = 0.15
"""Share of the voxels below -0.3 % of the 99th percentile. Interpolation left 8 % at most. A real
part with air around the head has 30 %."""

LARGEST_ROUGHNESS = 0.2
"""Share of neighbouring voxels that differ by more than a quarter of the largest value. A magnitude
has 0.02 or less at an SNR of 16, and 0.1 at an SNR of 5; the phase of noise has 0.56."""

LOST_INTERCEPT = 0.05
"""A part without negative values whose lowest percentile is above this share of its maximum."""

LARGEST_NOISE_RATIO = 1.5
"""Between real and imaginary part. The estimate itself varies by 5 % or less."""

# A range that is filled evenly has this distance from its own uniform distribution by chance; the
# 3 T head's smooth phase has 0.2 and more.
_EVEN = 0.05
_LEAST_NOISE_VOXELS = 1000
# Values at both ends that never decide about a range: a few voxels overshoot.
_OVERSHOOT = 0.001

_WRAP_STEP = 0.75
_LEAST_WRAPS = 50

LARGEST_CYCLE_ERROR = 0.05
"""Relative difference of a filled range from a cycle; the range of 1000 voxels is exact to 1 %."""

_HALF = 0.5


def check_magnitude(magnitude: NDArray[np.floating], echo: int) -> list[Finding]:
    """Check that a magnitude is not negative, and that it is not a phase.

    Parameters
    ----------
    magnitude : ndarray of float, shape (X, Y, Z)
        Any unit; values that are not finite are left out.
    echo : int
        Index of the echo.

    Returns
    -------
    list of Finding
    """
    values = np.nan_to_num(magnitude, posinf=0, neginf=0)
    low, high = float(values.min()), float(values.max())
    undershoots = low < -LARGEST_UNDERSHOOT * max(abs(low), high)
    negative = values < -_NEGATIVE * np.percentile(values, 99)
    if undershoots or np.mean(negative) > LARGEST_NEGATIVE_SHARE:
        share = np.mean(values < 0)
        return [
            Finding(
                echo,
                0,
                f"is a magnitude, but {share:.1%} of its values are negative, down to {low:g}; "
                f"the largest is {high:g}",
                "convert it again as unsigned integers, or check that it is not the phase or the "
                "real part",
            )
        ]
    rough = _roughness(values)
    if rough > LARGEST_ROUGHNESS:
        return [
            Finding(
                echo,
                0,
                f"looks like a phase: {rough:.0%} of neighbouring voxels differ by more than a "
                f"quarter of its largest value (a magnitude: below {LARGEST_ROUGHNESS:.0%})",
                "check that magnitude and phase were not exchanged",
            )
        ]
    return []


def check_parts(
    real: NDArray[np.floating], imaginary: NDArray[np.floating], echo: int
) -> list[Finding]:
    """Check that real and imaginary part have both signs and the same noise.

    Parameters
    ----------
    real, imaginary : ndarray of float, shape (X, Y, Z)
        Any unit.
    echo : int
        Index of the echo.

    Returns
    -------
    list of Finding
    """
    found = []
    parts = [np.nan_to_num(values, posinf=0, neginf=0) for values in (real, imaginary)]
    for part, values in enumerate(parts):
        lowest = float(np.percentile(values, 1))
        if values.min() >= 0 and lowest > LOST_INTERCEPT * values.max():
            found.append(
                Finding(
                    echo,
                    part,
                    f"is never negative: 99 % of its values are above {lowest:g}. A real or "
                    "imaginary part has both signs, so its intercept (scl_inter) was lost",
                    "convert it again with its intercept",
                )
            )
    if found:
        return found
    one, other = (local_noise([values], np.ones(values.shape, bool)) for values in parts)
    if min(one, other) > 0 and max(one / other, other / one) > LARGEST_NOISE_RATIO:
        found.append(
            Finding(
                echo,
                1,
                f"has a noise of {other:.3g}, but the real part has {one:.3g}: the two were scaled "
                "differently",
                "convert both again with their slope (scl_slope)",
            )
        )
    return found


def check_distinct(images: Sequence[Sequence[NDArray[np.floating]]]) -> list[Finding]:
    """Check that no two images of an acquisition are the same.

    Parameters
    ----------
    images : sequence of pairs of ndarray of float, shape (X, Y, Z)
        Both parts of each echo.

    Returns
    -------
    list of Finding
    """
    found = []
    for echo, pair in enumerate(images):
        for part, image in enumerate(pair):
            earlier = [(e, p) for e in range(echo + 1) for p in range(2) if (e, p) < (echo, part)]
            for e, p in earlier:
                if np.array_equal(images[e][p], image, equal_nan=True):
                    which = "other part of the same echo" if e == echo else f"image of echo {e + 1}"
                    found.append(
                        Finding(
                            echo,
                            part,
                            f"has the same values as the {which}",
                            "give each part and echo its own image",
                        )
                    )
                    break
    return found


def check_cycle(
    phase: NDArray[np.floating],
    magnitude: NDArray[np.floating],
    signal: NDArray[np.bool_],
    echo: int,
    *,
    may_be_half: bool = False,
) -> list[Finding]:
    """Check that the range which wrapped phase fills is one cycle.

    Parameters
    ----------
    phase : ndarray of float, shape (X, Y, Z)
        In rad by its declared or recognised unit.
    magnitude : ndarray of float, shape (X, Y, Z)
        Any unit.
    signal : ndarray of bool, shape (X, Y, Z)
        Voxels with signal.
    echo : int
        Index of the echo.
    may_be_half : bool
        Whether half a cycle is right: the user says that the phase is the transmit phase.

    Returns
    -------
    list of Finding

    Notes
    -----
    Two observations show the size of a cycle, whatever the unit says. Noise outside the body fills
    it evenly. And where the phase wraps inside the body, neighbouring voxels lie at both ends of
    the range. Without either there is no finding.
    """
    size, evidence = _filled_range(phase, magnitude, signal)
    share = size / _CYCLE
    if not evidence or abs(share - 1) <= LARGEST_CYCLE_ERROR:
        return []
    half = abs(share / _HALF - 1) <= LARGEST_CYCLE_ERROR
    if half and may_be_half:
        return []
    problem = (
        f"fills {size:.3g} rad, which is {share:.2g} of a cycle: {evidence}. The phase was scaled, "
        "or its unit is another one"
    )
    remedy = "give --phase-units the number of units in one cycle"
    if half:
        remedy += ", or --phase-type transmit if the phase was halved on purpose"
    return [Finding(echo, 1, problem, remedy, fatal=not half)]


def _filled_range(
    phase: NDArray[np.floating], magnitude: NDArray[np.floating], signal: NDArray[np.bool_]
) -> tuple[float, str]:
    """Return the range that the phase fills, and what shows that it is a cycle, if anything."""
    finite = np.isfinite(phase) & np.isfinite(magnitude)
    dark = finite & ~signal & (magnitude > 0)
    noise = phase[dark & (magnitude < np.median(magnitude[dark]))] if dark.any() else phase[dark]
    if noise.size >= _LEAST_NOISE_VOXELS:
        low, high = _trimmed(noise)
        # the tails that were trimmed belong to the range too
        size = (high - low) / (1 - 2 * _OVERSHOOT)
        ranks = np.linspace(0, 1, noise.size)
        uneven = np.max(np.abs((np.sort(noise) - low) / max(high - low, 1e-30) - ranks))
        if uneven < _EVEN:
            return size, "noise outside the body fills this range evenly"
    inside = phase[signal & finite]
    if inside.size == 0:
        return 0.0, ""
    low, high = _trimmed(inside)
    steps = []
    for axis in range(phase.ndim):
        both = np.moveaxis(signal & finite, axis, 0)
        values = np.moveaxis(phase, axis, 0)
        step = np.abs(values[1:] - values[:-1])[both[1:] & both[:-1]]
        steps.append(step[step > _WRAP_STEP * (high - low)])
    wraps = np.concatenate(steps)
    if wraps.size < _LEAST_WRAPS:
        return high - low, ""
    # a wrap is a cycle less the gradient, and few voxels may lie beyond the trimmed range
    size = max(high - low, float(np.quantile(wraps, 0.9)))
    return size, f"the phase jumps by this much between {wraps.size} neighbours"


def _trimmed(values: NDArray[np.floating]) -> tuple[float, float]:
    low, high = np.quantile(values, (_OVERSHOOT, 1 - _OVERSHOOT))
    return float(low), float(high)


def _roughness(values: NDArray[np.floating]) -> float:
    """Return the share of neighbours that differ by more than a quarter of the largest value."""
    _, high = _trimmed(values)
    differ = [np.abs(np.diff(values, axis=axis)) > high / 4 for axis in range(values.ndim)]
    return float(sum(map(np.count_nonzero, differ)) / max(1, sum(one.size for one in differ)))
