import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import jv

from bids_qcm.physics import VACUUM_PERMEABILITY, conductivity_factor
from bids_qcm.recon import METHODS, reconstruct
from bids_qcm.recon.radii import choose_kernels

LOCAL = [name for name, method in METHODS.items() if method.form in ("laplacian", "integral")]
F = 127.74e6
# Radii that are large enough for voxels of 2.2 mm; some published radii are too small.
RADII = {"fit_radius": 8, "integral_radius": 7}


def a_quadratic(volumes, seed=0):
    """Return a quadratic phase of a few radians, and its Laplacian in rad/m^2."""
    rng = np.random.default_rng(seed)
    curvature = rng.normal(size=(3, 3)) * 200
    curvature = curvature + curvature.T + 400 * np.eye(3)
    slope, offset = rng.normal(size=3) * 20, rng.normal()
    x = volumes.coordinates()
    phase = (
        np.einsum("i...,ij,j...->...", x, curvature, x) / 2
        + np.einsum("i...,i->...", x, slope)
        + offset
    )
    return phase.astype(np.float32), np.trace(curvature)


def run(volumes, phase, method, **keywords):
    return reconstruct(
        phase,
        method=method,
        voxel_size=volumes.voxel_size,
        frequency=F,
        mask=volumes.mask,
        magnitude=volumes.magnitude,
        labels=volumes.labels,
        **keywords,
    )


@pytest.mark.parametrize("method", LOCAL)
def test_every_local_method_is_exact_on_a_quadratic(volumes, method):
    phase, laplacian = a_quadratic(volumes)
    result = run(volumes, phase, method, **RADII)
    valid = np.isfinite(result.conductivity) & volumes.mask
    assert valid.sum() > 0.4 * volumes.mask.sum()
    expected = conductivity_factor(F) * laplacian
    np.testing.assert_allclose(result.conductivity[valid], expected, rtol=1e-3)


@settings(max_examples=20, deadline=None)
@given(
    method=st.sampled_from([name for name in LOCAL if not name.endswith("-fd")]),
    seed=st.integers(0, 1000),
    voxel_size=st.tuples(*[st.floats(0.6, 2.5)] * 3),
    voxels_of_radius=st.floats(1.5, 4),
)
def test_fits_are_exact_on_any_quadratic_on_any_grid(
    slow, method, seed, voxel_size, voxels_of_radius
):
    volumes = slow.make_volumes((12, 11, 10), voxel_size, seed)
    phase, laplacian = a_quadratic(volumes, seed)
    radius = tuple(voxels_of_radius * d for d in voxel_size)
    result = run(volumes, phase, method, fit_radius=radius, integral_radius=radius)
    valid = np.isfinite(result.conductivity) & volumes.mask
    # rounding error of a second difference of the float32 phase
    rounding = np.abs(phase).max() * 1e-7 * 10 / min(voxel_size) ** 2 * 1e6
    np.testing.assert_allclose(
        result.conductivity[valid] / conductivity_factor(F),
        laplacian,
        rtol=1e-3,
        atol=rounding,
    )


def test_the_factor_has_known_values():
    omega = 2 * np.pi * F
    assert conductivity_factor(F, "transmit") == pytest.approx(1 / (VACUUM_PERMEABILITY * omega))
    assert conductivity_factor(F) == pytest.approx(1 / (2 * VACUUM_PERMEABILITY * omega))
    # 0.5 S/m at 3 T: a transceive phase has a Laplacian of about 1009 rad/m^2
    assert 0.5 / conductivity_factor(F) == pytest.approx(1008.6, abs=0.1)


@pytest.mark.parametrize(("phase_type", "sigma"), [("transceive", 0.4), ("transmit", 0.8)])
def test_phase_type_is_a_factor_of_two_in_the_map(volumes, phase_type, sigma):
    phase, laplacian = a_quadratic(volumes)
    scaled = phase.astype(float) * 0.4 / (conductivity_factor(F) * laplacian)
    result = run(volumes, scaled, "laplacian", phase_type=phase_type)
    assert np.nanmedian(result.conductivity[volumes.mask]) == pytest.approx(sigma, rel=1e-3)
    assert result.phase_type == phase_type


