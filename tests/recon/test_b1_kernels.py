"""The magnitude of B1+ in the methods with kernels."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bids_qcm.recon import METHODS, reconstruct
from bids_qcm.recon.finite_difference import fd_laplacian, fd_laplacian_std, gradient_of_smooth
from bids_qcm.recon.quadratic_fit import fit_quadratic
from tests.recon.spheres import Sphere

LOCAL = [name for name, method in METHODS.items() if method.form in ("laplacian", "integral")]
F = 127.74e6
RADII = {"fit_radius": (4.0, 4.0, 4.5), "integral_radius": (5.0, 4.0, 6.0)}


@pytest.fixture(scope="module")
def sphere():
    return Sphere(4.0)


def make_b1(volumes):
    """Return a map that changes by a few percent from voxel to voxel."""
    return np.exp(gaussian_filter(np.random.default_rng(7).normal(size=volumes.mask.shape), 3))


@pytest.fixture(scope="module")
def b1(volumes):
    return make_b1(volumes)


@pytest.fixture(scope="module")
def fits():
    """Return a dictionary in which maps of the volumes share their fits."""
    return {}


def keywords_of(volumes, method, radii=RADII):
    return {
        "method": method,
        "voxel_size": volumes.voxel_size,
        "frequency": F,
        "mask": volumes.mask,
        "magnitude": volumes.magnitude,
        "labels": volumes.labels,
        "n_threads": 1,
        **radii,
    }


@pytest.mark.parametrize("method", LOCAL)
def test_the_true_map_yields_the_true_conductivity_at_all_depths(sphere, method):
    radii = {"fit_radius": 9, "integral_radius": 8}
    noise = np.random.default_rng(0).normal(size=sphere.inside.shape)
    given = {
        "method": method,
        "magnitude": 100 + noise,
        "labels": sphere.inside.astype(int),
        **radii,
        **sphere.keywords,
    }
    without = reconstruct(sphere.phase, **given).conductivity
    found = reconstruct(sphere.phase, b1_map=sphere.b1, **given).conductivity
    assert sphere.median(without, 3, 10) > 0.75
    for depths in [(0, 4), (4, 10), (10, 20), (20, 35), (35, 60), (60, 85)]:
        assert sphere.median(found, *depths) == pytest.approx(0.5, abs=0.004)
    inner = sphere.depth > 4
    spread = np.nanpercentile(found[inner], [1, 99])
    assert spread == pytest.approx([0.5, 0.5], abs=0.04)


@pytest.mark.parametrize("method", LOCAL)
def test_maps_agree_with_the_definition(slow, volumes, b1, fits, method):
    found = reconstruct(volumes.phase, b1_map=b1, **keywords_of(volumes, method)).conductivity
    voxels = np.random.default_rng(1).permutation(np.argwhere(volumes.mask))[:60]
    radii = {k: r for k, r in RADII.items() if getattr(METHODS[method], k) is not None}
    given = {**radii, "smallest_pivot": 1e-6, "fits": fits}
    expected = slow.Map(volumes, method, F, **given, b1=b1).at(voxels)
    phase_only = slow.Map(volumes, method, F, **given).at(voxels)
    found = found[tuple(voxels.T)]
    valid = np.isfinite(expected) & np.isfinite(found)
    # because of rounding errors, a pivot near the limit may be on either side of the limit
    assert np.mean(np.isfinite(expected) == np.isfinite(found)) > 0.95
    assert valid.mean() > 0.25
    scale = 1e-3 * np.std(expected[valid])
    np.testing.assert_allclose(found[valid], expected[valid], atol=scale)
    # the map of B1+ must have an effect
    assert np.max(np.abs(phase_only - expected)[valid]) > 10 * scale


@pytest.mark.parametrize("method", ["laplacian", "integral-mag", "integral-seg-ivw"])
def test_in_plane_kernels_ignore_the_third_axis(slow, volumes, b1, method):
    radii = {"fit_radius": (5.0, 5.0, 0.0), "integral_radius": (4.0, 5.0, 0.0)}
    found = reconstruct(volumes.phase, b1_map=b1, **keywords_of(volumes, method, radii))
    voxels = np.random.default_rng(1).permutation(np.argwhere(volumes.mask))[:60]
    if METHODS[method].integral_radius is None:
        radii.pop("integral_radius")
    expected = slow.Map(volumes, method, F, **radii, smallest_pivot=1e-6, b1=b1).at(voxels)
    found = found.conductivity[tuple(voxels.T)]
    valid = np.isfinite(expected) & np.isfinite(found)
    assert valid.mean() > 0.25
    np.testing.assert_allclose(
        found[valid], expected[valid], atol=1e-3 * np.std(expected[valid]), rtol=1e-4
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_map_does_not_change_the_result(slow, method):
    volumes = slow.make_volumes((12, 10, 8))
    given = keywords_of(volumes, method) | {"phase_noise": 0.05, "magnitude_noise": 0.01}
    without = reconstruct(volumes.phase, **given)
    found = reconstruct(volumes.phase, b1_map=np.full(volumes.mask.shape, 87.3), **given)
    assert found.conductivity.tobytes() == without.conductivity.tobytes()
    assert found.conductivity_std.tobytes() == without.conductivity_std.tobytes()


@pytest.mark.parametrize("method", LOCAL)
def test_a_nearly_constant_map_hardly_changes_the_map(small_volumes, method):
    """The separate code for a constant map agrees with the limit of the general code."""
    volumes, b1 = small_volumes, make_b1(small_volumes)
    given = keywords_of(volumes, method) | {"phase_noise": 0.05, "magnitude_noise": 0.01}
    without = reconstruct(volumes.phase, **given)
    found = reconstruct(volumes.phase, b1_map=1 + 1e-6 * b1, **given)
    for name in ("conductivity", "conductivity_std"):
        expected = getattr(without, name)
        close = np.isclose(
            getattr(found, name), expected, 1e-3, 1e-3 * np.nanstd(expected), equal_nan=True
        )
        # The loops are compiled separately and have different rounding errors, which are visible
        # in ill-conditioned fits.
        assert close.mean() > 0.998


@pytest.mark.parametrize("method", ["laplacian-magseg", "integral-mag-ivw"])
def test_the_unit_of_the_map_does_not_matter(volumes, b1, method):
    one, other = (
        reconstruct(volumes.phase, b1_map=unit * b1, **keywords_of(volumes, method)).conductivity
        for unit in (1, 90)
    )
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * np.nanstd(one))


@pytest.mark.parametrize("method", ["laplacian", "integral"])
def test_a_linear_phase_biases_the_result_where_the_map_varies(sphere, method):
    ramp = 10 * sphere.x[0]
    given = {"method": method, "fit_radius": 9, **sphere.keywords, "sign": "-"}
    if method == "integral":
        given["integral_radius"] = 8
    without, moved = (
        [
            reconstruct(phase, b1_map=b, **given).conductivity
            for phase in (sphere.phase, sphere.phase + ramp)
        ]
        for b in (None, sphere.b1)
    )
    np.testing.assert_allclose(without[1], without[0], atol=1e-3)
    slope = gradient_of_smooth(2 * np.log(sphere.b1), sphere.inside, (4.0, 4.0, 4.0))[0]
    inner = sphere.depth > 15
    expected = -10 * slope / (1.25663706212e-6 * 2 * np.pi * F)
    np.testing.assert_allclose((moved[1] - moved[0])[inner], expected[inner], atol=4e-3)
    assert np.abs(expected[inner]).max() > 0.1


@pytest.mark.parametrize("use_magnitude", [False, True])
@pytest.mark.parametrize("use_labels", [False, True])
def test_the_noise_of_both_terms_is_propagated_together(
    slow, volumes, b1, use_labels, use_magnitude
):
    support = volumes.as_support(use_labels=use_labels)
    zscore = volumes.zscore.astype(np.float32) if use_magnitude else None
    noise = np.random.default_rng(0).uniform(0.01, 0.1, support.shape).astype(np.float32)
    keywords = {"voxel_size": volumes.voxel_size, "radius": (4.0, 4.0, 4.5), "zscore": zscore}
    convection = 10 * gradient_of_smooth(2 * np.log(b1), support != 0, volumes.voxel_size)
    found = fit_quadratic(volumes.phase, support, noise=noise, convection=convection, **keywords)
    without = fit_quadratic(volumes.phase, support, noise=noise, **keywords)
    for voxel in np.random.default_rng(1).permutation(np.argwhere(support))[:5]:
        if np.isnan(found.laplacian[tuple(voxel)]):
            continue
        variance = 0.0
        for j in voxel + slow.ellipsoid_offsets((4.0, 4.0, 4.5), volumes.voxel_size):
            if (j < 0).any() or (j >= support.shape).any():
                continue
            impulse = np.zeros(support.shape, np.float32)
            impulse[tuple(j)] = 1
            fit = slow.lstsq_fit(voxel, impulse, support, **keywords)
            coefficient = fit.laplacian + convection[:, *voxel] @ fit.gradient
            variance += (coefficient * noise[tuple(j)]) ** 2
        assert found.laplacian_std[tuple(voxel)] == pytest.approx(np.sqrt(variance), rel=1e-3)
    valid = np.isfinite(found.laplacian)
    assert np.median(np.abs(found.laplacian_std / without.laplacian_std - 1)[valid]) > 0.003


def test_noise_propagation_agrees_for_whole_and_restricted_kernels():
    """Fits with a whole kernel use Fourier transforms, and the other fits use compiled loops."""
    rng = np.random.default_rng(3)
    shape = (36, 36, 36)
    phase = rng.normal(size=shape).astype(np.float32)
    noise = rng.uniform(0.5, 1.5, shape).astype(np.float32)
    convection = 200 * rng.normal(size=(3, *shape)).astype(np.float32)
    support = np.ones(shape, np.int32)
    keywords = {
        "voxel_size": (1.0, 1.0, 1.0),
        "radius": (8.0, 8.0, 8.0),
        "noise": noise,
        "convection": convection,
    }
    whole = fit_quadratic(phase, support, **keywords)
    at = np.zeros(shape, bool)
    at[18, 18, 12:24] = True
    each = fit_quadratic(phase, support, at=at, **keywords)
    np.testing.assert_allclose(whole.laplacian[at], each.laplacian[at], rtol=1e-3, atol=1)
    np.testing.assert_allclose(whole.laplacian_std[at], each.laplacian_std[at], rtol=1e-4)
    np.testing.assert_allclose(whole.gradient[:, at], each.gradient[:, at], rtol=1e-3, atol=1e-3)


def test_the_predicted_noise_of_finite_differences_is_correct(volumes, b1):
    rng = np.random.default_rng(3)
    noise = rng.uniform(0.01, 0.1, volumes.mask.shape)
    convection = 20 * gradient_of_smooth(2 * np.log(b1), volumes.mask, volumes.voxel_size)
    keywords = {"voxel_size": volumes.voxel_size, "convection": convection}
    predicted = fd_laplacian_std(noise, volumes.mask, **keywords)
    maps = [
        fd_laplacian(noise * rng.normal(size=noise.shape), volumes.mask, **keywords)
        for _ in range(400)
    ]
    valid = np.isfinite(predicted)
    without = fd_laplacian_std(noise, volumes.mask, volumes.voxel_size)
    assert np.max(predicted[valid] / without[valid]) > 1.1
    np.testing.assert_allclose(np.std(maps, axis=0), predicted, rtol=0.2)


@pytest.mark.parametrize("method", ["laplacian-magseg", "integral-seg", "integral-mag-ivw"])
def test_the_predicted_spread_agrees_with_realisations(small_volumes, method):
    volumes, b1 = small_volumes, make_b1(small_volumes)
    rng = np.random.default_rng(5)
    smooth = gaussian_filter(volumes.phase, 3)
    given = keywords_of(volumes, method) | {"b1_map": b1}
    predicted = reconstruct(smooth, phase_noise=0.05, **given).conductivity_std
    maps = [
        reconstruct(smooth + 0.05 * rng.normal(size=smooth.shape), **given).conductivity
        for _ in range(30)
    ]
    ratio = np.std(maps, axis=0, ddof=1)[volumes.mask] / predicted[volumes.mask]
    ratio = ratio[np.isfinite(ratio)]
    assert 0.9 < np.median(ratio) < 1.1
    assert np.mean((ratio > 0.6) & (ratio < 1.5)) > 0.9


@pytest.mark.parametrize("method", ["laplacian-seg", "integral"])
def test_automatic_radii_account_for_the_map(sphere, method):
    given = {"method": method, "fit_radius": "auto", "phase_noise": 1e-3, **sphere.keywords}
    given["labels"] = sphere.inside.astype(int)
    if method == "integral":
        given["integral_radius"] = "auto"
    steep = np.exp(60 * sphere.x[0])
    found = reconstruct(sphere.phase, b1_map=steep, **given)
    median = np.nanmedian(found.conductivity_std[sphere.inside])
    assert found.predicted_std == pytest.approx(median, rel=0.2)
