from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nibabel.affines import apply_affine, from_matvec
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_qcm.grids import Grid, Volume
from bids_qcm.segmentation.resampling import (
    box_of_mask,
    label_of_largest_share,
    resample_inside,
    resample_labels,
    resample_nearest,
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
def test_resampling_to_another_order_of_axes_is_exact(axes, signs):
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


def test_values_outside_the_source_are_zero():
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


@pytest.fixture
def head():
    """A ball of two tissues, a pose of 9 degrees and 6 mm, and a finer grid in this pose."""
    grid = Grid((32, 36, 30), from_matvec(np.diag([3.0, -3.0, 3.0]), [-48, 54, -45]))
    labels = ball(grid, 38).astype(np.int16) + ball(grid, 22, centre=(4, -5, 3))
    turned = Rotation.from_rotvec(np.deg2rad(9) * np.array([2, -1, 2]) / 3).as_matrix()
    pose = from_matvec(turned, [4, -3, 3])
    fine = Grid((100, 90, 96), from_matvec(np.diag([-1.0, 1.1, 1.0]), [52, -50, -48]))
    return SimpleNamespace(grid=grid, labels=labels, pose=pose, fine=fine)


def by(matrix):
    return lambda points: apply_affine(matrix, points)


def test_a_constant_map_stays_constant_next_to_holes_and_air(head):
    mask = head.labels > 0
    values = np.where(mask, 0.7, 1e6).astype(np.float32)
    values[ball(head.grid, 6, centre=(10, 10, 10))] = np.nan
    values[ball(head.grid, 4, centre=(-20, 10, 10))] = np.inf
    (found,) = resample_inside([values], mask, head.grid, head.fine, by(head.pose))
    inside = found != 0
    valid = np.isfinite(found) & inside
    np.testing.assert_allclose(found[valid], 0.7, rtol=1e-5)
    cubic = np.prod(head.fine.spacing)
    assert inside.sum() * cubic == pytest.approx(mask.sum() * 27, rel=0.02)
    holes = (mask & ~np.isfinite(values)).sum() * 27
    assert (inside & ~valid).sum() * cubic == pytest.approx(holes, rel=0.3)


def test_a_round_trip_keeps_the_means_of_tissues(head):
    mask = head.labels > 0
    x, y, z = head.grid.points().T.reshape(3, *head.grid.shape)
    smooth = 1 + 0.2 * np.sin(x / 9) * np.cos(y / 11) + z / 200
    # kernels of a reconstruction blur the tissue boundaries of a map
    edges = ndimage.gaussian_filter(np.where(head.labels == 2, 0.35, 0.6), 1.5)
    values = (edges * smooth * mask).astype(np.float32)
    noise = (values / 10).astype(np.float32)
    there = resample_inside([values, noise], mask, head.grid, head.fine, by(head.pose))
    back = resample_inside(
        list(there), there[0] != 0, head.fine, head.grid, by(np.linalg.inv(head.pose))
    )
    for one, other in zip((values, noise), back, strict=True):
        for label in (1, 2):
            tissue = head.labels == label
            mean = other[tissue & (other != 0)].mean()
            assert mean == pytest.approx(one[tissue].mean(), rel=0.02)


def test_tissues_overlap_after_a_known_transform(head):
    found = resample_nearest(Volume(head.labels, head.grid), head.fine, by(head.pose))
    points = apply_affine(head.pose, head.fine.points())
    radius = np.linalg.norm(points, axis=1).reshape(head.fine.shape)
    inner = np.linalg.norm(points - [4, -5, 3], axis=1).reshape(head.fine.shape) < 22
    expected = {2: inner, 1: (radius < 38) & ~inner}
    for label, where in expected.items():
        own = found == label
        assert 2 * (own & where).sum() / (own.sum() + where.sum()) >= 0.95


def test_a_voxel_is_invalid_if_most_of_its_source_is_invalid():
    fine = Grid((8, 4, 4), np.eye(4))
    coarse = Grid((2, 1, 1), from_matvec(np.diag([4.0, 4.0, 4.0]), [1.5] * 3))
    values = np.full(fine.shape, 0.5, np.float32)
    values[:3] = np.nan
    values[4] = np.nan
    (found,) = resample_inside([values], np.ones(fine.shape, bool), fine, coarse)
    np.testing.assert_allclose(found.ravel(), [np.nan, 0.5])


@pytest.mark.parametrize("radius", [2, 9, 30])
def test_the_box_contains_every_voxel_that_overlaps_the_mask(head, radius):
    mask = Volume(ball(head.grid, radius, centre=(9, -7, 5)), head.grid)
    box = box_of_mask(mask, head.fine, by(head.pose))
    outside = np.ones(head.fine.shape, bool)
    outside[box] = False
    points = head.fine.points()[outside.ravel()]
    assert not sample_nearest(mask, points, by(head.pose)).any()
    if radius < 20:
        assert outside.any()


def test_the_box_of_a_mask_outside_the_target_is_empty(head):
    far = by(from_matvec(np.eye(3), [500, 0, 0]))
    mask = head.labels > 0
    values = mask.astype(np.float32)
    assert not resample_inside([values], mask, head.grid, head.fine, far).any()
    assert not resample_nearest(Volume(head.labels, head.grid), head.fine, far).any()
    nothing = Volume(np.zeros_like(head.labels), head.grid)
    assert not resample_nearest(nothing, head.fine).any()