@pytest.mark.parametrize(
    ("factor", "sign", "applied", "expected"),
    [
        (1, "+", "+", 1),
        (1, "-", "-", -1),
        (-1, "+", "+", -1),
        (-1, "-", "-", 1),
        (1, "auto", "+", 1),
        (-1, "auto", "-", 1),
    ],
)
def test_each_sign_is_applied(volumes, factor, sign, applied, expected):
    phase, laplacian = a_quadratic(volumes)
    result = run(volumes, factor * phase, "laplacian", sign=sign)
    assert result.sign == applied
    median = np.nanmedian(result.conductivity[volumes.mask])
    assert median == pytest.approx(expected * conductivity_factor(F) * laplacian, rel=1e-3)


@pytest.mark.parametrize("method", ["laplacian-fd", "laplacian", "integral-fd", "integral"])
def test_the_conductivity_of_a_homogeneous_cylinder_is_found_near_its_axis(method):
    # The quadrature field of a cylinder along z: J0(k r), k^2 = omega^2 mu eps - i omega mu sigma.
    sigma, permittivity, omega = 0.6, 60 * 8.8541878128e-12, 2 * np.pi * F
    k = np.sqrt(
        omega**2 * VACUUM_PERMEABILITY * permittivity - 1j * omega * VACUUM_PERMEABILITY * sigma
    )
    x, y, _ = np.mgrid[-40:41, -40:41, -12:13] * 1e-3
    transmit = np.angle(jv(0, k * np.hypot(x, y)))
    result = reconstruct(
        2 * transmit, method=method, voxel_size=1, frequency=F, mask=np.hypot(x, y) < 0.04
    )
    near = (np.hypot(x, y) < 0.004) & np.isfinite(result.conductivity)
    near[:, :, [0, -1]] = False
    np.testing.assert_allclose(result.conductivity[near], sigma, rtol=0.03)
    assert near.sum() > 500


def test_invalid_voxels_are_nan_inside_the_mask_and_zero_outside(volumes):
    phase, _ = a_quadratic(volumes)
    result = run(volumes, phase, "laplacian-seg", **RADII)
    assert not result.conductivity[~volumes.mask].any()
    unlabelled = volumes.mask & (volumes.labels == 0)
    assert np.isnan(result.conductivity[unlabelled]).all()
    expected = np.isnan(result.conductivity[volumes.mask]).mean()
    assert result.invalid_fraction == pytest.approx(expected)
    assert result.conductivity.dtype == np.float32


@pytest.mark.parametrize("method", ["laplacian-fd", "laplacian-mag", "integral"])
def test_voxels_without_phase_affect_only_their_own_result(volumes, method):
    phase, laplacian = a_quadratic(volumes)
    holes = np.random.default_rng(5).random(phase.shape) < 0.02
    phase[holes] = np.nan
    result = run(volumes, phase, method, **RADII)
    assert np.isnan(result.conductivity[holes & volumes.mask]).all()
    valid = np.isfinite(result.conductivity) & volumes.mask
    np.testing.assert_allclose(
        result.conductivity[valid], conductivity_factor(F) * laplacian, rtol=1e-3
    )


def test_without_a_mask_all_finite_phase_is_used():
    phase = (np.mgrid[-6:7, -6:7, -6:7] ** 2).sum(axis=0) * 1e-4
    phase[0, 0, 0] = np.nan
    result = reconstruct(phase, method="laplacian", voxel_size=1, frequency=F, fit_radius=3)
    assert result.conductivity[0, 0, 0] == 0
    assert result.invalid_fraction == 0


