import numpy as np
import pytest

from bids_qcm.grids import Grid, Volume
from bids_qcm.segmentation.checks import (
    better_flip,
    coverage,
    overlap,
    plausibility_warnings,
    volumes,
)


def boxes(*slices, shape=(20, 20, 20)):
    mask = np.zeros(shape, bool)
    for one in slices:
        mask[one] = True
    return mask


def test_the_overlap_is_relative_to_the_smaller_mask():
    large, small = boxes(np.s_[2:18, 2:18, 2:18]), boxes(np.s_[16:20, 2:4, 2:4])
    assert overlap(small, large) == overlap(large, small) == 0.5
    assert overlap(large, ~large) == 0
    assert overlap(large, boxes()) == 0


def test_the_coverage_is_the_labelled_fraction_of_a_mask():
    labels = boxes(np.s_[:5]).astype(int)
    assert coverage(labels, boxes(np.s_[:20])) == 0.25
    assert coverage(labels, boxes()) == 0


def test_volumes_are_in_ml():
    labels = boxes(np.s_[:10]).astype(int) * 7
    found = volumes(labels, {7: "x", 8: "y"}, (1, 2, 5))
    assert found == {"x": pytest.approx(40), "y": 0}


ADULT = {"Gray Matter": 650, "White Matter": 520, "Cerebrospinal Fluid": 200}


def test_plausible_values_give_no_warning():
    assert plausibility_warnings(0.9, ADULT) == []
    assert plausibility_warnings(None, ADULT | {"Lesion": 1}) == []


def test_a_segmentation_of_another_part_of_the_body_has_no_implausible_volumes():
    assert plausibility_warnings(None, {"liver": 1300.0, "kidney_left": 170.0}) == []


def test_implausible_values_give_warnings():
    (warning,) = plausibility_warnings(0.6, ADULT)
    assert "covers only 60% of the brain mask" in warning
    (warning,) = plausibility_warnings(None, ADULT | {"White Matter": 50})
    assert "50 ml of White Matter" in warning
    assert (
        "0 ml of Cerebrospinal Fluid"
        in plausibility_warnings(0.9, ADULT | {"Cerebrospinal Fluid": 0})[0]
    )


@pytest.fixture
def asymmetric():
    """Return the labels of an asymmetric body, and an image of the body with noise."""
    labels = boxes(np.s_[2:9, 3:17, 3:17]).astype(int)
    labels[4:8, 5:8, 5:15] = 2
    labels[9:12, 10:14, 4:9] = 3
    signal = np.array([0, 50, 80, 100])[labels]
    return labels, signal + np.random.default_rng(0).normal(0, 3, labels.shape)


@pytest.mark.parametrize("x_size", [2, -2])
def test_a_flipped_segmentation_is_detected(asymmetric, x_size):
    labels, image = asymmetric
    affine = np.diag([x_size, 2.0, 2.0, 1.0])
    affine[0, 3] = -9.5 * x_size
    grid = Grid(image.shape, affine)
    magnitude = Volume(image, grid)
    assert better_flip(Volume(labels, grid), magnitude) is None
    assert better_flip(Volume(labels[::-1], grid), magnitude) == "left and right"
    assert better_flip(Volume(labels[:, ::-1], grid), magnitude) == "front and back"
    assert better_flip(Volume(labels[:, :, ::-1], grid), magnitude) == "top and bottom"
    swapped = Grid(image.shape, np.diag([-1, 1, 1, 1]) @ affine)
    assert better_flip(Volume(labels, swapped), magnitude) == "left and right"


def test_noise_is_not_detected_as_a_flip(asymmetric):
    labels, image = asymmetric
    noise = np.random.default_rng(1).normal(100, 3, image.shape)
    grid = Grid(image.shape, np.eye(4))
    assert better_flip(Volume(labels, grid), Volume(noise, grid)) is None
    empty = np.zeros_like(labels)
    assert better_flip(Volume(empty, grid), Volume(image, grid), step=2) is None
