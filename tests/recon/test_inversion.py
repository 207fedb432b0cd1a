from dataclasses import replace

import numpy as np
import pytest

from bids_qcm.recon import inversion
from bids_qcm.recon.convection_reaction import ConvectionReaction, inner_voxels
from bids_qcm.recon.inversion import InverseProblem, invert, model_error
from bids_qcm.recon.linear_phase import make_linear_phase
from bids_qcm.recon.neighbours import balance
from bids_qcm.recon.tissue_prior import TissuePrior
from tests.recon.equations import solve_phase

SIZE = (4.0, 4.0, 4.0)
NOISE = 0.001


def image(kappa, labels, *, size=SIZE, noise=NOISE, seed=0):
    """Return noisy data for a block of tissue whose rim has a parabolic phase."""
    inside = labels != 0
    axes = [(np.arange(n) - n / 2) * d * 1e-3 for n, d in zip(kappa.shape, size, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    rim = np.where(inside & ~inner_voxels(inside), 300 * (x**2 + y**2 + z**2) / 6, 0)
    equation = ConvectionReaction(inside, size, np.log(np.where(inside, kappa, 1)))
    phase = solve_phase(equation, rim)
    phase = phase + noise * np.random.default_rng(seed).standard_normal(kappa.shape)
    precision = np.where(inside, 1 / max(noise, 1e-6) ** 2, 0)
    return InverseProblem(phase, labels.astype(np.int32), size, precision=precision)


@pytest.fixture(scope="module")
def layers():
    """Return a block of three tissues side by side, surrounded by a layer without tissue."""
    labels = np.zeros((20, 14, 12), dtype=np.int32)
    labels[1:7, 1:-1, 1:-1], labels[7:13, 1:-1, 1:-1], labels[13:19, 1:-1, 1:-1] = 1, 2, 3
    return np.choose(labels, [1.0, 350.0, 600.0, 1500.0]), labels


def test_one_tissue_has_one_conductivity():
    labels = np.ones((14, 12, 13), dtype=np.int32)
    found, std, *_ = invert(image(np.full(labels.shape, 400.0), labels, noise=1e-4))
    assert abs(np.median(found) / 400 - 1) < 0.01
    assert np.percentile(np.abs(found / 400 - 1), 90) < 0.15
    assert std is None


@pytest.mark.parametrize(
    ("shape", "size"), [((24, 24, 8), (1.0, 1.0, 1.0)), ((30, 30, 4), (1.0, 1.0, 3.0))]
)
def test_a_slab_may_be_thin_on_coarser_grids(shape, size):
    labels = np.ones(shape, dtype=np.int32)
    found, std, *_ = invert(
        image(np.full(shape, 400.0), labels, size=size, noise=1e-5), uncertainty=True
    )
    assert abs(np.median(found) / 400 - 1) < 0.05
    assert np.isfinite(std).all()


def test_coarser_grids_of_thick_slices_merge_voxels_within_slices():
    """Otherwise, the initial map would be computed from the noise of small voxels."""
    labels = np.ones((24, 24, 6), dtype=np.int32)
    problem = image(np.full(labels.shape, 400.0), labels, size=(1.0, 1.0, 6.0))
    assert [one.voxel_size for one in inversion._levels(problem)] == [
        (1, 1, 6),
        (2, 2, 6),
        (4, 4, 6),
    ]
    found, std, *_ = invert(problem, uncertainty=True)
    assert abs(np.median(found) / 400 - 1) < 0.05
    assert np.isfinite(std).all()


def test_tissues_keep_their_borders(layers):
    kappa, labels = layers
    found, *_ = invert(image(kappa, labels))
    for label in (1, 2, 3):
        tissue = found[labels == label]
        true = kappa[labels == label][0]
        assert abs(np.median(tissue) / true - 1) < 0.1
        # include voxels at the border, where a kernel would also contain the other tissue
        assert np.percentile(np.abs(tissue / true - 1), 90) < 0.35
    assert np.isnan(found[labels == 0]).all()


def test_magnitude_edges_preserve_tissue_borders(layers):
    kappa, labels = layers
    problem = image(kappa, (labels != 0).astype(np.int32), noise=0.005)
    zscore = np.choose(labels, [0.0, 1.0, 0.0, -1.5]) * 1.2
    with_edges, *_ = invert(replace(problem, zscore=zscore))
    without, *_ = invert(problem)
    error = [np.abs(np.log(f / kappa)[labels != 0]).mean() for f in (with_edges, without)]
    assert error[0] < 0.7 * error[1]


def test_a_lesion_without_a_label_is_visible():
    labels = np.ones((20, 20, 20), dtype=np.int32)
    distance = np.sqrt(((np.indices(labels.shape) - 9.5) ** 2).sum(axis=0))
    lesion = distance < 4
    found, *_ = invert(image(np.where(lesion, 900.0, 450.0), labels, noise=1e-3))
    contrast = np.median(found[distance < 2]) / np.median(found[distance > 7])
    assert 1.5 < contrast < 2.5


def test_twice_the_phase_is_twice_the_conductivity(layers):
    """The result scales with the phase at a constant signal-to-noise ratio."""
    kappa, labels = layers
    once, std, *_ = invert(image(kappa, labels), uncertainty=True)
    problem = image(kappa, labels)
    twice, twice_std, *_ = invert(
        replace(problem, phase=2 * problem.phase, precision=problem.precision / 4),
        uncertainty=True,
    )
    inside = labels != 0
    np.testing.assert_allclose(twice[inside], 2 * once[inside], rtol=0.02)
    np.testing.assert_allclose(twice_std[inside], 2 * std[inside], rtol=0.05)


def test_voxels_may_have_any_shape():
    labels = np.ones((24, 12, 9), dtype=np.int32)
    found, *_ = invert(image(np.full(labels.shape, 500.0), labels, size=(1.5, 3.0, 4.5)))
    assert abs(np.median(found) / 500 - 1) < 0.05


@pytest.mark.parametrize("size", [3.0, 1.5])
def test_replicates_are_made_on_one_grid_only(monkeypatch, size):
    labels = np.ones((12, 12, 12), dtype=np.int32)
    shapes, response = [], inversion._Fit.response

    def counted(fit, noise, system):
        shapes.append(noise.shape)
        return response(fit, noise, system)

    monkeypatch.setattr(inversion._Fit, "response", counted)
    invert(image(np.full(labels.shape, 400.0), labels, size=(size,) * 3), uncertainty=True)
    finest = 12 if size >= 2 else 6
    assert shapes == [(finest,) * 3] * inversion.NOISE_MAPS


def test_outliers_have_little_effect():
    labels = np.ones((16, 16, 16), dtype=np.int32)
    problem = image(np.full(labels.shape, 500.0), labels)
    wrong = np.random.default_rng(1).random(labels.shape) < 0.01
    problem.phase[wrong] += 2 * np.pi
    found, *_ = invert(problem)
    assert abs(np.median(found) / 500 - 1) < 0.15
    assert np.percentile(np.abs(found / 500 - 1), 90) < 0.5


def test_parts_without_inner_voxels_are_invalid():
    labels = np.zeros((20, 14, 14), dtype=np.int32)
    labels[:12] = 1
    labels[14:16] = 1
    found, std, *_ = invert(image(np.full(labels.shape, 400.0), labels), uncertainty=True)
    assert np.isnan(found[14:16]).all()
    assert np.isnan(std[14:16]).all()
    assert np.isfinite(found[:12]).all()
    assert np.isfinite(std[:12]).all()


def test_a_mask_that_is_too_thin_is_refused():
    labels = np.zeros((12, 12, 12), dtype=np.int32)
    labels[:, :, 5:7] = 1
    with pytest.raises(ValueError, match="three voxels thick"):
        invert(InverseProblem(np.zeros(labels.shape), labels, SIZE, precision=labels * 1e4))


def test_coarser_problems_keep_phase_and_precision():
    labels = np.ones((6, 4, 5), dtype=np.int32)
    problem = image(np.full(labels.shape, 400.0), labels)
    coarse = problem.coarser()
    assert coarse.voxel_size == (8, 8, 8)
    assert coarse.precision[0, 0, 0] == pytest.approx(8 * problem.precision[0, 0, 0])
    assert coarse.phase[0, 0, 0] == pytest.approx(problem.phase[:2, :2, :2].mean())
    # a voxel of the coarse grid is in the mask if at least half of its fine voxels are in the mask
    assert coarse.inside[:, :, 2].all()


@pytest.mark.slow
@pytest.mark.parametrize(("size", "share"), [(3.0, 0.9), (1.5, 0.8)])
def test_predicted_spread_agrees_with_realisations(size, share):
    """The predicted spread is less accurate if the replicates use a coarser grid."""
    labels = np.zeros((24, 18, 16), dtype=np.int32)
    labels[1:12, 1:-1, 1:-1], labels[12:23, 1:-1, 1:-1] = 1, 2
    kappa = np.choose(labels, [1.0, 350.0, 700.0])
    sizes = (size,) * 3
    _, std, *_ = invert(image(kappa, labels, size=sizes, noise=0.003), uncertainty=True)
    maps = [
        invert(image(kappa, labels, size=sizes, noise=0.003, seed=seed))[0] for seed in range(1, 41)
    ]
    inside = labels != 0
    ratio = np.std(maps, axis=0, ddof=1)[inside] / std[inside]
    assert 0.9 < np.median(ratio) < 1.1
    assert np.mean((ratio > 0.7) & (ratio < 1.4)) > share


def test_the_iteration_ends_at_the_smallest_cost(layers):
    """No further change of the map reduces the cost."""
    kappa, labels = layers
    fit = inversion._Fit(image(kappa, labels), np.full(labels.shape, np.log(500.0)))
    costs = [fit.cost]
    for _ in range(8):
        fit.improve(1)
        costs.append(fit.cost)
    assert costs == sorted(costs, reverse=True)
    assert costs[-2] - costs[-1] < 1e-3 * costs[-1]


def test_a_tissue_is_regularised_towards_its_own_mean(layers, monkeypatch):
    kappa, labels = layers
    problem = image(kappa, labels, noise=0.02)
    drawn, *_ = invert(problem)
    monkeypatch.setattr(inversion, "TO_MEAN", 1e-5)
    free, *_ = invert(problem)
    for label in (1, 2, 3):
        tissue, true = labels == label, kappa[labels == label][0]
        assert np.std(np.log(drawn[tissue])) < 0.8 * np.std(np.log(free[tissue]))
        assert abs(np.mean(np.log(drawn[tissue] / true))) < 0.2


def test_model_error_agrees_with_the_measurement():
    at_3t = model_error(127.74e6, "transceive")
    assert at_3t == pytest.approx(0.02)
    assert model_error(127.74e6, "transmit") == pytest.approx(at_3t / 2)
    assert model_error(64e6, "transceive") == pytest.approx(0.008, rel=0.2)
    assert model_error(298e6, "transceive") == pytest.approx(0.10, rel=0.3)


def test_model_error_is_consistent_between_grids():
    labels = np.ones((8, 8, 8), dtype=np.int32)
    problem = replace(image(np.full(labels.shape, 400.0), labels), model_error=0.1)
    neglected = problem.variance[0, 0, 0] - NOISE**2
    assert neglected == pytest.approx(0.1**2 * 8 / 64)
    assert problem.coarser().variance[0, 0, 0] == pytest.approx(problem.variance[0, 0, 0] / 8)


def test_model_error_prevents_overfitting_at_high_snr(layers):
    """Without a model error, phase errors other than noise would make the map rough."""
    kappa, labels = layers
    problem = image(kappa, labels, noise=0.02)
    sure = replace(problem, precision=np.where(labels != 0, 1e8, 0))
    spread = [
        np.std(np.log(invert(replace(sure, model_error=error)).kappa[labels == 2]))
        for error in (0.0, 0.02 * np.sqrt(64 / 8))
    ]
    assert spread[1] < 0.5 * spread[0]


def drawn_from_prior(problem, seed):
    """Return a random log(kappa) from the prior of an inversion."""
    rng = np.random.default_rng(seed)
    links = inversion._smoothness_links(problem)
    prior = TissuePrior(links, problem.support, problem.voxel_size, problem.to_mean)
    to_mean = rng.standard_normal(problem.support.shape)
    for tissue in np.unique(problem.support):
        to_mean[problem.support == tissue] -= to_mean[problem.support == tissue].mean()
    to_mean *= np.sqrt(problem.to_mean * np.prod(problem.voxel_size)) * problem.inside
    steps = [np.sqrt(link) * rng.standard_normal(link.shape) for link in links]
    # the covariance of this sum is the prior's precision
    return prior.covariance((balance(steps) + to_mean).astype(np.float32))


@pytest.mark.parametrize("noise", [0.001, 0.005])
def test_goodness_of_fit_is_1_if_the_map_follows_the_prior(layers, noise):
    _, labels = layers
    flat = image(np.full(labels.shape, 450.0), labels)
    found = []
    for seed in range(4):
        kappa = 450 * np.exp(drawn_from_prior(flat, seed))
        found.append(invert(image(kappa, labels, noise=noise, seed=seed)).goodness[:2])
    np.testing.assert_allclose(np.mean(found, axis=0), 1, atol=0.2)


def test_prior_chi_square_grows_with_the_variation(layers):
    _, labels = layers
    flat = image(np.full(labels.shape, 450.0), labels)
    kappa = 450 * np.exp(3 * drawn_from_prior(flat, 0))
    assert invert(image(kappa, labels)).goodness.prior_chi_square > 3


def test_effect_of_a_linear_phase_agrees_with_an_added_ramp(layers):
    kappa, labels = layers
    problem = image(kappa, labels)
    error = (3.0, 0.0, 0.0)
    effect = invert(replace(problem, linear_phase_error=error)).goodness.linear_phase_effect
    ramp = make_linear_phase(error, labels.shape, SIZE)
    with_ramp, without = invert(replace(problem, phase=problem.phase + ramp)), invert(problem)
    change = np.abs(np.log(with_ramp.kappa / without.kappa))[labels != 0]
    assert effect == pytest.approx(np.median(change), rel=0.3)
    unknown = invert(
        replace(problem, linear_phase_error=(np.inf,) * 3)
    ).goodness.linear_phase_effect
    assert np.isnan(unknown)
