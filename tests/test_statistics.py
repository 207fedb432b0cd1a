import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.morphology import ball, erosion

from bids_qcm.statistics import (
    EROSIONS,
    WHOLE_MASK,
    RunningMoments,
    describe,
    eroded_tissues,
    mean_weights,
    region_statistics,
    standard_error,
    tissue_statistics,
)


def regions(labels, erosions=EROSIONS):
    return {(one.label, one.erosion): one.voxels for one in eroded_tissues(labels, erosions)}


def test_statistics_of_known_numbers_are_correct():
    # with Hazen's formula, the quartiles of 1, 2, 3, 4 are 1.5 and 3.5
    found = describe(np.array([4, np.nan, 2, 1, 3, np.inf, -np.inf, np.nan], np.float32))
    assert found.n == 8
    assert found.mean == found.median == 2.5
    assert found.sd == pytest.approx(np.sqrt(5 / 3))
    assert found.iqr == 2
    assert found.invalid_fraction == 0.5


@pytest.mark.filterwarnings("error")
def test_too_few_valid_voxels_have_no_statistics():
    one = describe(np.array([0.3, np.nan]))
    assert (one.n, one.mean, one.median, one.iqr) == (2, 0.3, 0.3, 0)
    assert np.isnan(one.sd)
    none = describe(np.full(3, np.nan))
    assert (none.n, none.invalid_fraction) == (3, 1)
    assert np.isnan([none.mean, none.sd, none.median, none.iqr]).all()
    empty = describe(np.array([]))
    assert empty.n == 0
    assert np.isnan([empty.mean, empty.sd, empty.median, empty.iqr, empty.invalid_fraction]).all()


def test_sums_are_in_double_precision():
    values = np.full(2_000_000, 0.342, np.float32)
    assert describe(values).mean == pytest.approx(np.float32(0.342), rel=1e-12)


@settings(deadline=None, max_examples=60)
@given(
    arrays(np.int8, array_shapes(min_dims=3, max_dims=3, max_side=9), elements=st.integers(0, 2))
)
def test_erosion_agrees_with_a_ball_in_voxels(labels):
    # scikit-image pads the border with True, so the border is not eroded
    found = regions(labels, (0, 1, 2))
    for label in np.unique(labels[labels > 0]):
        tissue = labels == label
        assert (found[label, 0] == tissue).all()
        for radius in (1, 2):
            assert (found[label, radius] == erosion(tissue, ball(radius))).all()


def test_erosion_does_not_change_a_tissue_that_fills_the_volume():
    assert regions(np.ones((3, 4, 5), int))[1, 4].all()


def test_a_single_slice_is_eroded_in_its_plane():
    labels = np.zeros((11, 11, 1), int)
    labels[1:10, 1:10] = 1
    found = regions(labels)
    assert found[1, 2].sum() == 25
    assert found[1, 4].sum() == 1


def test_a_tissue_is_eroded_at_other_labels_but_not_at_the_border_of_the_volume():
    labels = np.zeros((12, 7, 7), int)
    labels[:4] = 1
    labels[4:8] = 3
    found = regions(labels, (2,))
    assert list(found) == [(1, 2), (3, 2)]
    assert np.flatnonzero(found[1, 2].all(axis=(1, 2))).tolist() == [0, 1]
    assert not found[3, 2].any()


def test_tissues_are_eroded_before_they_are_restricted_to_the_mask():
    labels = np.zeros((12, 11, 11), int)
    labels[:6], labels[6:11], labels[11] = 1, 3, 7
    mask = np.zeros(labels.shape, bool)
    mask[:9, 1:] = True
    conductivity = np.where(labels == 1, 0.3, 2.0)
    conductivity[0, 1, 0] = np.nan
    conductivity[~mask] = 0
    found = {
        (one.label, one.erosion): one
        for one in tissue_statistics(conductivity, mask, labels, (0, 2))
    }
    assert list(found) == [(WHOLE_MASK, 0), (1, 0), (1, 2), (3, 0), (3, 2)]
    assert {key: one.n // 110 for key, one in found.items()} == {
        (WHOLE_MASK, 0): 9, (1, 0): 6, (1, 2): 4, (3, 0): 3, (3, 2): 1,
    }  # fmt: skip
    assert found[1, 2].mean == pytest.approx(0.3)
    assert found[3, 0].mean == pytest.approx(2.0)
    assert found[1, 0].invalid_fraction == pytest.approx(1 / 660)


