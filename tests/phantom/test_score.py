from dataclasses import replace

import numpy as np
import pytest

from bids_qcm.phantom.anatomy import make_anatomy
from bids_qcm.phantom.conductivity import conductivity_map
from bids_qcm.phantom.score import (
    recovery_by_diameter,
    score,
    score_brain,
    score_lesions,
    score_tissues,
    score_variation,
)
from bids_qcm.phantom.truth import Truth

FREQUENCY = 127.7e6


def make_truth(resolution=4.0, *, variation=0.15, lesion_conductivity=0.9):
    places, field = np.random.default_rng(0).spawn(2)
    anatomy = make_anatomy(resolution, tumour_diameter=20, small_lesions_rng=places)
    return Truth(
        conductivity=conductivity_map(anatomy, FREQUENCY, lesion_conductivity, variation, field),
        labels=anatomy.labels,
        brain=anatomy.brain,
        small_lesion_diameter=anatomy.small_lesion_diameter,
        voxel_size=(resolution,) * 3,
    )


@pytest.fixture(scope="module")
def truth():
    return make_truth()


@pytest.fixture(scope="module")
def two_tissues():
    """Return a truth with tissues of 0.5 S/m (left) and 2 S/m (right), surrounded by air."""
    labels = np.zeros((14, 7, 7), np.uint8)
    labels[1:7, 1:-1, 1:-1] = 1
    labels[7:13, 1:-1, 1:-1] = 2
    conductivity = np.choose(labels, [0, 0.5, 2.0])
    return Truth(conductivity, labels, labels > 0, np.zeros_like(labels), (1.0, 1.0, 1.0))


def test_the_truth_has_no_error_and_full_contrast(truth):
    found = score(truth.conductivity, truth)
    assert found.brain.n == truth.brain.sum()
    assert (found.brain.mae, found.brain.nrmse, found.brain.nrmse_best99) == (0, 0, 0)
    assert found.brain.invalid_fraction == 0
    assert [(one.label, one.erosion) for one in found.tissues] == [
        (label, erosion) for label in (1, 2, 3, 7) for erosion in (0, 2, 4)
    ]
    for one in found.tissues:
        assert one.n == 0 or (one.rmse, one.nrmse, one.mean) == (0, 0, one.true_mean)
    assert [one.diameter for one in found.lesions] == [
        d for d in (4, 6, 8, 12, 16) for _ in range(3)
    ]
    assert [one.recovered for one in found.lesions] == pytest.approx([1] * 15)
    assert {one.label for one in found.variation} == {1, 2}
    assert [one.slope for one in found.variation] == pytest.approx([1] * len(found.variation))


def test_a_scaled_and_shifted_truth_has_known_scores(truth):
    found = score(0.6 * truth.conductivity + 0.1, truth)
    for one in found.tissues:
        if one.n:
            assert one.mean == pytest.approx(0.6 * one.true_mean + 0.1)
    assert [one.recovered for one in found.lesions] == pytest.approx([0.6] * 15)
    assert [one.slope for one in found.variation] == pytest.approx([0.6] * len(found.variation))


def test_maps_that_are_constant_in_tissues_show_neither_lesions_nor_variation(truth):
    flat = np.choose(truth.labels, [0, 0.59, 0.34, 2.1, 0.1, 0.5, 0, 0.9])
    found = score(flat, truth)
    for one in found.variation:
        assert one.slope == pytest.approx(0, abs=1e-9)
    # a lesion may contain voxels of a different tissue from its surroundings
    in_one_tissue = [
        share.contrast
        for share, lesion in zip(found.lesions, truth.lesions, strict=True)
        if (truth.labels[lesion.box][lesion.inside] == lesion.label).all()
    ]
    assert len(in_one_tissue) >= 5
    assert in_one_tissue == pytest.approx([0] * len(in_one_tissue))


def test_noise_does_not_bias_the_slope(truth):
    rng = np.random.default_rng(1)
    noisy = truth.conductivity + rng.normal(0, 0.1, truth.labels.shape)
    white = [one for one in score_variation(noisy, truth) if one.label == 2]
    assert white[0].n > 300
    assert white[0].slope == pytest.approx(1, abs=5 * 0.1 / white[0].true_sd / white[0].n ** 0.5)


