"""Verdict on a conductivity map: green, amber or red, with the reasons."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, NamedTuple

from bids_qcm.checks.evidence import Evidence
from bids_qcm.segmentation.tissues import TISSUES

Colour = Literal["green", "amber", "red"]

COLOURS: tuple[Colour, ...] = ("green", "amber", "red")
"""Colours from best to worst."""


class Limits(NamedTuple):
    """Limits of one quantity, beyond which a verdict is amber or red.

    Attributes
    ----------
    amber, red : float
        Limits for amber and for red. `math.inf` if the quantity never makes a verdict red.
    """

    amber: float
    red: float


# docs/verdict.md contains the measurements on which these limits are based.
IMPLAUSIBLE = Limits(0.1, 0.4)
"""Fraction of implausible voxels, regardless of the cause."""

EXCESS_IMPLAUSIBLE = Limits(0.04, 0.08)
"""Fraction of implausible voxels minus the fraction expected from noise."""

INVALID = Limits(0.2, math.inf)
"""Fraction of invalid voxels."""

NOISE_RATIO = Limits(0.5, 3.0)
"""Noise standard deviation divided by the conductivity."""

HIGH_LEVEL = Limits(1.6, 2.2)
LOW_LEVEL = Limits(0.85, 0.7)
"""Ratio to the literature values: the geometric mean over gray and white matter. Without these
tissues, the geometric mean over other tissues is compared with the amber limits."""

COMPARABLE = (0.3, 1.2)
"""Range of the literature values for these other tissues, S/m. Kernels average fat and fluids with
the surroundings, so the ratios of fat and fluids are a poor measure of the conductivity level of
the map."""

HIGH_MEDIAN = Limits(1.2, 2.5)
LOW_MEDIAN = Limits(0.4, 0.05)
"""Median over the mask in S/m. Used if no tissues can be compared with the literature."""

GRAY_OVER_WHITE = Limits(1.1, 0.8)
"""Conductivity of gray matter divided by the conductivity of white matter."""

LOW_FLUID = 0.5
"""Lower limit of the ratio between the conductivity of cerebrospinal fluid and the literature
value. Below this limit, a verdict is amber."""

TREND = Limits(0.5, 1.0)
"""Relative change of the conductivity from one end of the mask to the other."""

CHI_SQUARE = Limits(1.3, 5.0)
"""Reduced chi-square of an inversion. The variance includes the model error."""

PRIOR_CHI_SQUARE = Limits(5.0, 12.0)
"""Squared deviation of the conductivity from the prior of an inversion, relative to its expected
value."""

CORTEX = 2.5
"""Mean thickness of the cortex, mm [1]_.

.. [1] Fischl B, Dale AM. Measuring the thickness of the human cerebral cortex from magnetic
   resonance images. Proc Natl Acad Sci 2000. doi:10.1073/pnas.200033797
