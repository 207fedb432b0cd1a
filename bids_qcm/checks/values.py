"""Checks that the values of an image match its type: magnitude, phase, real or imaginary part."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_qcm.checks.findings import Finding
from bids_qcm.phase.noise import local_noise
from bids_qcm.phase.thinning import thinned

_CYCLE = 2 * np.pi

LARGEST_UNDERSHOOT = 0.3
"""Limit for the most negative value of a magnitude, relative to the largest absolute value.
Interpolation may cause negative values next to edges: splines of order 3 and 5 caused at most 23 %.
An integer overflow causes 100 %."""

_NEGATIVE = 0.003
LARGEST_NEGATIVE_SHARE = 0.15
"""Maximum fraction of a magnitude's voxels that are below -0.3 % of the 99th percentile. After
interpolation, the fraction is at most 8 %. In a real part with air around the head, the fraction is
30 %."""

LARGEST_ROUGHNESS = 0.2
"""Maximum fraction of neighbouring voxels in a magnitude that differ by more than a quarter of the
largest value. For a magnitude, the fraction is 0.02 or less at an SNR of 16, and 0.1 at an SNR of
5. For the phase of pure noise, the fraction is 0.56."""

LOST_INTERCEPT = 0.05
"""Upper limit of the first percentile of a real or imaginary part without negative values, relative
to its maximum. Above this limit, the intercept was lost."""

LARGEST_NOISE_RATIO = 1.5
"""Maximum ratio between the noise levels of the real and the imaginary part. The estimated noise
levels have an error of 5 % or less."""

# Maximum distance between the distribution of noise phase and a uniform distribution. For the
# smooth phase of a 3 T head, the distance is at least 0.2.
_EVEN = 0.05
_LEAST_NOISE_VOXELS = 1000
# Fraction of values that is ignored at each end of a range, because a few voxels overshoot.
_OVERSHOOT = 0.001

# Minimum phase difference between neighbours that counts as a wrap, relative to the phase range.
_WRAP_STEP = 0.75
_LEAST_WRAPS = 50

LARGEST_CYCLE_ERROR = 0.05
"""Maximum relative difference between the measured phase range and a cycle. With 1000 voxels, the
range has an error of 1 %."""

_HALF = 0.5

LARGEST_STEP = 0.2 * np.sqrt(12)
"""Maximum step between the values of a phase, in rad. Rounding to multiples of a step causes noise
with a standard deviation of the step divided by the square root of 12. At the limit, this noise is
as large as the phase noise at an SNR of 5, the lowest SNR of a voxel with signal."""

LARGEST_SOFT_SHARE = 1 / 3
"""Maximum fraction of wraps without a step above three quarters of a cycle between neighbours, or
with an overshoot.
Linear interpolation at random positions causes a fraction of at least 0.5. The fraction is 0.01 in
a 3 T head, and 0.09 in a phantom whose complex image was interpolated to half the voxel size."""

_SHARP_STEP = 0.75 * _CYCLE
_GENTLE_STEP = 0.25 * _CYCLE
_LARGEST_RANGE = 1.02 * _CYCLE
_UNWRAPPED_RANGE = 1.5 * _CYCLE  # splines overshoot by less, so the phase was unwrapped
_N_ROW = 6


def check_magnitude(magnitude: NDArray[np.floating], echo: int) -> list[Finding]:
    """Check that a magnitude is not negative, and that it is not a phase.

    Parameters
    ----------
    magnitude : ndarray of float, shape (X, Y, Z)
        Magnitude in any unit. Values that are not finite are replaced by 0.
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
                f"is a magnitude, but {share:.1%} of its values are negative (smallest value "
                f"{low:g}, largest value {high:g})",
                "convert the DICOM files again, with the magnitude as unsigned integers, or check "
                "that this image is not a phase or a real part",
            )
        ]
    rough = _roughness(values)
    if rough > LARGEST_ROUGHNESS:
        return [
            Finding(
                echo,
                0,
                f"looks like a phase: {rough:.0%} of neighbouring voxels differ by more than a "
                "quarter of the largest value (expected for a magnitude: below "
                f"{LARGEST_ROUGHNESS:.0%})",
                "check that magnitude and phase were not swapped",
            )
        ]
    return []


