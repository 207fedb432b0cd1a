from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bids_qcm.recon.kernels import ellipsoid
from bids_qcm.recon.quadratic_fit import fit_quadratic


def compare(slow, volumes, radius, *, use_labels, use_magnitude, n=200):
    """Compare fits at random voxels with NumPy's least squares."""
    support = volumes.as_support(use_labels=use_labels)
    zscore = volumes.zscore.astype(np.float32) if use_magnitude else None
    voxels = np.argwhere(support)
    voxels = np.random.default_rng(1).permutation(voxels)[:n]
    keywords = {"voxel_size": volumes.voxel_size, "radius": radius, "zscore": zscore}
    at = np.zeros(support.shape, bool)
    at[tuple(voxels.T)] = True
    found = fit_quadratic(volumes.phase, support, at=at, **keywords)
    assert np.isnan(found[0][~at]).all()
    found = SimpleNamespace(laplacian=found[0][tuple(voxels.T)], gradient=found[1][:, *voxels.T].T)
    expected = [slow.lstsq_fit(v, volumes.phase, support, **keywords) for v in voxels]
    # Near a condition number of 1e3 (1e6 for the normal matrix), the fit may be valid or invalid.
    clear = np.array([e.condition < 300 or not e.determined for e in expected])
    determined = np.array([e.determined for e in expected])
    np.testing.assert_array_equal(np.isfinite(found.laplacian)[clear], determined[clear])
    valid = clear & determined
    laplacian = np.array([e.laplacian for e in expected])
    gradient = np.array([e.gradient for e in expected])
    return found, laplacian, gradient, valid


@pytest.mark.parametrize("use_magnitude", [False, True])
@pytest.mark.parametrize("use_labels", [False, True])
@pytest.mark.parametrize("radius", [(4.0, 4.0, 4.5), (6.0, 5.0, 7.0)])
def test_fit_is_the_least_squares_solution(slow, volumes, radius, use_labels, use_magnitude):
    found, laplacian, gradient, valid = compare(
        slow, volumes, radius, use_labels=use_labels, use_magnitude=use_magnitude
    )
    assert valid.mean() > 0.5
    spread = laplacian[valid].std()
    np.testing.assert_allclose(found.laplacian[valid], laplacian[valid], atol=1e-4 * spread)
    spread = gradient[valid].std()
    np.testing.assert_allclose(found.gradient[valid], gradient[valid], atol=1e-4 * spread)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(st.integers(1, 12), st.integers(3, 12), st.integers(3, 12)),
    voxel_size=st.tuples(*[st.floats(0.7, 2.5)] * 3),
    voxels_of_radius=st.floats(1.0, 3.0),
    use_labels=st.booleans(),
    use_magnitude=st.booleans(),
)
def test_fit_is_the_least_squares_solution_anywhere(
    slow, seed, shape, voxel_size, voxels_of_radius, use_labels, use_magnitude
):
    volumes = slow.make_volumes(shape, voxel_size, seed)
    assume((volumes.mask & (volumes.labels > 0)).sum() > 1)
    radius = tuple(voxels_of_radius * d for d in voxel_size)
    found, laplacian, _, valid = compare(
        slow, volumes, radius, use_labels=use_labels, use_magnitude=use_magnitude, n=20
    )
    scale = np.abs(laplacian[valid]).max(initial=1.0)
    np.testing.assert_allclose(found.laplacian[valid], laplacian[valid], atol=1e-3 * scale)


def test_in_plane_fit_drops_the_axis(slow, volumes):
    found, laplacian, _, valid = compare(
        slow, volumes, (5.0, 5.0, 0.0), use_labels=False, use_magnitude=False
    )
    assert valid.mean() > 0.5
    spread = laplacian[valid].std()
    np.testing.assert_allclose(found.laplacian[valid], laplacian[valid], atol=1e-4 * spread)
    assert not found.gradient[valid][:, 2].any()


def test_too_few_or_coplanar_voxels_are_invalid():
    phase = np.zeros((9, 9, 9), np.float32)
    support = np.zeros(phase.shape, np.int32)
    support[3:6, 3:6, 4:6] = 1  # two layers leave the curvature across them underdetermined
    support[0, 0, :] = 2  # a line
    fit = fit_quadratic(phase, support, voxel_size=(1.0, 1.0, 1.0), radius=(3.0, 3.0, 3.0))
    assert np.isnan(fit.laplacian).all()
    assert np.isnan(fit.gradient).all()
    support[3:6, 3:6, 6] = 1
    laplacian, *_ = fit_quadratic(
        phase, support, voxel_size=(1.0, 1.0, 1.0), radius=(3.0, 3.0, 3.0)
    )
    assert laplacian[4, 4, 5] == 0


def test_labels_are_never_mixed():
    phase = np.zeros((20, 9, 9), np.float32)
    phase[10:] = 100.0  # a jump that would change any mixed fit
    support = np.ones(phase.shape, np.int32)
    support[10:] = 2
    fit = fit_quadratic(phase, support, voxel_size=(1.0, 1.0, 1.0), radius=(4.0, 4.0, 4.0))
    np.testing.assert_allclose(fit.laplacian, 0, atol=1e-3)
    np.testing.assert_allclose(fit.gradient, 0, atol=1e-6)


@pytest.mark.parametrize("voxels_of_radius", [4, 7])
def test_noise_agrees_with_the_limit_for_an_unrestricted_ball(voxels_of_radius):
    radius, sd, size = float(voxels_of_radius), 0.02, 2 * voxels_of_radius + 25
    noise = np.random.default_rng(2).normal(scale=sd, size=(size,) * 3).astype(np.float32)
    support = np.ones(noise.shape, np.int32)
    laplacian, *_ = fit_quadratic(noise, support, voxel_size=(1.0, 1.0, 1.0), radius=(radius,) * 3)
    inner = (slice(voxels_of_radius, -voxels_of_radius),) * 3
    n = ellipsoid((radius,) * 3, (1.0, 1.0, 1.0)).sum()
    limit = sd * np.sqrt(525 / n) / (radius * 1e-3) ** 2
    # the tolerance is large because the limit is for a continuous ball and estimates are correlated
    assert laplacian[inner].std() == pytest.approx(limit, rel=0.1)
