from types import SimpleNamespace

import numpy as np
import pytest
from nibabel.affines import apply_affine

from bids_qcm.differences import (
    NoisyMap,
    difference_in_noise,
    have_same_names,
    mean_movement,
    summarise,
    tissues_in_mask,
)
from bids_qcm.grids import Grid, Volume
from bids_qcm.phantom.deformation import rigid_movement

SHAPE = (40, 44, 36)
GRID = Grid(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))
MOVED = rigid_movement((1.3, -0.7, 2.2), (2, -3, 1), (40, 44, 36))


def halves(points):
    """Label two tissues on both sides of an oblique plane, inside a ball."""
    inside = np.linalg.norm(points - [39, 43, 35], axis=1) < 30
    return np.where(points @ [0.6, 0.8, 0] > 57, 2, 1) * inside


def scan(pose, seed, change=0.0):
    """Return a map of the head at a position, with white noise whose level differs between
    tissues."""
    points = apply_affine(np.linalg.inv(pose), GRID.points())
    labels = halves(points).reshape(SHAPE)
    std = np.array([0.0, 0.05, 0.2])[labels]
    truth = np.array([0.0, 0.4, 2.0])[labels] + change * (labels == 2)
    noise = np.random.default_rng(seed).standard_normal(SHAPE) * std
    return NoisyMap(truth + noise, std, labels, GRID)


@pytest.fixture(scope="module")
def pairs():
    first = scan(np.eye(4), 0)
    return SimpleNamespace(
        first=first,
        still=difference_in_noise(first, scan(np.eye(4), 1), np.eye(4)),
        moved=difference_in_noise(first, scan(MOVED, 1), MOVED),
    )


@pytest.mark.parametrize("name", ["still", "moved"])
def test_5_percent_of_voxels_exceed_the_limit(pairs, name):
    """The result also holds after a movement, although interpolation would smooth the white
    noise."""
    z = getattr(pairs, name)[pairs.first.labels > 0]
    z = z[np.isfinite(z)]
    assert z.size > 12_000
    assert np.mean(np.abs(z) > 1.96) == pytest.approx(0.05, abs=0.006)
    assert z.std() == pytest.approx(1, abs=0.03)
    assert z.mean() == pytest.approx(0, abs=0.03)


def test_voxels_at_the_border_of_tissues_are_left_out_after_a_movement(pairs):
    inside = pairs.first.labels > 0
    assert np.isfinite(pairs.still[inside]).all()
    assert 0.01 < np.mean(np.isnan(pairs.moved[inside])) < 0.2
    assert not pairs.moved[~inside].any()


def test_change_of_a_tissue_is_found(pairs):
    z = difference_in_noise(pairs.first, scan(MOVED, 1, change=0.4), MOVED)
    changed = pairs.first.labels == 2
    assert np.nanmean(z[changed]) == pytest.approx(0.4 / np.hypot(0.2, 0.2), abs=0.06)
    assert np.nanmean(z[pairs.first.labels == 1]) == pytest.approx(0, abs=0.03)


def test_invalid_voxels_stay_invalid():
    first, second = scan(np.eye(4), 0), scan(np.eye(4), 1)
    first.conductivity[20, 20, 18] = np.nan
    second.conductivity[22, 20, 18] = np.nan
    second.std[24, 20, 18] = np.inf
    z = difference_in_noise(first, second, np.eye(4))
    assert np.isnan(z[[20, 22], 20, 18]).all()
    assert z[24, 20, 18] == 0 or np.isnan(z[24, 20, 18])
    assert np.isfinite(z[21, 20, 18])


def test_voxels_outside_the_field_of_view_of_the_second_scan_are_invalid():
    far = np.eye(4)
    far[:3, 3] = 500
    first = scan(np.eye(4), 0)
    z = difference_in_noise(first, scan(np.eye(4), 1), far)
    assert np.isnan(z[first.labels > 0]).all()


def test_a_difference_is_summarised():
    z = np.array([[[0.0, 3.0, -3.0, 1.0, np.nan, 0.0]]])
    mask = np.array([[[True, True, True, True, True, False]]])
    assert summarise(z, mask) == (4, 0.8, 0.5)
    n, share, exceeding = summarise(np.full_like(z, np.nan), mask)
    assert (n, share) == (0, 0)
    assert np.isnan(exceeding)


def test_voxels_without_a_label_form_a_separate_tissue():
    mask = np.array([[[False, True, True, True]]])
    segmentation = np.array([[[2, 0, 1, 2]]])
    assert tissues_in_mask(mask, segmentation).tolist() == [[[0, 1, 2, 3]]]
    assert tissues_in_mask(mask, None).tolist() == [[[0, 1, 1, 1]]]


@pytest.mark.parametrize(
    ("second", "same"),
    [
        ({1: "GM", 2: "WM"}, True),
        ({1: "GM"}, True),
        ({1: "GM", 2: "WM", 9: "Lesion"}, True),
        ({1: "WM", 2: "GM"}, False),
        # another segmentation, which shares a label by chance
        ({2: "WM", 17: "Left Hippocampus"}, False),
    ],
)
def test_labels_with_the_same_names_have_the_same_meaning(second, same):
    assert have_same_names({1: "GM", 2: "WM"}, second) == same


def test_the_mean_movement_is_averaged_over_the_mask():
    shift = np.eye(4)
    shift[:3, 3] = 3, 0, 4
    mask = np.zeros(SHAPE, bool)
    mask[3:9, 4:8] = True
    assert mean_movement(shift, Volume(mask, GRID)) == pytest.approx(5)
    turn = np.diag([-1.0, -1, 1, 1])
    mask = np.zeros(SHAPE, bool)
    # 10 and 24 mm from the axis of a half turn
    mask[[5, 0], [0, 12], 0] = True
    assert mean_movement(turn, Volume(mask, GRID)) == pytest.approx(2 * (10 + 24) / 2)