@pytest.mark.parametrize("method", LOCAL)
def test_in_plane_kernels_map_a_single_slice(method):
    x, y = np.mgrid[-12:13, -12:13] * 1e-3
    phase = (500 * x**2 + 300 * y**2)[:, :, None] / 2
    rng = np.random.default_rng(0)
    result = reconstruct(
        phase,
        method=method,
        voxel_size=(1, 1, 5),
        frequency=F,
        magnitude=rng.normal(size=phase.shape),
        labels=np.ones(phase.shape, int),
        fit_radius=(6, 6, 0),
        integral_radius=6,
    )
    valid = np.isfinite(result.conductivity)
    assert valid.mean() > 0.8
    np.testing.assert_allclose(result.conductivity[valid], 800 * conductivity_factor(F), rtol=1e-3)


def test_the_number_of_threads_does_not_change_the_result(volumes):
    for method in ("laplacian-mag", "integral-magseg"):
        one = run(volumes, volumes.phase, method, n_threads=1, **RADII)
        two = run(volumes, volumes.phase, method, n_threads=2, **RADII)
        np.testing.assert_array_equal(one.conductivity, two.conductivity)


def test_inputs_are_not_modified_and_may_have_any_layout(volumes):
    phase, _ = a_quadratic(volumes)
    before = [phase.copy(), volumes.mask.copy(), volumes.magnitude.copy(), volumes.labels.copy()]
    expected = run(volumes, phase, "integral-magseg", **RADII).conductivity
    for kept, array in zip(
        before, [phase, volumes.mask, volumes.magnitude, volumes.labels], strict=True
    ):
        np.testing.assert_array_equal(kept, array)
    found = reconstruct(
        np.asfortranarray(phase.astype(">f4")),
        method="integral-magseg",
        voxel_size=list(volumes.voxel_size),
        frequency=F,
        mask=volumes.mask.astype(np.uint8),
        magnitude=np.asfortranarray(volumes.magnitude),
        labels=volumes.labels.astype(float),
        **RADII,
    ).conductivity
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("method", ["laplacian", "integral", "laplacian-fd"])
def test_a_large_offset_does_not_reduce_precision(volumes, method):
    phase, laplacian = a_quadratic(volumes)
    far = phase.astype(float) + 1e4
    result = run(volumes, far, method, **RADII)
    valid = np.isfinite(result.conductivity) & volumes.mask
    expected = conductivity_factor(F) * laplacian
    np.testing.assert_allclose(result.conductivity[valid], expected, rtol=1e-3)


def test_published_radii_are_the_default(volumes):
    result = run(volumes, volumes.phase, "integral-magseg")
    assert (result.fit_radius, result.integral_radius) == ((10.0,) * 3, (20.0,) * 3)
    result = run(volumes, volumes.phase, "laplacian")
    assert (result.fit_radius, result.integral_radius) == ((9.0,) * 3, None)


def test_a_radius_of_zero_along_an_axis_makes_both_kernels_in_plane():
    kernels = choose_kernels(METHODS["integral"], (1.0, 1.0, 5.0), (9, 9, 9), (5, 5, 0))
    assert kernels.fit_radius == (5.0, 5.0, 0.0)
    assert kernels.integral_radius == (6.0, 6.0, 0.0)
    assert kernels.axes == (0, 1)


GOOD = {"method": "laplacian", "voxel_size": 1, "frequency": F}
PHASE = np.zeros((4, 4, 4))


