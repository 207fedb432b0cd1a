"""Comparison of standard deviations with explicit propagation, theory and realisations."""

import numpy as np
import pytest

from bids_qcm.recon import METHODS, reconstruct
from bids_qcm.recon.finite_difference import fd_laplacian, fd_laplacian_std
from bids_qcm.recon.kernels import ellipsoid
from bids_qcm.recon.quadratic_fit import fit_gradients, fit_quadratic
from bids_qcm.recon.replicates import (
    Noise,
    replicate_noise,
    select_at_spacing,
    spacing_of_noise,
)

LOCAL = [name for name, method in METHODS.items() if method.form in ("laplacian", "integral")]
F = 127.74e6


@pytest.mark.parametrize("use_magnitude", [False, True])
@pytest.mark.parametrize("use_labels", [False, True])
def test_fit_propagates_every_voxel_of_the_support(slow, volumes, use_labels, use_magnitude):
    support = volumes.as_support(use_labels=use_labels)
    zscore = volumes.zscore.astype(np.float32) if use_magnitude else None
    noise = np.random.default_rng(0).uniform(0.01, 0.1, support.shape).astype(np.float32)
    keywords = {"voxel_size": volumes.voxel_size, "radius": (4.0, 4.0, 4.5), "zscore": zscore}
    found = fit_quadratic(volumes.phase, support, noise=noise, **keywords)
    for voxel in np.random.default_rng(1).permutation(np.argwhere(support))[:5]:
        if np.isnan(found.laplacian[tuple(voxel)]):
            continue
        variance = 0.0
        for j in voxel + slow.ellipsoid_offsets((4.0, 4.0, 4.5), volumes.voxel_size):
            if (j < 0).any() or (j >= support.shape).any():
                continue
            impulse = np.zeros(support.shape, np.float32)
            impulse[tuple(j)] = 1
            coefficient = slow.lstsq_fit(voxel, impulse, support, **keywords).laplacian
            variance += (coefficient * noise[tuple(j)]) ** 2
        assert found.laplacian_std[tuple(voxel)] == pytest.approx(np.sqrt(variance), rel=1e-3)
    np.testing.assert_array_equal(np.isnan(found.laplacian), np.isnan(found.laplacian_std))


