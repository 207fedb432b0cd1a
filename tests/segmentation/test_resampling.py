import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nibabel.affines import apply_affine

from bids_qcm.segmentation.resampling import (
    grid_points,
    label_of_largest_share,
    resample_labels,
    resample_probabilities,
    sample_nearest,
)

AFFINE = nib.affines.from_matvec(np.diag([1.5, -2.0, 3.0]), [3, 4, 5])


@given(arrays(np.int16, (3, 4, 5), elements=st.integers(-3, 3)))
@settings(max_examples=20, deadline=None)
def test_the_same_grid_changes_nothing(labels):
    np.testing.assert_array_equal(resample_labels(labels, AFFINE, labels.shape, AFFINE), labels)


@given(st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([-1, 1])] * 3))
@settings(max_examples=20, deadline=None)
def test_another_order_of_axes_is_exact(axes, signs):
    labels = np.random.default_rng(0).integers(0, 4, (4, 5, 6))
    image = nib.Nifti1Image(labels.astype(np.int16), AFFINE)
    other = image.as_reoriented(np.stack([np.array(axes), np.array(signs)], axis=1))
    found = resample_labels(labels, AFFINE, other.shape, other.affine)
    np.testing.assert_array_equal(found, np.asarray(other.dataobj))


def ball(shape, affine, radius, centre=(0, 0, 0)):
    points = grid_points(shape, affine)
    return (np.linalg.norm(points - centre, axis=1) < radius).reshape(shape)


def test_a_coarser_grid_keeps_volumes():
    fine = np.eye(4)
    fine[:3, 3] = -24
    labels = ball((49,) * 3, fine, 20).astype(int) + ball((49,) * 3, fine, 12)
    coarse = np.diag([3.0, 4.0, 3.5, 1])
    coarse[:3, 3] = -25
    found = resample_labels(labels, fine, (18, 14, 16), coarse)
    for label in (1, 2):
        volume = (found == label).sum() * 42
        assert volume == pytest.approx((labels == label).sum(), rel=0.05)


def test_points_are_mapped_from_the_target_to_the_source():
    affine = np.eye(4)
    affine[:3, 3] = -10
    labels = ball((21,) * 3, affine, 5)

    def point_map(points):
        return points - [3, 0, 0]

    found = resample_labels(labels, affine, labels.shape, affine, point_map)
    np.testing.assert_array_equal(found, ball(labels.shape, affine, 5, centre=(3, 0, 0)))


def test_nothing_is_found_outside_the_source():
    labels = np.ones((4, 4, 4), int)
    target = np.eye(4)
    target[:3, 3] = -2
    found = resample_labels(labels, np.eye(4), (8, 8, 8), target)
    assert (found[2:6, 2:6, 2:6] == 1).all()
    assert found.sum() == 64


def test_the_label_that_fills_most_of_a_voxel_is_chosen():
    # three labels share one target voxel, and label 2 fills the largest part
    labels = np.array([1, 2, 2, 3], int).reshape(1, 1, 4).repeat(4, 0).repeat(4, 1)
    target = np.diag([4.0, 4, 4, 1])
    target[:3, 3] = 1.5
    assert resample_labels(labels, np.eye(4), (1, 1, 1), target).item() == 2


def test_the_largest_share_is_chosen_if_the_sum_is_at_least_one_half():
    shares = np.array([[0.2, 0.5, 0.2, 0.0], [0.3, 0.5, 0.2, 0.0]])
    assert label_of_largest_share(shares, [7, 5]).tolist() == [5, 7, 0, 0]


def test_probabilities_of_0_and_1_are_resampled_like_labels():
    labels = np.random.default_rng(1).integers(0, 3, (6, 7, 8))
    maps = [(labels == label).astype(np.float32) for label in (1, 2)]
    target = AFFINE @ nib.affines.from_matvec(np.eye(3), [0.3, 0.2, 0.1])
    found = resample_probabilities(maps, [1, 2], AFFINE, labels.shape, target)
    np.testing.assert_array_equal(found, resample_labels(labels, AFFINE, labels.shape, target))


def test_the_nearest_voxel_is_sampled_and_0_outside():
    labels = np.arange(1, 25).reshape(2, 3, 4)
    indices = np.array([[0, 0, 0], [1.4, 2.4, 2.6], [0, -0.6, 0], [1, 2, 9]])
    found = sample_nearest(labels, AFFINE, apply_affine(AFFINE, indices))
    assert found.tolist() == [1, 24, 0, 0]


def test_a_step_leaves_out_points():
    points = grid_points((4, 5, 6), AFFINE, step=2)
    expected = apply_affine(AFFINE, [[1, 1, 1], [3, 3, 5]])
    np.testing.assert_allclose(points[[0, -1]], expected)
    assert len(points) == 2 * 2 * 3
