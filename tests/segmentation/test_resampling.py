import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nibabel.affines import from_matvec

from bids_qcm.grids import Grid, Volume
from bids_qcm.segmentation.resampling import (
    label_of_largest_share,
    resample_labels,
    resample_probabilities,
    sample_nearest,
)

AFFINE = from_matvec(np.diag([1.5, -2.0, 3.0]), [3, 4, 5])


@given(arrays(np.int16, (3, 4, 5), elements=st.integers(-3, 3)))
@settings(max_examples=20, deadline=None)
def test_the_same_grid_changes_nothing(labels):
    grid = Grid(labels.shape, AFFINE)
    np.testing.assert_array_equal(resample_labels(Volume(labels, grid), grid), labels)


@given(st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([-1, 1])] * 3))
@settings(max_examples=20, deadline=None)
def test_another_order_of_axes_is_exact(axes, signs):
    labels = np.random.default_rng(0).integers(0, 4, (4, 5, 6))
    image = nib.Nifti1Image(labels.astype(np.int16), AFFINE)
    other = image.as_reoriented(np.stack([np.array(axes), np.array(signs)], axis=1))
    source = Volume(labels, Grid(labels.shape, AFFINE))
    found = resample_labels(source, Grid(other.shape, other.affine))
    np.testing.assert_array_equal(found, np.asarray(other.dataobj))


def ball(grid, radius, centre=(0, 0, 0)):
    return (np.linalg.norm(grid.points() - centre, axis=1) < radius).reshape(grid.shape)


def test_a_coarser_grid_keeps_volumes():
    fine = Grid((49,) * 3, from_matvec(np.eye(3), [-24] * 3))
    labels = ball(fine, 20).astype(int) + ball(fine, 12)
    coarse = Grid((18, 14, 16), from_matvec(np.diag([3.0, 4.0, 3.5]), [-25] * 3))
    found = resample_labels(Volume(labels, fine), coarse)
    for label in (1, 2):
        volume = (found == label).sum() * 42
        assert volume == pytest.approx((labels == label).sum(), rel=0.05)


def test_points_are_mapped_from_the_target_to_the_source():
    grid = Grid((21,) * 3, from_matvec(np.eye(3), [-10] * 3))

    def point_map(points):
        return points - [3, 0, 0]

    found = resample_labels(Volume(ball(grid, 5), grid), grid, point_map)
    np.testing.assert_array_equal(found, ball(grid, 5, centre=(3, 0, 0)))


def test_nothing_is_found_outside_the_source():
    labels = Volume(np.ones((4, 4, 4), int), Grid((4, 4, 4), np.eye(4)))
    found = resample_labels(labels, Grid((8, 8, 8), from_matvec(np.eye(3), [-2] * 3)))
    assert (found[2:6, 2:6, 2:6] == 1).all()
    assert found.sum() == 64


def test_the_label_that_fills_most_of_a_voxel_is_chosen():
    # three labels share one target voxel, and label 2 fills the largest part
    labels = np.array([1, 2, 2, 3], int).reshape(1, 1, 4).repeat(4, 0).repeat(4, 1)
    target = Grid((1, 1, 1), from_matvec(np.diag([4.0, 4, 4]), [1.5] * 3))
    source = Volume(labels, Grid(labels.shape, np.eye(4)))
    assert resample_labels(source, target).item() == 2


def test_the_largest_share_is_chosen_if_the_sum_is_at_least_one_half():
    shares = np.array([[0.2, 0.5, 0.2, 0.0], [0.3, 0.5, 0.2, 0.0]])
    assert label_of_largest_share(shares, [7, 5]).tolist() == [5, 7, 0, 0]


def test_probabilities_of_0_and_1_are_resampled_like_labels():
    labels = np.random.default_rng(1).integers(0, 3, (6, 7, 8))
    maps = [(labels == label).astype(np.float32) for label in (1, 2)]
    source = Grid(labels.shape, AFFINE)
    target = Grid(labels.shape, AFFINE @ from_matvec(np.eye(3), [0.3, 0.2, 0.1]))
    found = resample_probabilities(maps, [1, 2], source, target)
    np.testing.assert_array_equal(found, resample_labels(Volume(labels, source), target))


def test_the_nearest_voxel_is_sampled_and_0_outside():
    labels = Volume(np.arange(1, 25).reshape(2, 3, 4), Grid((2, 3, 4), AFFINE))
    indices = np.array([[0, 0, 0], [1.4, 2.4, 2.6], [0, -0.6, 0], [1, 2, 9]])
    found = sample_nearest(labels, labels.grid.at(indices))
    assert found.tolist() == [1, 24, 0, 0]
