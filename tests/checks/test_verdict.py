import math
from dataclasses import replace

import numpy as np
import pytest

from bids_qcm.checks import verdict as v
from bids_qcm.checks.evidence import Evidence, gather_evidence
from bids_qcm.checks.verdict import Verdict, disagreement_of, judge, with_disagreement
from bids_qcm.grids import Volume
from bids_qcm.phantom.parameters import PhantomParameters
from bids_qcm.phase import compute_phi0
from bids_qcm.recon import reconstruct

NAMES = {1: "Gray Matter", 2: "White Matter", 3: "Cerebrospinal Fluid"}
RATIOS = {"White Matter": 1.2, "Gray Matter": 1.1, "Cerebrospinal Fluid": 0.7}
MEDIANS = {"White Matter": 0.41, "Gray Matter": 0.65, "Cerebrospinal Fluid": 1.5}
GOOD = Evidence(
    implausible_fraction=0.01,
    invalid_fraction=0.05,
    median=0.6,
    medians=MEDIANS,
    literature_ratio=RATIOS,
    noise_ratio=0.1,
    expected_implausible=0.0,
    trend_inferior_superior=0.2,
    trend_left_right=-0.1,
    reduced_chi_square=1.0,
    prior_chi_square=1.0,
    largest_voxel_size=2.0,
)


def scaled(factor):
    return {
        "median": factor * GOOD.median,
        "medians": {name: factor * value for name, value in MEDIANS.items()},
        "literature_ratio": {name: factor * value for name, value in RATIOS.items()},
    }


def of_tissues(white, gray, fluid):
    return {
        "medians": {"White Matter": white, "Gray Matter": gray, "Cerebrospinal Fluid": fluid},
        "literature_ratio": RATIOS,
    }


def test_a_map_without_problems_is_green():
    assert judge(GOOD) == Verdict("green")


def test_the_ratio_of_an_in_plane_map_is_corrected_for_the_missing_curvature():
    (reason,) = judge(replace(GOOD, **scaled(0.57), in_plane_loss=0.43)).reasons
    assert "too low by about 43%" in reason
    found = judge(replace(GOOD, **scaled(0.3), in_plane_loss=0.43))
    assert found.colour == "red"
    assert "after correction for the missing curvature; the phase may have" in found.reasons[0]


@pytest.mark.parametrize(
    ("ratio", "words"),
    [(1.0, None), (0.6, None), (1.7, "is 1.7 times the literature"), (0.4, "0.7 times the")],
)
def test_the_missing_curvature_of_body_tissues_is_not_known(ratio, words):
    muscle = {"medians": {"Muscle": 0.72 * ratio}, "literature_ratio": {"Muscle": ratio}}
    found = judge(replace(GOOD, **muscle, in_plane_loss=0.43)).reasons
    assert any("missing curvature" in one for one in found) == (ratio < 0.5)
    of_muscle = [one for one in found if "Muscle" in one]
    assert len(of_muscle) == (words is not None)
    assert all(words in one for one in of_muscle)


def test_missing_measures_do_not_change_the_verdict():
    assert judge(Evidence(0.0, 0.0, 0.6)) == Verdict("green")