def test_errors_agree_with_manual_computation(two_tissues):
    found = two_tissues.conductivity.copy()
    found[two_tissues.labels == 1] += 0.3
    found[two_tissues.labels == 2] -= 0.1
    brain = score_brain(found, two_tissues)
    assert brain.mae == pytest.approx(0.2)
    assert brain.nrmse == pytest.approx(np.sqrt((0.3**2 + 0.1**2) / (0.5**2 + 2.0**2)))
    left, right = (one for one in score_tissues(found, two_tissues) if one.erosion == 0)
    assert (left.n, left.mean, left.sd) == pytest.approx((150, 0.8, 0))
    assert (left.rmse, left.nrmse) == pytest.approx((0.3, 0.6))
    assert (right.rmse, right.nrmse) == pytest.approx((0.1, 0.05))


def test_the_largest_one_percent_of_errors_is_left_out(two_tissues):
    found = two_tissues.conductivity + 0.1
    found[1:4, 1, 1] = 50.0
    brain = score_brain(found, two_tissues)
    assert brain.n == 300
    assert brain.nrmse > 3
    mean_square = (147 * 0.5**2 + 150 * 2**2) / 297
    assert brain.nrmse_best99 == pytest.approx(0.1 / np.sqrt(mean_square))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_invalid_voxels_count_only_towards_the_invalid_fraction(two_tissues, value):
    found = two_tissues.conductivity + 0.1
    found[1:4, 1:-1, 1:-1] = value
    found[0] = value  # outside the brain
    brain = score_brain(found, two_tissues)
    assert (brain.mae, brain.invalid_fraction) == pytest.approx((0.1, 0.25))
    assert brain.nrmse == pytest.approx(0.1 / np.sqrt((75 * 0.5**2 + 150 * 2**2) / 225))
    left = score_tissues(found, two_tissues)[0]
    assert (left.n, left.mean, left.rmse) == pytest.approx((150, 0.6, 0.1))
    assert left.invalid_fraction == pytest.approx(0.5)


@pytest.mark.filterwarnings("error")
def test_a_map_without_valid_voxels_has_no_scores(truth):
    found = score(np.full(truth.labels.shape, np.nan), truth)
    assert found.brain.invalid_fraction == 1
    assert np.isnan([found.brain.mae, found.brain.nrmse, found.brain.nrmse_best99]).all()
    assert np.isnan([one.rmse for one in found.tissues]).all()
    assert np.isnan([one.recovered for one in found.lesions]).all()
    assert np.isnan([one.slope for one in found.variation]).all()
    assert np.isnan(list(recovery_by_diameter(found.lesions).values())).all()


def test_a_map_of_another_shape_is_refused(truth):
    with pytest.raises(ValueError, match=r"the map has shape \(3, 3, 3\), but the truth"):
        score(np.zeros((3, 3, 3)), truth)


def test_lesions_compare_the_same_voxels_of_map_and_truth(truth):
    found = 0.5 * truth.conductivity
    lesion = truth.lesions[-1]
    assert lesion.diameter == 16
    part = found[lesion.box]
    part[lesion.inside & (np.cumsum(lesion.inside).reshape(part.shape) % 2 == 0)] = np.nan
    part[lesion.around & (np.cumsum(lesion.around).reshape(part.shape) % 2 == 0)] = np.nan
    last = score_lesions(found, truth)[-1]
    assert (last.recovered, last.invalid_fraction) == pytest.approx((0.5, 0.5), abs=0.03)
    assert last.recovered == pytest.approx(0.5)


@pytest.mark.filterwarnings("error")
def test_a_lesion_without_contrast_has_no_recovery(two_tissues):
    lesions = np.zeros_like(two_tissues.labels)
    lesions[3, 3, 3] = 4
    found = score_lesions(
        two_tissues.conductivity, replace(two_tissues, small_lesion_diameter=lesions)
    )
    assert (found[0].true_contrast, found[0].n) == (0, 1)
    assert np.isnan(found[0].recovered)
    assert np.isnan(recovery_by_diameter(found)[4])


def test_lesions_of_a_diameter_are_pooled_by_their_contrast(truth):
    lesions = score_lesions(truth.conductivity, truth)[:3]
    weak, strong, unseen = (
        replace(lesion, contrast=contrast, true_contrast=true)
        for lesion, contrast, true in zip(
            lesions, (-0.1, 0.4, np.nan), (0.1, 0.5, np.nan), strict=True
        )
    )
    assert recovery_by_diameter([weak, strong, unseen]) == {4: pytest.approx(0.5)}


def test_tissues_without_variation_are_not_scored():
    truth = make_truth(variation=0)
    assert score_variation(truth.conductivity, truth) == []
