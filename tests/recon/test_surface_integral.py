import numpy as np
import pytest

from bids_qcm.recon.surface_integral import integrate_surface


@pytest.mark.parametrize("use_magnitude", [False, True])
@pytest.mark.parametrize("use_labels", [False, True])
@pytest.mark.parametrize("radius", [(2.0, 2.6, 2.2), (5.0, 4.0, 6.0)])
def test_integral_is_the_sum_over_pairs(slow, volumes, radius, use_labels, use_magnitude):
    support = volumes.as_support(use_labels=use_labels)
    zscore = volumes.zscore.astype(np.float32) if use_magnitude else None
    rng = np.random.default_rng(3)
    gradient = rng.normal(size=(3, *support.shape)).astype(np.float32)
    gradient[:, rng.random(support.shape) < 0.1] = np.nan
    keywords = {"voxel_size": volumes.voxel_size, "radius": radius, "zscore": zscore}
    found = integrate_surface(gradient, support, **keywords)
    voxels = rng.permutation(np.argwhere(support))[:60]
    expected = np.array([slow.integral_at(v, gradient, support, **keywords) for v in voxels])
    assert np.isfinite(expected).any()
    np.testing.assert_allclose(found[tuple(voxels.T)], expected, rtol=1e-4, atol=1e-2)
    assert np.isnan(found[support == 0]).all()


def test_in_plane_integral_needs_no_pairs_across(slow, volumes):
    support = volumes.as_support(use_labels=False)
    gradient = np.random.default_rng(4).normal(size=(3, *support.shape)).astype(np.float32)
    keywords = {"voxel_size": volumes.voxel_size, "radius": (3.0, 3.0, 0.0), "axes": (0, 1)}
    found = integrate_surface(gradient, support, **keywords)
    for voxel in np.argwhere(support)[::200]:
        expected = slow.integral_at(voxel, gradient, support, **keywords)
        np.testing.assert_allclose(found[tuple(voxel)], expected, rtol=1e-4, atol=1e-2)


def test_a_voxel_without_a_pair_along_an_axis_is_invalid():
    support = np.zeros((7, 7, 7), np.int32)
    support[:, :, 3] = 1
    found = integrate_surface(
        np.zeros((3, 7, 7, 7), np.float32), support, voxel_size=(1, 1, 1), radius=(2, 2, 2)
    )
    assert np.isnan(found).all()


def test_the_integral_of_a_linear_gradient_is_its_divergence_at_any_radius():
    # If the flux were divided by the number of voxels instead of the swept volume, the result would
    # be too small at each radius.
    x, y, z = np.mgrid[:15, :15, :15] * 1e-3
    gradient = np.stack([2 * x, 3 * y, 5 * z]).astype(np.float32)
    support = np.ones((15, 15, 15), np.int32)
    for radius in (1.0, 3.0, 6.0):
        found = integrate_surface(
            gradient, support, voxel_size=(1, 1, 1), radius=(radius, radius, radius)
        )
        np.testing.assert_allclose(found, 10, rtol=1e-4)