@pytest.mark.parametrize(
    ("phase", "changed", "message"),
    [
        (PHASE, {"method": "ept"}, "laplacian-fd"),
        (PHASE, {"method": "laplacian-mag"}, "needs magnitude"),
        (PHASE, {"method": "laplacian-seg"}, "needs labels"),
        (PHASE, {"method": "laplacian-mag", "magnitude": np.ones((4, 4, 4))}, "constant"),
        (PHASE, {"method": "laplacian-seg", "labels": np.zeros((4, 4, 4))}, "labels are 0"),
        (PHASE, {"method": "laplacian-seg", "labels": np.full((4, 4, 4), 0.5)}, "whole numbers"),
        (PHASE, {"mask": np.ones((4, 4, 5))}, r"mask has shape \(4, 4, 5\)"),
        (PHASE, {"mask": np.zeros((4, 4, 4))}, "no voxel"),
        (PHASE, {"voxel_size": (1, 2)}, "voxel size"),
        (PHASE, {"voxel_size": 0}, "voxel size"),
        (PHASE, {"frequency": 0}, "frequency"),
        (PHASE, {"phase_type": "receive"}, "phase_type"),
        (PHASE, {"sign": "plus"}, "sign"),
        (PHASE, {"fit_radius": 0.5}, "less than one voxel along x"),
        (PHASE, {"fit_radius": 1}, "contains 7 voxels"),
        # no voxel has an offset along both x and z
        (PHASE, {"voxel_size": (1, 1, 3), "fit_radius": (9, 9, 3)}, "underdetermined"),
        (PHASE, {"voxel_size": 0.001}, "both must be in mm"),
        (PHASE, {"n_threads": 0}, "n_threads"),
        (PHASE, {"frequency": 127.74}, "in Hz"),
        (PHASE, {"mask": np.full((4, 4, 4), np.nan)}, "NaN"),
        (PHASE, {"method": "laplacian-seg", "labels": np.full((4, 4, 4), 2**31)}, "32 bits"),
        (PHASE[:, :, :1], {}, r"1 voxel\(s\) along z"),
        (PHASE[:, :2], {"method": "laplacian-fd"}, r"2 voxel\(s\) along y"),
        (PHASE[0], {}, "3-D float"),
        (PHASE.astype(int), {}, "3-D float"),
        (PHASE.astype(complex), {}, "3-D float"),
    ],
)
def test_unusable_arguments_raise_clear_errors(phase, changed, message):
    with pytest.raises(ValueError, match=message):
        reconstruct(phase, **{**GOOD, **changed})


def test_the_engine_needs_neither_nibabel_nor_nipype_nor_pybids():
    code = (
        "import sys, bids_qcm.recon, bids_qcm.phase\n"
        "sys.exit(bool({'nibabel', 'nipype', 'bids'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def invert(volumes, **keywords):
    keywords = {"phase_noise": 0.01, **keywords}
    return run(volumes, volumes.phase, "inversion-seg", **keywords)


def test_an_inversion_computes_a_map_and_its_standard_deviation(volumes):
    result = invert(volumes)
    valid = np.isfinite(result.conductivity) & volumes.mask
    assert (result.conductivity[valid] > 0).all()
    assert (result.conductivity_std[valid] > 0).all()
    assert np.isnan(result.conductivity[volumes.mask & (volumes.labels == 0)]).all()
    assert result.fit_radius is None
    assert invert(volumes, uncertainty=False).conductivity_std is None


def test_only_one_radius_may_be_zero(volumes):
    with pytest.raises(ValueError, match="along fewer than 2 axes"):
        run(volumes, volumes.phase, "laplacian", fit_radius=(5, 0, 0))


def test_an_inversion_applies_the_sign(volumes):
    flipped = run(volumes, -volumes.phase, "inversion", sign="-", phase_noise=0.01)
    np.testing.assert_array_equal(
        flipped.conductivity,
        run(volumes, volumes.phase, "inversion", phase_noise=0.01).conductivity,
    )


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"phase_noise": None}, "needs a phase noise"),
        ({"phase_noise": 0.0}, "needs a phase noise that is positive"),
        ({"axes": (0,)}, "fewer than 2 axes"),
    ],
)
def test_inversions_refuse_missing_noise_and_missing_axes(volumes, keywords, message):
    with pytest.raises(ValueError, match=message):
        invert(volumes, **keywords)