def check_parts(
    real: NDArray[np.floating], imaginary: NDArray[np.floating], echo: int
) -> list[Finding]:
    """Check that the real and the imaginary part have both signs and the same noise level.

    Parameters
    ----------
    real, imaginary : ndarray of float, shape (X, Y, Z)
        Real and imaginary part in any unit.
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
                    f"has no negative values: 99 % of its values are above {lowest:g}. A real or "
                    "imaginary part has both signs, so its intercept (scl_inter) was lost",
                    "convert the DICOM files again and keep the intercept",
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
                f"has a noise level of {other:.3g}, but the noise level of the real part is "
                f"{one:.3g}: the parts were scaled differently",
                "convert the DICOM files again and keep the slope (scl_slope) of both parts",
            )
        )
    return found


def check_distinct(images: Sequence[Sequence[NDArray[np.floating]]]) -> list[Finding]:
    """Check that all images of an acquisition are different.

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
                            "provide a separate image for each part and echo",
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
    axes: Sequence[int] = (0, 1, 2),
    may_be_half: bool = False,
) -> list[Finding]:
    """Check that a wrapped phase covers a range of one cycle.

    Parameters
    ----------
    phase : ndarray of float, shape (X, Y, Z)
        Phase in rad, after conversion from its declared or inferred unit.
    magnitude : ndarray of float, shape (X, Y, Z)
        Magnitude in any unit.
    signal : ndarray of bool, shape (X, Y, Z)
        Voxels with signal.
    echo : int
        Index of the echo.
    axes : sequence of int
        Axes along which neighbours are compared: within slices whose phases may differ by
        constants, only the two in-plane axes.
    may_be_half : bool
        Whether a range of half a cycle is accepted because the user has declared a transmit phase.

    Returns
    -------
    list of Finding

    Notes
    -----
    Two observations show the size of a cycle independently of the unit. First, noise outside the
    body covers the cycle evenly. Second, where the phase wraps inside the body, neighbouring voxels
    have values at opposite ends of the range. Without either observation, there is no finding.
    """
    size, evidence = _filled_range(phase, magnitude, signal, axes)
    share = size / _CYCLE
    if not evidence or abs(share - 1) <= LARGEST_CYCLE_ERROR:
        return []
    half = abs(share / _HALF - 1) <= LARGEST_CYCLE_ERROR
    if half and may_be_half:
        return []
    problem = (
        f"covers a range of {size:.3g} rad, which is {share:.2g} of a cycle: {evidence}. The phase "
        "was scaled, or its unit is wrong"
    )
    remedy = "set --phase-units to the number of units per cycle"
    if half:
        remedy += ", or use --phase-type transmit if the phase was halved on purpose"
    return [Finding(echo, 1, problem, remedy, fatal=not half)]


def check_rounding(
    phase: NDArray[np.floating], signal: NDArray[np.bool_], echo: int
) -> list[Finding]:
    """Check that the phase was not rounded to a few values.

    Parameters
    ----------
    phase : ndarray of float, shape (X, Y, Z)
        Phase in rad.
    signal : ndarray of bool, shape (X, Y, Z)
        Voxels with signal.
    echo : int
        Index of the echo.

    Returns
    -------
    list of Finding
    """
    some = thinned(phase.shape)
    values = np.unique(phase[some][signal[some] & np.isfinite(phase[some])])
    if values.size < 2 or (step := float(np.median(np.diff(values)))) <= LARGEST_STEP:
        return []
    return [
        Finding(
            echo,
            1,
            f"has only {values.size} different values where there is signal, in steps of "
            f"{step:.3g} rad: the phase was rounded, for example because it was stored in rad as "
            "integers without a slope",
            "store the phase as floating-point numbers, or convert the DICOM files again",
        )
    ]


