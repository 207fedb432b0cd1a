import numpy as np
import pytest

from bids_qcm.physics import VACUUM_PERMEABILITY, VACUUM_PERMITTIVITY
from bids_qcm.recon import model_b1, reconstruct
from bids_qcm.recon.b1 import model_helps
from tests.recon.spheres import FREQUENCY, Sphere

SIZE = 5.0


def conductivity(sphere, b1_map):
    """Return the median in S/m at depths of 10 to 20 mm, and the median at 60 mm or more."""
    found = reconstruct(
        sphere.phase,
        method="inversion",
        phase_noise=0.01,
        uncertainty=False,
        b1_map=b1_map,
        **sphere.keywords,
    ).conductivity
    return sphere.median(found, 10, 20), sphere.median(found, 60)


@pytest.fixture(scope="module")
def sphere():
    return Sphere(SIZE)


def test_the_inversion_with_the_true_map_is_exact(sphere):
    assert conductivity(sphere, sphere.b1) == pytest.approx((0.5, 0.5), abs=0.005)


def test_without_a_map_the_bias_agrees_with_the_neglected_gradient(sphere):
    rim, deep = conductivity(sphere, None)
    assert 0.6 < rim < 0.75
    assert deep == pytest.approx(0.51, abs=0.02)


def test_the_map_of_a_homogeneous_body_is_nearly_as_good(sphere):
    modelled = model_b1(sphere.inside, SIZE, FREQUENCY)
    assert conductivity(sphere, modelled) == pytest.approx((0.5, 0.5), abs=0.01)


def test_wrong_body_properties_cause_small_errors(sphere):
    wrong = model_b1(sphere.inside, SIZE, FREQUENCY, conductivity=0.4, permittivity=50)
    assert conductivity(sphere, wrong) == pytest.approx((0.5, 0.5), abs=0.03)


def test_the_unit_of_a_map_does_not_matter(sphere):
    one = conductivity(sphere, sphere.b1)
    assert conductivity(sphere, 90 * sphere.b1) == pytest.approx(one, rel=1e-6)


def test_a_constant_map_does_not_change_the_result(sphere):
    box = (slice(10, 20),) * 3
    given = {
        "phase": sphere.phase[box],
        "method": "inversion",
        "voxel_size": SIZE,
        "frequency": FREQUENCY,
        "phase_noise": 0.01,
        "sign": "auto",
    }
    without = reconstruct(**given)
    constant = reconstruct(**given, b1_map=np.ones((10, 10, 10)))
    assert without.conductivity.tobytes() == constant.conductivity.tobytes()
    assert without.conductivity_std.tobytes() == constant.conductivity_std.tobytes()


@pytest.mark.parametrize(
    ("b1", "words"),
    [(np.ones((2, 2, 2)), "b1_map has shape"), (0.0, "positive"), (np.nan, "finite")],
)
def test_unusable_maps_are_refused(sphere, b1, words):
    if np.ndim(b1) == 0:
        b1 = np.full(sphere.inside.shape, b1)
    with pytest.raises(ValueError, match=words):
        conductivity(sphere, b1)


@pytest.mark.slow
def test_the_model_in_a_slab_agrees_with_the_exact_solution():
    """In a slab, the field depends on one coordinate: ``B = cos(k x) / cos(k a)``."""
    n, size = 60, 3.0
    outline = np.zeros((n + 2, 50, 50), bool)
    outline[1:-1] = True
    modelled = model_b1(outline, (size, 100.0, 100.0), FREQUENCY)
    omega = 2 * np.pi * FREQUENCY
    k = np.sqrt(
        omega**2 * VACUUM_PERMEABILITY * 60 * VACUUM_PERMITTIVITY
        - 1j * omega * VACUUM_PERMEABILITY * 0.5
    )
    x = (np.arange(n + 2) - (n + 1) / 2) * size * 1e-3
    # the outermost voxels are the surface
    exact = np.abs(np.cos(k * x) / np.cos(k * x[1]))
    np.testing.assert_allclose(modelled[1:-1, 25, 25], exact[1:-1], rtol=5e-3)


@pytest.mark.parametrize(
    ("tesla", "is_head", "helps"), [(1.5, True, True), (3, False, False), (1, True, False)]
)
def test_the_model_is_used_for_heads_at_1_5_t_and_above(tesla, is_head, helps):
    assert model_helps(tesla * 42.58e6, is_head=is_head) == helps


def test_voxels_may_be_finer_than_the_grid_of_the_model(sphere):
    fine = np.repeat(np.repeat(np.repeat(sphere.inside, 2, 0), 2, 1), 2, 2)
    found = model_b1(fine, SIZE / 4, FREQUENCY)
    assert found.shape == fine.shape
    assert found.dtype == np.float32
    assert np.all(found[~fine] == 1)
    assert found.max() == found[fine].max() > 1


def test_a_body_that_is_too_thin_is_refused():
    with pytest.raises(ValueError, match="three voxels"):
        model_b1(np.ones((9, 9, 1), bool), 3.0, FREQUENCY)