"""

DISAGREEMENT = Limits(0.25, math.inf)
"""Relative difference between the median of a method and the median of the other methods."""

# Factor by which a method may overestimate the conductivity because it neglects |B1+|.
_EFFECT_OF_B1 = 1.5

DISAGREEMENT_ABOUT_B1 = Limits((1 + DISAGREEMENT.amber) * _EFFECT_OF_B1 - 1, math.inf)
"""Limits for the disagreement if only one of the compared methods uses the magnitude of B1+."""

_TOO_HIGH = "check the phase unit, the phase type, the voxel size and the frequency"
_TOO_LOW = (
    "the phase may have been halved, scaled or high-pass filtered, or the voxel size or the "
    "frequency may be wrong"
)

_GRAY, _WHITE, _FLUID = (TISSUES[tissue].name for tissue in ("GM", "WM", "CSF"))


@dataclass(frozen=True)
class Reason:
    """Reason for an amber or red verdict.

    Attributes
    ----------
    colour : {"amber", "red"}
    text : str
        A sentence without a full stop.
    """

    colour: Colour
    text: str


@dataclass(frozen=True)
class Verdict:
    """Verdict on the use of a map.

    Attributes
    ----------
    colour : {"green", "amber", "red"}
        Red: the map must not be used without correction. Amber: the map has a limitation that the
        user should know about. Green: no check failed.
    reasons : tuple of str
        Sentences without a full stop, with the reasons for red first; empty for green.
    """

    colour: Colour
    reasons: tuple[str, ...] = ()


def judge(evidence: Evidence) -> Verdict:
    """Return the verdict on a map.

    Parameters
    ----------
    evidence : Evidence

    Returns
    -------
    Verdict
        Verdict with the worst colour of all reasons.
    """
    reasons = [
        *_images(evidence),
        *_level(evidence),
        *_implausible(evidence),
        *_order(evidence),
        *_trends(evidence),
        *_fit(evidence),
        *_limitations(evidence),
    ]
    colour: Colour = max((reason.colour for reason in reasons), key=COLOURS.index, default="green")
    reasons.sort(key=lambda reason: -COLOURS.index(reason.colour))
    return Verdict(colour, tuple(reason.text for reason in reasons))


def disagreement_of(
    medians: Mapping[str, float], others: Sequence[Mapping[str, float]]
) -> float | None:
    """Return the disagreement of a method with other methods of the same acquisition.

    Parameters
    ----------
    medians : mapping of str to float
        Median conductivity in S/m, keyed by tissue; NaN if a tissue has no median.
    others : sequence of mapping of str to float
        The same mapping for each other method.

    Returns
    -------
    float or None
        The maximum of ``|median / m - 1|`` over the tissues, where m is the median over the other
        methods. None if the method shares no tissue with another method.
    """
    distances = []
    for tissue, value in medians.items():
        found = [other[tissue] for other in others if math.isfinite(other.get(tissue, math.nan))]
        if found and math.isfinite(value):
            middle = median(found)
            distances.append(abs(value - middle) / max(abs(middle), 1e-6))
    return max(distances, default=None)


def with_disagreement(
    verdict: Verdict, disagreement: float | None, limits: Limits = DISAGREEMENT
) -> Verdict:
    """Add the disagreement with other methods to a verdict.

    Parameters
    ----------
    verdict : Verdict
        Verdict on the map alone.
    disagreement : float or None
        Disagreement from :func:`disagreement_of`; None if only one method was run.
    limits : Limits
        DISAGREEMENT, or DISAGREEMENT_ABOUT_B1 if only one of the compared methods uses the
        magnitude of B1+.

    Returns
    -------
    Verdict
        Amber instead of green if the methods disagree. Disagreement alone does not show which
        method is wrong, and therefore never makes a verdict red.
    """
    if disagreement is None or disagreement <= limits.amber:
        return verdict
    reason = (
        f"the median of a tissue differs by {disagreement:.0%} from the median of the other methods"
    )
    return Verdict(max(verdict.colour, "amber", key=COLOURS.index), (*verdict.reasons, reason))


def _above(value: float | None, limits: Limits) -> Colour | None:
    """Return the colour of a value that should not be large; None for green or no value."""
    if value is None:
        return None
    if value > limits.red:
        return "red"
    return "amber" if value > limits.amber else None


def _below(value: float, limits: Limits) -> Colour | None:
    """Return the colour of a value that should not be small; None for green."""
    if value < limits.red:
        return "red"
    return "amber" if value < limits.amber else None


def _images(evidence: Evidence) -> Iterator[Reason]:
    if evidence.n_failed_checks:
        checks = "check" if evidence.n_failed_checks == 1 else "checks"
        yield Reason(
            "red",
            f"the images failed {evidence.n_failed_checks} {checks}, but the map was computed "
            "because --image-checks warn was used; see the warnings",
        )


def _implausible(evidence: Evidence) -> Iterator[Reason]:
    share, expected = evidence.implausible_fraction, evidence.expected_implausible
    text = f"{share:.0%} of the voxels have a conductivity outside the tissue range"
    by_excess = None
    if expected is not None:
        by_excess = _above(share - expected, EXCESS_IMPLAUSIBLE)
        text += f"; noise alone would account for {expected:.0%} of the voxels"
    colour = max(by_excess or "green", _above(share, IMPLAUSIBLE) or "green", key=COLOURS.index)
    if colour != "green":
        yield Reason(colour, text)
    ratio = evidence.noise_ratio
    if noise_colour := _above(ratio, NOISE_RATIO):
        yield Reason(
            noise_colour,
            f"the median noise standard deviation is {ratio:.1f} times the median conductivity; "
            "average over regions, or use larger kernels",
        )


def _level(evidence: Evidence) -> Iterator[Reason]:
    median = evidence.median
    if math.isnan(median):
        yield Reason("red", "the map has no valid voxels")
        return
    if median <= 0:
        yield Reason("red", f"the median conductivity is {median:.2g} S/m; the sign may be wrong")
        return
    ratios = {
        short: evidence.literature_ratio[name]
        for short, name in (("white", _WHITE), ("gray", _GRAY))
        if name in evidence.literature_ratio
    }
    if not ratios:
        yield from _level_of_body(evidence)
        return
    tissues = " and ".join(ratios)
    if min(ratios.values()) <= 0:
        yield Reason("red", f"the median conductivity of {tissues} matter is not positive")
        return
    level = _geometric_mean(ratios.values()) / (1 - evidence.in_plane_loss)
    found = (
        f"the conductivities of {tissues} matter are"
        if len(ratios) > 1
        else f"the conductivity of {tissues} matter is"
    )
    times = f"{found} {level:.2g} times the literature value{_without_loss(evidence)}"
    if colour := _above(level, HIGH_LEVEL):
        yield Reason(colour, f"{times}; {_TOO_HIGH}")
    elif colour := _below(level, LOW_LEVEL):
        yield Reason(colour, f"{times}; {_TOO_LOW}")


def _level_of_body(evidence: Evidence) -> Iterator[Reason]:
    """Compare body tissues with the literature; without such tissues, compare the median.

    The limits of the ratio were derived from heads, so the ratio of body tissues never makes a
    verdict red. The missing curvature of in-plane maps was measured in the brain. It is smaller in
    elongated parts of the body. A map therefore counts as too high only if it is too high even
    without this correction, and as too low only if it is too low even with this correction.
    """
    low, high = COMPARABLE
    ratios = {
        name: ratio
        for name, ratio in evidence.literature_ratio.items()
        if ratio > 0 and low <= evidence.medians[name] / ratio <= high
    }
    colour = _above(evidence.median, HIGH_MEDIAN) or _below(evidence.median, LOW_MEDIAN)
    if colour == "red" or (colour and not ratios):
        yield Reason(
            colour,
            f"the median conductivity is {evidence.median:.2g} S/m; most tissues are between 0.3 "
            "and 0.8 S/m",
        )
    if not ratios:
        return
    level = _geometric_mean(ratios.values())
    corrected = level / (1 - evidence.in_plane_loss)
    tissues = f"the conductivity of {', '.join(sorted(ratios))}"
    times = "times the literature value"
    if level > HIGH_LEVEL.amber:
        yield Reason("amber", f"{tissues} is {level:.2g} {times}; {_TOO_HIGH}")
    elif corrected < LOW_LEVEL.amber:
        yield Reason(
            "amber", f"{tissues} is {corrected:.2g} {times}{_without_loss(evidence)}; {_TOO_LOW}"
        )


def _without_loss(evidence: Evidence) -> str:
    return " after correction for the missing curvature" if evidence.in_plane_loss else ""


def _geometric_mean(ratios: Collection[float]) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def _order(evidence: Evidence) -> Iterator[Reason]:
    medians = evidence.medians
    white, gray, fluid = (medians.get(name, math.nan) for name in (_WHITE, _GRAY, _FLUID))
    noisy = evidence.noise_ratio is not None and evidence.noise_ratio > 1
    if white > 0 and gray > 0:
        colour = _below(gray / white, GRAY_OVER_WHITE)
        if colour:
            yield Reason(
                "amber" if noisy else colour,
                f"the conductivity of gray matter is {gray / white:.2f} times the conductivity of "
                "white matter (expected: about 1.7 times); the segmentation may not match the "
                "anatomy",
            )
    ratio = evidence.literature_ratio.get(_FLUID, math.nan)
    if fluid <= gray:
        yield Reason(
            "amber", "in this map, cerebrospinal fluid is not more conductive than gray matter"
        )
    elif ratio < LOW_FLUID * (1 - evidence.in_plane_loss):
        yield Reason(
            "amber",
            f"the conductivity of cerebrospinal fluid is {ratio:.0%} of the literature value, "
            "because the kernels average the fluid with the surrounding tissue",
        )


def _trends(evidence: Evidence) -> Iterator[Reason]:
    for trend, way in (
        (evidence.trend_inferior_superior, "bottom to top"),
        (evidence.trend_left_right, "left to right"),
    ):
        colour = _above(abs(trend), TREND)
        if colour:
            yield Reason(
                colour,
                f"the conductivity changes by {trend:+.0%} from {way}; possible causes are |B1+| "
                "and phase from sources outside the object",
            )


def _fit(evidence: Evidence) -> Iterator[Reason]:
    chi_square = evidence.reduced_chi_square
    if colour := _above(chi_square, CHI_SQUARE):
        yield Reason(
            colour,
            f"the inversion does not fit the phase: the reduced chi-square is {chi_square:.1f} "
            "(expected: at most about 1)",
        )
    variation = evidence.prior_chi_square
    if colour := _above(variation, PRIOR_CHI_SQUARE):
        yield Reason(
            colour,
            f"the squared variation of the conductivity within tissues is {variation:.1f} times "
            "the expected value; the phase may have sources other than conductivity, or the "
            "segmentation may not match the anatomy",
        )


def _limitations(evidence: Evidence) -> Iterator[Reason]:
    if evidence.in_plane_loss:
        yield Reason(
            "amber",
            "the map lacks the phase curvature across slices, so the conductivity is too low by "
            f"about {evidence.in_plane_loss:.0%} in the brain",
        )
    if _above(evidence.invalid_fraction, INVALID):
        yield Reason("amber", f"{evidence.invalid_fraction:.0%} of the voxels are invalid")
    size = evidence.largest_voxel_size
    # allow for rounding errors of the voxel size, such as 2.50001 mm
    brain = {_GRAY, _WHITE} & evidence.literature_ratio.keys()
    if brain and size > CORTEX + 1e-3:
        yield Reason(
            "amber", f"voxels of {size:.2g} mm are thicker than the cortex ({CORTEX:g} mm)"
        )
