import numpy as np
import pytest

from bids_qcm.recon.convection_reaction import ConvectionReaction, inner_voxels
from tests.recon.equations import solve_phase

SIZE = (2.0, 3.0, 2.5)
SHAPE = (10, 8, 9)


@pytest.fixture
def case():
    """Return an irregular mask, a varying conductivity and a varying |B1+|."""
    rng = np.random.default_rng(0)
    inside = np.pad(np.ones((8, 6, 7), dtype=bool), 1)
    inside[4, 3, 5] = inside[1, 1, 1] = inside[8, 5, 6] = False
    log_kappa = np.log(300) + 0.5 * rng.standard_normal(SHAPE)
    b1_squared = 1 + 0.3 * rng.random(SHAPE)
    phase = np.where(inside, 0.1 * rng.standard_normal(SHAPE), 0)
    return inside, log_kappa, b1_squared, phase


def coordinates(shape, size):
    axes = [np.arange(n) * d * 1e-3 for n, d in zip(shape, size, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def test_a_parabola_is_the_phase_of_one_conductivity():
    x, y, z = coordinates(SHAPE, SIZE)
    parabola = 100 * x**2 + 40 * y**2 + 10 * z**2 + 3 * x - y + 20 * x * z
    equation = ConvectionReaction(np.ones(SHAPE, dtype=bool), SIZE, np.full(SHAPE, np.log(300)))
    np.testing.assert_allclose(equation.excess(parabola), 0, atol=1e-9)


def test_the_phase_has_a_kink_where_tissues_meet():
    """At the border of two layers, 1/kappa times the derivative of the phase is continuous."""
    n, h = 20, 1e-3
    kappa = np.where(np.arange(n) < 10, 200.0, 1000.0)
    x = (np.arange(n) - 9.5) * h
    slope = 0.01
    truth = kappa * (x**2 / 2 + slope * x)
    volume = np.broadcast_to(truth[:, None, None], (n, 5, 5))
    log_kappa = np.broadcast_to(np.log(kappa)[:, None, None], volume.shape)
    equation = ConvectionReaction(np.ones(volume.shape, dtype=bool), (1.0, 1.0, 1.0), log_kappa)
    # the discretisation neglects only the curvature over half a voxel at the border
    np.testing.assert_allclose(solve_phase(equation, volume), volume, atol=1000 * h**2)


def test_derivative_by_log_kappa_agrees_with_finite_differences(case):
    inside, log_kappa, b1_squared, phase = case
    change = np.random.default_rng(1).standard_normal(SHAPE)
    step = 1e-3
    ends = [
        ConvectionReaction(inside, SIZE, log_kappa + s * change, b1_squared).excess(phase)
        for s in (step, -step)
    ]
    expected = (ends[0] - ends[1]) / (2 * step)
    equation = ConvectionReaction(inside, SIZE, log_kappa, b1_squared)
    found = equation.by_log_kappa(phase)[0](change)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_transposed_operators_are_adjoint(case):
    inside, log_kappa, b1_squared, phase = case
    equation = ConvectionReaction(inside, SIZE, log_kappa, b1_squared)
    forward, transposed = equation.by_log_kappa(phase)
    rng = np.random.default_rng(2)
    one, other, weight = np.where(inside, rng.standard_normal((3, *SHAPE)), 0)
    multipliers = np.where(equation.inner, other, 0)
    there = np.vdot(forward(one), multipliers)
    assert np.vdot(one, transposed(multipliers)) == pytest.approx(there, rel=1e-4)
    there = np.vdot(equation.divergence(weight * one), multipliers)
    back = equation.divergence_transposed(weight)(multipliers)
    assert np.vdot(one, back) == pytest.approx(there, rel=1e-4)


def test_divergence_agrees_with_the_excess(case):
    inside, log_kappa, b1_squared, phase = case
    equation = ConvectionReaction(inside, SIZE, log_kappa, b1_squared)
    expected = equation.excess(phase) - equation.source
    np.testing.assert_allclose(
        equation.divergence(phase), expected, atol=1e-5 * np.abs(expected).max()
    )


def test_gradient_is_squared_in_mm():
    x, y, z = coordinates(SHAPE, SIZE)
    equation = ConvectionReaction(np.ones(SHAPE, dtype=bool), SIZE, np.full(SHAPE, np.log(500)))
    found = equation.squared_gradient(3 * x + 4 * y - 12 * z)
    np.testing.assert_allclose(found[:-1, :-1, :-1], (13 / 500 * 1e3) ** 2)


def test_values_outside_the_mask_have_no_effect(case):
    inside, log_kappa, b1_squared, phase = case
    outside = np.where(inside, 0, 7.0)
    first = ConvectionReaction(inside, SIZE, log_kappa, b1_squared)
    second = ConvectionReaction(inside, SIZE, log_kappa + outside, b1_squared)
    np.testing.assert_array_equal(first.excess(phase), second.excess(phase + outside))
    np.testing.assert_array_equal(first.inner, inner_voxels(inside))
    assert not first.excess(phase)[~inside].any()
