import math

import numpy as np
import pytest

from bids_qcm.phantom.forward import transceive_phase

MU0 = 1.25663706212e-6
FREQUENCY = 127.74e6
OMEGA_MU0 = 2 * math.pi * FREQUENCY * MU0
MODELS = ("convection-reaction", "laplacian")
# outer and inner sphere: radius in mm and conductivity in S/m
OUTER, INNER = (36.0, 0.34), (20.0, 0.9)


def squared_radius(step, extent=40.0):
    axis = np.arange(-extent + step / 2, extent, step)
    return sum(np.ix_(axis**2, axis**2, axis**2))


def sphere(step):
    return OUTER[1] * (squared_radius(step) < OUTER[0] ** 2)


def two_layers(step):
    r2 = squared_radius(step)
    return np.where(r2 < INNER[0] ** 2, INNER[1], OUTER[1]) * (r2 < OUTER[0] ** 2)


def exact_sphere(step):
    r2 = squared_radius(step) * 1e-6
    return OMEGA_MU0 * OUTER[1] / 3 * (r2 - OUTER[0] ** 2 * 1e-6)


def exact_two_layers(step, model):
    """Return the exact phase of two concentric spheres with phi(b) = 0.

    The flux through a sphere of radius r is 2 omega mu0 (4 pi r^3 / 3), multiplied by the mean of
    sigma inside the sphere for the Laplacian model. The phase follows by integration over r.
    """
    r2 = squared_radius(step) * 1e-6
    r = np.sqrt(r2)
    (b, outside), (a, inside) = ((radius * 1e-3, sigma) for radius, sigma in (OUTER, INNER))
    if model == "convection-reaction":
        # phi' = 2 omega mu0 sigma(r) r / 3

        def outer(r):
            return outside * (r**2 - b**2) / 2
    else:
        # phi' = 2 omega mu0 (outside r^3 + (inside - outside) a^3) / (3 r^2) outside a

        def outer(r):
            return outside * (r**2 - b**2) / 2 - (inside - outside) * a**3 * (1 / r - 1 / b)

    phi = np.where(r < a, inside * (r2 - a**2) / 2 + outer(a), outer(np.maximum(r, 1e-9)))
    return 2 * OMEGA_MU0 / 3 * phi


def solve(sigma, step, model):
    return transceive_phase(sigma, (step,) * 3, FREQUENCY, model)


def relative_error(found, exact, sigma):
    return np.abs(found - exact)[sigma > 0].max() / np.abs(exact[sigma > 0]).max()


@pytest.mark.parametrize("model", MODELS)
def test_phase_of_a_homogeneous_sphere_agrees_with_the_exact_solution(model):
    sigma = sphere(1.0)
    assert relative_error(solve(sigma, 1.0, model), exact_sphere(1.0), sigma) < 0.02


@pytest.mark.parametrize("model", MODELS)
def test_phase_of_a_two_layer_sphere_agrees_with_the_exact_solution(model):
    sigma = two_layers(1.0)
    exact = exact_two_layers(1.0, model)
    assert relative_error(solve(sigma, 1.0, model), exact, sigma) < 0.02
    # the two models differ by much more than this tolerance
    assert (
        relative_error(exact_two_layers(1.0, MODELS[1]), exact_two_layers(1.0, MODELS[0]), sigma)
        > 0.2
    )


@pytest.mark.parametrize("model", MODELS)
def test_error_decreases_for_smaller_voxels(model):
    """The error is first order, because the surface position has an error of up to half a voxel."""
    steps = (4.0, 2.0, 1.0)
    error = []
    for step in steps:
        sigma, exact = two_layers(step), exact_two_layers(step, model)
        difference = (solve(sigma, step, model) - exact)[sigma > 0]
        error.append(np.sqrt(np.mean(difference**2)) / np.abs(exact[sigma > 0]).max())
    order = np.polyfit(np.log(steps), np.log(error), 1)[0]
    assert 0.8 < order < 2.2, error
    assert error[2] < error[1] < error[0]


def operator(phi, sigma, voxel_size, model):
    """Return the sum of the fluxes out of each voxel; phi is 0 on the surface of the head."""
    phi, sigma = np.pad(phi, 1), np.pad(sigma, 1)
    head = sigma > 0
    total = np.zeros(phi.shape)
    for axis, size in enumerate(voxel_size):
        for step in (1, -1):
            with np.errstate(divide="ignore"):
                c, c_next = 1 / sigma, 1 / np.roll(sigma, step, axis)
            if model == "laplacian":
                c, c_next = np.ones(phi.shape), np.ones(phi.shape)
            inner = 2 * c * c_next / (c + c_next) * (np.roll(phi, step, axis) - phi)
            surface = c * (0 - phi) / 0.5
            flux = np.where(np.roll(head, step, axis), inner, surface)
            total += flux / (size * 1e-3) ** 2
    return np.where(head, total, 0)[1:-1, 1:-1, 1:-1]


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("voxel_size", [(2.0, 2.0, 2.0), (1.0, 1.5, 3.0)])
def test_the_operator_applied_to_the_phase_equals_the_source(model, voxel_size):
    rng = np.random.default_rng(3)
    # the head has holes and several parts, and extends to the border of the array
    sigma = rng.uniform(0.05, 2.2, (13, 14, 11)) * (rng.random((13, 14, 11)) < 0.8)
    phi0 = transceive_phase(sigma, voxel_size, FREQUENCY, model)
    assert not phi0[sigma == 0].any()
    source = 2 * OMEGA_MU0 * (sigma if model == "laplacian" else 1.0) * (sigma > 0)
    found = operator(phi0, sigma, voxel_size, model)
    np.testing.assert_allclose(found, source, rtol=0, atol=1e-6 * source.max())


def test_finite_differences_return_the_conductivity_of_the_laplacian_model():
    sigma = two_layers(2.0)
    phi0 = solve(sigma, 2.0, "laplacian")
    laplacian = (
        sum(np.roll(phi0, step, axis) - phi0 for axis in range(3) for step in (1, -1)) / 0.002**2
    )
    interior = squared_radius(2.0) < (OUTER[0] - 4) ** 2
    np.testing.assert_allclose(laplacian[interior] / 2 / OMEGA_MU0, sigma[interior], rtol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_phase_is_proportional_to_frequency(model):
    sigma = np.random.default_rng(4).uniform(0.1, 1, (6, 7, 8))
    one = transceive_phase(sigma, (2.0, 2.0, 2.0), FREQUENCY, model)
    two = transceive_phase(sigma, (2.0, 2.0, 2.0), 2 * FREQUENCY, model)
    np.testing.assert_allclose(two, 2 * one, rtol=1e-6)


def test_the_same_head_has_the_same_phase_to_the_last_bit():
    sigma = two_layers(2.0)
    np.random.seed(1)  # noqa: NPY002 - the solver must not draw from it
    first = solve(sigma, 2.0, MODELS[0])
    np.testing.assert_array_equal(first, solve(sigma, 2.0, MODELS[0]))