@pytest.mark.parametrize("voxel_size", [(1.0, 1.0, 1.0), (0.8, 1.0, 1.3)])
@pytest.mark.parametrize("restricted", [False, True])
def test_the_noise_in_an_unrestricted_ball_approaches_the_limit(voxel_size, restricted):
    radius, sd = 12.0, 0.02
    kernel = ellipsoid((radius,) * 3, voxel_size)
    support = np.ones([n + 2 for n in kernel.shape], np.int32)
    # test fits with a normal matrix for each voxel, and fits with one stencil for all voxels
    support[0, 0, 0] = 2 if restricted else 1
    noise = np.full(support.shape, sd, np.float32)
    std = fit_quadratic(
        noise, support, voxel_size=voxel_size, radius=(radius,) * 3, noise=noise
    ).laplacian_std
    centre = tuple(n // 2 for n in support.shape)
    limit = sd * np.sqrt(525 / kernel.sum()) / (radius * 1e-3) ** 2
    assert std[centre] == pytest.approx(limit, rel=0.03)


def test_magnitude_noise_changes_the_weights():
    rng = np.random.default_rng(2)
    shape, jitter = (17, 17, 17), 0.02
    x = (np.mgrid[:17, :17, :17] - 8) * 1e-3
    phase = (3000 * (np.maximum(x[0], 0) ** 2) + 500 * (x**2).sum(axis=0)).astype(np.float32)
    support = np.ones(shape, np.int32)
    magnitude = np.where(x[0] > 0, 0.4, -0.4) + 0.2 * rng.normal(size=shape)
    at = np.zeros(shape, bool)
    at[5:12, 5:12, 5:12] = True
    keywords = {"voxel_size": (1.0, 1.0, 1.0), "radius": (5.0, 5.0, 5.0), "at": at}

    def fit(zscore, **noise):
        return fit_quadratic(phase, support, zscore=zscore.astype(np.float32), **keywords, **noise)

    still = np.zeros(shape, np.float32)
    predicted = fit(magnitude, noise=still, zscore_noise=jitter).laplacian_std[at]
    maps = [fit(magnitude + jitter * rng.normal(size=shape)).laplacian[at] for _ in range(60)]
    ratio = np.std(maps, axis=0, ddof=1) / predicted
    assert np.median(ratio) == pytest.approx(1, abs=0.05)
    assert np.mean((ratio > 0.7) & (ratio < 1.4)) > 0.95


def test_the_predicted_noise_of_finite_differences_is_correct(volumes):
    rng = np.random.default_rng(3)
    noise = rng.uniform(0.01, 0.1, volumes.mask.shape)
    predicted = fd_laplacian_std(noise, volumes.mask, volumes.voxel_size)
    maps = [
        fd_laplacian(noise * rng.normal(size=noise.shape), volumes.mask, volumes.voxel_size)
        for _ in range(400)
    ]
    assert np.isfinite(predicted).any()
    np.testing.assert_allclose(np.std(maps, axis=0), predicted, rtol=0.2)


@pytest.mark.parametrize("use_magnitude", [False, True])
def test_replicates_are_fitted_like_the_phase(volumes, use_magnitude):
    support = volumes.as_support(use_labels=True)
    noise = np.random.default_rng(4).normal(size=(3, *support.shape)).astype(np.float32)
    zscore = volumes.zscore.astype(np.float32) if use_magnitude else None
    keywords = {"voxel_size": volumes.voxel_size, "radius": (5.0, 5.0, 5.0), "zscore": zscore}
    together, _ = fit_gradients(noise, support, **keywords)
    for found, phase in zip(together, noise, strict=True):
        alone = fit_quadratic(phase, support, **keywords).gradient[:, support != 0]
        valid = np.isfinite(alone) & np.isfinite(found)
        assert valid[0].mean() > 0.9
        spread = alone[valid].std()
        np.testing.assert_allclose(found[valid], alone[valid], atol=0.02 * spread)


@pytest.mark.parametrize("sparse", [False, True])
def test_replicates_of_a_known_estimator_have_its_standard_deviation(sparse):
    shape = (20, 20, 20)
    support = np.ones(shape, np.int32)
    support[10:] = 2
    sd = np.where(support == 1, 0.1, 0.3).astype(np.float32)

    def estimate(phases, zscore, at):
        return np.stack([5 * phase[at] for phase in phases])

    still = np.zeros(shape, np.float32)
    at = select_at_spacing(support, 3) if sparse else None
    std = replicate_noise(estimate, still, still, support, Noise(sd, 0.0), None, at=at).std
    assert np.isfinite(std).all()
    np.testing.assert_allclose(np.sqrt(np.mean((std / sd) ** 2)), 5, rtol=0.02)


@pytest.mark.parametrize("use_magnitude", [False, True])
def test_sparse_variances_are_averaged_over_neighbours(use_magnitude):
    """The relative error is 13 % for 32 replicates, and 7 % with averaging over neighbours in z."""
    shape, spacing = (30, 30, 12), 3
    support = np.ones(shape, np.int32)
    still = np.zeros(shape, np.float32)

    def estimate(phases, zscore, at):
        return np.stack([5 * phase[at] for phase in phases])

    std = replicate_noise(
        estimate,
        still,
        still,
        support,
        Noise(np.full(shape, 0.2, np.float32), 0.0),
        still if use_magnitude else None,
        at=select_at_spacing(support, spacing),
        spacing=spacing,
    ).std
    assert np.median(std) == pytest.approx(1, rel=0.02)
    assert np.std(std) < 0.04


def test_replicates_of_the_magnitude_add_their_variance():
    shape = (20, 20, 20)
    support = np.ones(shape, np.int32)
    rng = np.random.default_rng(5)
    zscore = 0.1 * rng.normal(size=shape).astype(np.float32)
    phase = np.full(shape, 30, np.float32)

    def estimate(phases, zscore, at):
        return np.stack([((5 + zscore) * phase)[at] for phase in phases])

    noise = Noise(np.full(shape, 0.1, np.float32), 0.02)
    laplacian = (5 + zscore) * phase
    std = replicate_noise(estimate, phase, laplacian, support, noise, zscore).std
    # combine the phase noise of the estimator and the change of its mean with the magnitude
    expected = np.hypot(5 * 0.1, 30 * 0.02)
    assert np.sqrt(np.mean(std**2)) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("method", LOCAL)
def test_every_local_method_has_a_standard_deviation_where_it_has_a_map(small_volumes, method):
    volumes = small_volumes
    keywords = {
        "method": method,
        "voxel_size": (1.0, 1.0, 1.0),
        "frequency": F,
        "mask": volumes.mask,
        "magnitude": volumes.magnitude,
        "labels": volumes.labels,
        "n_threads": 1,
        "fit_radius": 4,
        "integral_radius": 5,
    }
    without = reconstruct(volumes.phase, **keywords)
    assert without.conductivity_std is None
    found = reconstruct(volumes.phase, phase_noise=0.05, magnitude_noise=0.01, **keywords)
    np.testing.assert_array_equal(found.conductivity, without.conductivity)
    std = found.conductivity_std
    assert std.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(std), np.isnan(found.conductivity))
    assert (std[~volumes.mask] == 0).all()
    assert (std[volumes.mask & np.isfinite(std)] > 0).all()
    double = reconstruct(volumes.phase, phase_noise=0.1, **keywords).conductivity_std
    half = reconstruct(-volumes.phase, phase_noise=0.05, sign="-", **keywords).conductivity_std
    np.testing.assert_allclose(double, 2 * half, rtol=0.01)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({"phase_noise": -1.0}, "phase noise must be finite and not negative"),
        ({"phase_noise": np.nan}, "phase noise must be finite"),
        ({"phase_noise": np.ones((2, 2, 2))}, "phase noise has shape"),
        ({"phase_noise": 1.0, "magnitude_noise": -1.0}, "magnitude noise is -1"),
    ],
)
def test_invalid_noise_is_refused(volumes, noise, message):
    with pytest.raises(ValueError, match=message):
        reconstruct(volumes.phase, method="laplacian", voxel_size=1, frequency=F, **noise)


@pytest.mark.parametrize(
    ("radius", "voxel_size", "axes", "spacing"),
    [
        ((10.0, 10.0, 10.0), (2.0, 2.0, 2.0), (0, 1, 2), 2),
        # the axis with the fewest voxels within the radius counts
        ((10.0, 10.0, 10.0), (2.0, 2.0, 5.0), (0, 1, 2), 1),
        ((10.0, 10.0, 0.0), (2.0, 2.0, 5.0), (0, 1), 2),
        ((50.0, 50.0, 50.0), (1.0, 1.0, 1.0), (0, 1, 2), 3),
    ],
)
def test_the_spacing_of_noise_depends_on_the_radius_in_voxels(radius, voxel_size, axes, spacing):
    assert spacing_of_noise(radius, voxel_size, axes, 0.4) == spacing