@pytest.mark.parametrize(
    ("changes", "colour", "words"),
    [
        ({"implausible_fraction": 0.07}, "amber", "7% of the voxels"),
        ({"implausible_fraction": 0.2}, "red", "noise alone would account for 0%"),
        ({"implausible_fraction": 0.2, "expected_implausible": 0.2}, "amber", "account for 20%"),
        ({"implausible_fraction": 0.2, "expected_implausible": None}, "amber", "tissue range"),
        ({"implausible_fraction": 0.45, "expected_implausible": 0.45}, "red", "tissue range"),
        ({"noise_ratio": 1.0}, "amber", "1.0 times the median conductivity"),
        ({"noise_ratio": 5.0}, "red", "noise standard deviation is 5.0 times"),
        ({"median": -0.6}, "red", "the sign may be wrong"),
        ({"median": math.nan}, "red", "the map has no valid voxels"),
        (scaled(0.7), "amber", "halved"),
        (scaled(0.5), "red", "halved"),
        (scaled(1.5), "amber", "1.7 times the literature value"),
        (scaled(2.0), "red", "check the phase unit"),
        (of_tissues(0.6, 0.62, 1.5), "amber", "gray matter is 1.03 times"),
        (of_tissues(0.6, 0.4, 1.5), "red", "the segmentation may not match the anatomy"),
        (of_tissues(0.6, 0.4, 1.5) | {"noise_ratio": 1.5}, "amber", "may not match the anatomy"),
        (of_tissues(0.4, 0.6, 0.5), "amber", "not more conductive than gray matter"),
        ({"literature_ratio": RATIOS | {"Cerebrospinal Fluid": 0.4}}, "amber", "is 40% of the"),
        ({"trend_left_right": -0.6}, "amber", "-60% from left to right"),
        ({"trend_inferior_superior": 1.2}, "red", "+120% from bottom to top"),
        ({"reduced_chi_square": 1.5}, "amber", "chi-square is 1.5"),
        ({"reduced_chi_square": 20.0}, "red", "chi-square is 20.0"),
        ({"prior_chi_square": 7.0}, "amber", "7.0 times the expected value"),
        ({"prior_chi_square": 30.0}, "red", "the segmentation may not match the anatomy"),
        ({"n_failed_checks": 2}, "red", "failed 2 checks"),
        ({"invalid_fraction": 0.4}, "amber", "40% of the voxels are invalid"),
        ({"largest_voxel_size": 4.0}, "amber", "voxels of 4 mm are thicker than the cortex"),
        ({"medians": {}, "literature_ratio": {}, "median": 1.5}, "amber", "1.5 S/m"),
        ({"medians": {}, "literature_ratio": {}, "median": 6e-4}, "red", "0.0006 S/m"),
    ],
)
def test_each_kind_of_evidence_can_change_the_verdict(changes, colour, words):
    found = judge(replace(GOOD, **changes))
    assert found.colour == colour
    assert any(words in reason for reason in found.reasons)


def test_the_worst_reason_sets_the_colour_and_is_listed_first():
    found = judge(replace(GOOD, largest_voxel_size=4.0, reduced_chi_square=19.0))
    assert found.colour == "red"
    assert "chi-square" in found.reasons[0]
    assert "cortex" in found.reasons[1]


# Median conductivity (S/m) and ratio to the literature for organs in a good map at 3 T. The ratio
# of fat is high, because kernels average fat with its surroundings.
ORGANS = {"liver": (0.51, 1.0), "kidney_left": (0.85, 1.0), "fat": (0.11, 3.0), "bile": (0.8, 0.5)}


def organs(factor):
    return Evidence(
        0.0,
        0.0,
        0.6,
        medians={name: factor * median for name, (median, _) in ORGANS.items()},
        literature_ratio={name: factor * ratio for name, (_, ratio) in ORGANS.items()},
        largest_voxel_size=5.0,
    )


def test_organs_that_agree_with_the_literature_are_green():
    assert judge(organs(1)) == Verdict("green")


@pytest.mark.parametrize(
    ("factor", "words"), [(0.5, "the phase may have been halved"), (2, "check the phase unit")]
)
def test_organs_that_disagree_with_the_literature_are_amber(factor, words):
    found = judge(organs(factor))
    assert found.colour == "amber"
    (reason,) = found.reasons
    assert reason.startswith(f"the conductivity of kidney_left, liver is {factor:.2g} times")
    assert words in reason


def test_the_median_of_a_body_matters_only_without_organs_or_if_it_is_impossible():
    # a third of the median of most tissues, because the mask contains much fat
    assert judge(replace(organs(1), median=0.2)) == Verdict("green")
    assert judge(replace(organs(1), median=6e-4)).colour == "red"
    assert judge(Evidence(0.0, 0.0, 0.2, medians={"fat": 0.2})).colour == "amber"