def _rows_across_wraps(
    phase: NDArray[np.floating], inside: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """Return the phase of all rows of six voxels along the first axis that contain a wrap."""
    n_rows = len(phase) - _N_ROW + 1
    with np.errstate(invalid="ignore"):  # voxels without signal may have no finite phase
        change = np.abs(phase[4 : 4 + n_rows] - phase[1 : 1 + n_rows])
        found = np.abs(change - _CYCLE) < _GENTLE_STEP
    for k in range(_N_ROW):
        found &= inside[k : k + n_rows]
    start, *others = np.nonzero(found)
    rows: NDArray[np.floating] = phase[(np.add.outer(np.arange(_N_ROW), start), *others)]
    # where the phase is steep, it passes through a cycle without a wrap
    outer_steps = np.abs(rows[[1, -1]] - rows[[0, -2]])
    return rows[:, (outer_steps < _GENTLE_STEP).all(axis=0)]


def check_wraps(
    phase: NDArray[np.floating],
    signal: NDArray[np.bool_],
    echo: int,
    axes: Sequence[int] = (0, 1, 2),
) -> list[Finding]:
    """Check that a wrapped phase was not interpolated or smoothed.

    Parameters
    ----------
    phase : ndarray of float, shape (X, Y, Z)
        Phase in rad.
    signal : ndarray of bool, shape (X, Y, Z)
        Voxels with a sufficient signal-to-noise ratio in this echo.
    echo : int
        Index of the echo.
    axes : sequence of int
        Axes along which neighbours are compared.

    Returns
    -------
    list of Finding

    Notes
    -----
    A wrap is found where two voxels at a distance of three voxels differ by about one cycle, and
    where the phase changes little on both sides of them. In a phase as it was acquired, one of the
    three steps between them contains the whole wrap, and the values cover at most one cycle. After
    an interpolation, the voxels between them have values in the middle of the range, so that all
    steps are smaller, or splines have overshot the range.
    """
    inside_body = phase[signal & np.isfinite(phase)]
    if inside_body.size == 0:
        return []
    low, high = _trimmed(inside_body)
    if high - low > _UNWRAPPED_RANGE:
        return []
    along = [
        _rows_across_wraps(np.moveaxis(phase, axis, 0), np.moveaxis(signal, axis, 0))
        for axis in axes
        if phase.shape[axis] >= _N_ROW
    ]
    rows = np.concatenate([np.empty((_N_ROW, 0)), *along], axis=1)
    inner_steps = np.abs(np.diff(rows[1:-1], axis=0))
    soft = (inner_steps < _SHARP_STEP).all(axis=0) | (np.ptp(rows, axis=0) > _LARGEST_RANGE)
    n_wraps, n_soft = soft.size, int(np.count_nonzero(soft))
    if n_wraps < _LEAST_WRAPS or n_soft <= LARGEST_SOFT_SHARE * n_wraps:
        return []
    return [
        Finding(
            echo,
            1,
            f"was interpolated or smoothed although it is wrapped: {n_soft / n_wraps:.0%} of the "
            "wraps have values in the middle or outside of the range (expected: below "
            f"{LARGEST_SOFT_SHARE:.0%})",
            "use the phase as it was acquired, or resample the real and the imaginary part instead "
            "of the phase",
        )
    ]


def _filled_range(
    phase: NDArray[np.floating],
    magnitude: NDArray[np.floating],
    signal: NDArray[np.bool_],
    axes: Sequence[int],
) -> tuple[float, str]:
    """Return the range of the phase, and the evidence that this range is one cycle.

    The evidence is part of a message; it is empty if there is no evidence.
    """
    finite = np.isfinite(phase) & np.isfinite(magnitude)
    dark = finite & ~signal & (magnitude > 0)
    noise = phase[dark & (magnitude < np.median(magnitude[dark]))] if dark.any() else phase[dark]
    if noise.size >= _LEAST_NOISE_VOXELS:
        low, high = _trimmed(noise)
        # extend the range, because values were trimmed at both ends
        size = (high - low) / (1 - 2 * _OVERSHOOT)
        ranks = np.linspace(0, 1, noise.size)
        uneven = np.max(np.abs((np.sort(noise) - low) / max(high - low, 1e-30) - ranks))
        if uneven < _EVEN:
            return size, "noise outside the body covers this range evenly"
    inside = phase[signal & finite]
    if inside.size == 0:
        return 0.0, ""
    low, high = _trimmed(inside)
    steps = []
    for axis in axes:
        both = np.moveaxis(signal & finite, axis, 0)
        values = np.moveaxis(phase, axis, 0)
        steps.append(np.abs(values[1:] - values[:-1])[both[1:] & both[:-1]])
    step = np.concatenate(steps)
    wraps = step[step > _WRAP_STEP * (high - low)]
    # Few phase differences between neighbours are moderately large, unless the largest differences
    # are the tail of a distribution, at a noisy edge or after an interpolation.
    n_moderate = np.count_nonzero(step > (1 - _WRAP_STEP) * (high - low)) - wraps.size
    if wraps.size < max(_LEAST_WRAPS, int(n_moderate)):
        return high - low, ""
    # The step at a wrap is one cycle minus the true phase difference between the neighbours. The
    # largest steps may exceed the trimmed range.
    size = max(high - low, float(np.quantile(wraps, 0.9)))
    return size, f"the phase jumps by this amount between {wraps.size} pairs of neighbours"


def _trimmed(values: NDArray[np.floating]) -> tuple[float, float]:
    low, high = np.quantile(values, (_OVERSHOOT, 1 - _OVERSHOOT))
    return float(low), float(high)


def _roughness(values: NDArray[np.floating]) -> float:
    """Return the fraction of neighbours that differ by more than a quarter of the maximum."""
    _, high = _trimmed(values)
    differ = [np.abs(np.diff(values, axis=axis)) > high / 4 for axis in range(values.ndim)]
    return float(sum(map(np.count_nonzero, differ)) / max(1, sum(one.size for one in differ)))