def test_without_labels_only_the_mask_has_statistics():
    mask = np.zeros((3, 3, 3), bool)
    mask[1] = True
    (one,) = tissue_statistics(np.where(mask, 0.5, 0.0), mask)
    assert (one.label, one.erosion, one.n, one.mean) == (WHOLE_MASK, 0, 9, 0.5)


def test_running_moments_agree_with_the_moments_of_all_maps():
    values = 1e3 + np.random.default_rng(0).normal(size=(9, 4, 5))
    values[2:, 0, 0] = np.nan
    values[1:, 0, 1] = np.inf
    values[:, 0, 2] = np.nan
    moments = RunningMoments((4, 5))
    for one in values:
        moments.add(one)
    valid = np.where(np.isfinite(values), values, np.nan)
    np.testing.assert_array_equal(moments.n, np.isfinite(values).sum(axis=0))
    np.testing.assert_allclose(moments.mean[1:], values[:, 1:].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.sd[1:], values[:, 1:].std(axis=0, ddof=1), rtol=1e-9)
    assert moments.sd[0, 0] == pytest.approx(np.nanstd(valid[:, 0, 0], ddof=1), rel=1e-9)
    assert np.isnan(moments.sd[0, 1])
    assert np.isnan(moments.mean[0, 2])


def test_regions_have_the_statistics_of_their_voxels():
    rng = np.random.default_rng(0)
    labels = rng.integers(1, 5, (4, 4, 4)).repeat(4, 0).repeat(4, 1).repeat(4, 2) * 10
    labels[:, :, 8:] = 7
    mask = rng.random(labels.shape) < 0.8
    values = rng.normal(size=labels.shape)
    values[rng.random(labels.shape) < 0.1] = np.nan
    noise = rng.normal(size=(5, mask.sum()))
    found = region_statistics(values, mask, labels, noise)
    reference = {(one.label, one.erosion): one.voxels for one in eroded_tissues(labels, (0, 1))}
    assert [(one.label, one.erosion) for one in found] == list(reference)
    for one in found:
        voxels = reference[one.label, one.erosion] & mask
        expected = describe(values[voxels])
        assert (one.n, one.median, one.iqr) == (expected.n, expected.median, expected.iqr)
        assert one.mean == pytest.approx(expected.mean)
        used = (voxels & np.isfinite(values))[mask]
        error = np.sqrt(np.mean(noise[:, used].mean(axis=1) ** 2))
        assert one.standard_error == pytest.approx(error)


def test_regions_without_noise_maps_have_no_standard_error():
    labels = np.array([[[0, 3, 0, 5]]])
    values, mask = np.ones(labels.shape), labels != 5
    found = region_statistics(values, mask, labels)
    assert [(one.label, one.erosion, one.n) for one in found] == [(3, 0, 1), (3, 1, 0)]
    assert np.isnan([one.standard_error for one in found]).all()
    empty = region_statistics(values, mask, labels, np.ones((2, 3)))[1]
    assert np.isnan(empty.standard_error)


def test_standard_errors_of_means_and_differences_are_correct():
    rng = np.random.default_rng(1)
    independent = rng.normal(size=(4000, 9))
    every = np.full(9, 1 / 9)
    assert standard_error(independent, every) == pytest.approx(1 / 3, rel=0.03)
    shared = np.tile(independent[:, :1], 9)
    assert standard_error(shared, every) == pytest.approx(1, rel=0.03)
    weights = np.where(np.arange(9) < 3, 1 / 3, -1 / 6)
    expected = np.sqrt(1 / 3 + 1 / 6)
    assert standard_error(independent, weights) == pytest.approx(expected, rel=0.03)
    assert standard_error(shared, weights) == pytest.approx(0, abs=1e-9)
    independent[:, 0] = np.nan
    assert standard_error(independent, weights * (np.arange(9) > 0)) > 0


def test_weights_of_a_mean_are_equal_where_map_and_noise_are_finite():
    noise = np.ones((3, 6))
    values = np.ones(6)
    noise[1, 0] = values[1] = np.nan
    region = np.arange(6) < 4
    np.testing.assert_array_equal(mean_weights(values, noise, region), [0, 0, 0.5, 0.5, 0, 0])
    np.testing.assert_array_equal(mean_weights(values, noise), [0, 0, 0.25, 0.25, 0.25, 0.25])
    none = mean_weights(values, noise, np.arange(6) < 2)
    assert np.isnan(none).all()
    assert np.isnan(standard_error(noise, none))
