import numpy as np
import pytest

from bids_qcm.recon.convection_reaction import ConvectionReaction, inner_voxels

SIZE = (2.0, 3.0, 2.5)
SHAPE = (10, 8, 9)


@pytest.fixture
def case():
    """An irregular mask, and a conductivity that varies."""
    rng = np.random.default_rng(0)
    inside = np.pad(np.ones((8, 6, 7), dtype=bool), 1)
    inside[4, 3, 5] = inside[1, 1, 1] = inside[8, 5, 6] = False
    log_kappa = np.log(300) + 0.5 * rng.standard_normal(SHAPE)
    rim_phase = 0.1 * rng.standard_normal(SHAPE)
    return inside, log_kappa, rim_phase


def coordinates(shape, size):
    axes = [np.arange(n) * d * 1e-3 for n, d in zip(shape, size, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def test_a_parabola_is_the_phase_of_one_conductivity():
    x, y, z = coordinates(SHAPE, SIZE)
    parabola = 100 * x**2 + 40 * y**2 + 10 * z**2 + 3 * x - y + 20 * x * z
    inside = np.ones(SHAPE, dtype=bool)
    rim = np.where(inner_voxels(inside), 0, parabola)
    equation = ConvectionReaction(inside, SIZE, np.full(SHAPE, np.log(300)), rim)
    np.testing.assert_allclose(equation.phase, parabola, atol=1e-6)


def test_the_phase_has_a_kink_where_tissues_meet():
    """Of two layers, 1/kappa times the derivative of the phase goes on through the border."""
    n, h = 20, 1e-3
    kappa = np.where(np.arange(n) < 10, 200.0, 1000.0)
    x = (np.arange(n) - 9.5) * h
    slope = 0.01
    truth = kappa * (x**2 / 2 + slope * x)
    volume = np.broadcast_to(truth[:, None, None], (n, 5, 5))
    inside = np.ones(volume.shape, dtype=bool)
    rim = np.where(inner_voxels(inside), 0, volume)
    log_kappa = np.broadcast_to(np.log(kappa)[:, None, None], volume.shape)
    equation = ConvectionReaction(inside, (1.0, 1.0, 1.0), log_kappa, rim)
    # half a voxel's curvature at the border is all that the grid cannot hold
    np.testing.assert_allclose(equation.phase, volume, atol=1000 * h**2)


def test_change_is_the_derivative(case):
    inside, log_kappa, rim_phase = case
    equation = ConvectionReaction(inside, SIZE, log_kappa, rim_phase)
    rng = np.random.default_rng(1)
    by_log, by_rim = rng.standard_normal((2, *SHAPE))
    step = 1e-3
    ends = [
        ConvectionReaction(inside, SIZE, log_kappa + s * by_log, equation.phase + s * by_rim).phase
        for s in (step, -step)
    ]
    expected = (ends[0] - ends[1]) / (2 * step)
    found = equation.change(by_log, by_rim)
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-3 * np.abs(expected).max())


def test_adjoint_is_the_transpose(case):
    inside, log_kappa, rim_phase = case
    equation = ConvectionReaction(inside, SIZE, log_kappa, rim_phase)
    rng = np.random.default_rng(2)
    by_log, by_rim, phase = np.where(inside, rng.standard_normal((3, *SHAPE)), 0)
    there = (equation.change(by_log, by_rim) * phase).sum()
    to_log, to_rim = equation.adjoint(phase)
    np.testing.assert_allclose((to_log * by_log).sum() + (to_rim * by_rim).sum(), there, rtol=1e-3)


def test_nothing_outside_the_mask_counts(case):
    inside, log_kappa, rim_phase = case
    first = ConvectionReaction(inside, SIZE, log_kappa, rim_phase).phase
    outside = np.where(inside, 0, 7.0)
    second = ConvectionReaction(inside, SIZE, log_kappa + outside, rim_phase + outside).phase
    np.testing.assert_array_equal(first, second)
    assert not first[~inside].any()