def test_each_method_is_compared_with_the_other_methods():
    medians = {
        "a": {"White Matter": 0.40, "Gray Matter": 0.6},
        "b": {"White Matter": 0.44, "Gray Matter": 0.6},
        "c": {"White Matter": 0.42, "Gray Matter": 0.9},
        "d": {"Lesion": 0.7, "White Matter": math.nan},
    }
    found = {
        name: disagreement_of(own, [medians[other] for other in medians if other != name])
        for name, own in medians.items()
    }
    assert found["c"] == pytest.approx(0.5)
    assert found["b"] == pytest.approx(0.2)
    assert found["d"] is None
    assert disagreement_of({"White Matter": 0.4}, []) is None


def test_disagreement_is_at_most_amber():
    assert with_disagreement(Verdict("green"), None).colour == "green"
    assert with_disagreement(Verdict("green"), 0.1).colour == "green"
    assert with_disagreement(Verdict("green"), 0.5).colour == "amber"
    worse = with_disagreement(Verdict("red", ("x",)), 0.5)
    assert worse.colour == "red"
    assert worse.reasons[0] == "x"
    assert "50%" in worse.reasons[1]


@pytest.fixture(scope="module")
def phantom(make_phantom):
    return make_phantom(PhantomParameters(resolution=4, snr=50))


def judged(phantom, method="laplacian-magseg", change=None, **options):
    """Return the verdict on the map of a phantom after a change of its phase."""
    phase = phantom.phase[0].copy()
    phase = phase if change is None else change(phase)
    phi0 = compute_phi0(phantom.magnitude, [phase], mask=phantom.mask)
    labels = np.where(phantom.mask, phantom.labels, 0).astype(np.int32)
    found = reconstruct(
        phi0.phase,
        method=method,
        voxel_size=phantom.voxel_size,
        frequency=phantom.frequency,
        mask=phi0.mask,
        magnitude=phi0.magnitude,
        labels=labels,
        phase_noise=phi0.noise,
        **options,
    )
    evidence = gather_evidence(
        Volume(found.conductivity, phantom.head.anatomy.grid),
        phi0.mask,
        frequency=phantom.frequency,
        labels=labels,
        names=NAMES,
        std=found.conductivity_std,
        reduced_chi_square=found.goodness and found.goodness.reduced_chi_square,
        prior_chi_square=found.goodness and found.goodness.prior_chi_square,
    )
    return judge(evidence), evidence


@pytest.mark.slow
def test_a_good_phantom_is_not_red(phantom):
    found, _ = judged(phantom)
    assert found.colour == "amber"
    assert any("thicker than the cortex" in reason for reason in found.reasons)


def negated_slices(phase):
    phase[:, :, 25:31] *= -1
    return phase


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda phase: phase / 2, "halved"),
        (lambda phase: np.angle(np.exp(2j * phase)), "check the phase unit"),
        (np.negative, "the sign may be wrong"),
        (negated_slices, "outside the tissue range"),
    ],
    ids=["halved", "doubled", "negated", "slices negated"],
)
def test_the_verdict_on_a_wrong_phase_is_red(phantom, change, words):
    found, _ = judged(phantom, change=change)
    assert found.colour == "red"
    assert words in found.reasons[0]


@pytest.mark.slow
def test_chi_square_detects_the_phase_of_another_head(phantom):
    quick = {"method": "inversion-seg", "uncertainty": False}
    good, evidence = judged(phantom, **quick)
    assert good.colour != "red"
    assert 0.1 < evidence.reduced_chi_square < v.CHI_SQUARE.amber
    assert 0.1 < evidence.prior_chi_square < v.PRIOR_CHI_SQUARE.amber
    bad, evidence = judged(phantom, change=negated_slices, **quick)
    assert evidence.reduced_chi_square > v.CHI_SQUARE.red
    assert evidence.prior_chi_square > v.PRIOR_CHI_SQUARE.red
    assert any("chi-square" in reason for reason in bad.reasons)
