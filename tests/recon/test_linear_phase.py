import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from bids_qcm.phantom.anatomy import make_anatomy
from bids_qcm.phantom.conductivity import conductivity_map
from bids_qcm.phantom.forward import transceive_phase
from bids_qcm.phantom.make import make_head, make_phantom
from bids_qcm.phantom.parameters import PhantomParameters
from bids_qcm.phase import compute_phi0
from bids_qcm.physics import conductivity_factor
from bids_qcm.recon import reconstruct
from bids_qcm.recon.forms.inversion import find_linear_phase
from bids_qcm.recon.inversion import InverseProblem
from bids_qcm.recon.linear_phase import (
    LinearPhase,
    combine,
    estimate_linear_phase,
    make_linear_phase,
    posterior_mean,
    unknown_linear_phase,
)

F = 127.74e6
SIZE = 4.0
RAMP = np.array([8.0, -12.0, 20.0])


@pytest.fixture(scope="module")
def head():
    return head_of_size(SIZE)


def head_of_size(size):
    """Return a head whose phase obeys the equation up to 1 % noise, and its true tissues."""
    anatomy = make_anatomy(size)
    rng = np.random.default_rng(0)
    sigma = conductivity_map(anatomy, F, 0.9, 0.1, rng)
    phase = transceive_phase(sigma, (size,) * 3, F)
    return SimpleNamespace(
        phase=phase + 0.01 * rng.normal(size=phase.shape),
        mask=anatomy.brain,
        labels=anatomy.labels,
        kappa=sigma / conductivity_factor(F),
        sigma=sigma,
    )


def estimate(head, ramp=(0, 0, 0), **options):
    given = {"labels": head.labels, "voxel_size": SIZE, **options}
    return estimate_linear_phase(
        head.phase + make_linear_phase(ramp, head.phase.shape, (SIZE,) * 3),
        head.mask,
        given.pop("kappa", head.kappa),
        **given,
    )


@pytest.mark.parametrize("with_labels", [True, False])
def test_a_ramp_is_found_within_its_standard_error(head, with_labels):
    found = estimate(head, RAMP, **({} if with_labels else {"labels": None}))
    assert np.all(found.standard_error < 4)
    assert np.all(np.abs(found.estimate - RAMP) < 3 * found.standard_error)
    np.testing.assert_allclose(found.posterior_mean, found.estimate, atol=2)
    assert found.explained_fraction > 0.3


def test_nothing_is_removed_without_evidence(head):
    found = estimate(head)
    assert np.abs(found.posterior_mean).max() < 1
    assert found.explained_fraction < 0.1


def test_a_ramp_is_added_to_the_estimate(head):
    without, found = estimate(head), estimate(head, RAMP)
    np.testing.assert_allclose(found.estimate - without.estimate, RAMP, atol=1e-6)
    np.testing.assert_allclose(found.covariance, without.covariance, rtol=1e-6)


def test_a_common_factor_of_kappa_and_the_unit_of_b1_have_little_effect(head):
    one, other = estimate(head, RAMP), estimate(head, RAMP, kappa=1.5 * head.kappa)
    np.testing.assert_allclose(other.estimate, one.estimate, atol=0.5)
    scaled = estimate(head, RAMP, b1_squared=np.full(head.mask.shape, 7.0))
    np.testing.assert_allclose(scaled.estimate, one.estimate, rtol=1e-6)


def test_voxels_without_kappa_use_the_median_of_their_tissue(head):
    holes = np.where(np.random.default_rng(1).random(head.mask.shape) < 0.1, np.nan, head.kappa)
    np.testing.assert_allclose(
        estimate(head, RAMP, kappa=holes).estimate, estimate(head, RAMP).estimate, atol=1
    )


def test_a_mask_that_is_too_small_permits_no_estimate(head):
    small = np.zeros_like(head.mask)
    middle = tuple(n // 2 for n in small.shape)
    small[tuple(slice(m - 4, m + 5) for m in middle)] = True
    found = estimate_linear_phase(head.phase, small, head.kappa, voxel_size=SIZE)
    assert not found.posterior_mean.any()
    assert np.isinf(found.standard_error).all()


def test_invalid_arguments_are_refused(head):
    with pytest.raises(ValueError, match="labels has shape"):
        estimate(head, labels=np.ones((2, 2, 2)))
    with pytest.raises(ValueError, match="median of kappa must be positive"):
        estimate(head, kappa=-head.kappa)


def test_the_phase_to_subtract_is_linear():
    phase = make_linear_phase((1, 10, 100), (2, 3, 4), (1, 2, 5))
    assert phase.shape == (2, 3, 4)
    assert phase[0, 0, 0] == 0
    assert phase[1, 2, 3] == pytest.approx(1e-3 * (1 + 10 * 2 * 2 + 100 * 5 * 3))


def test_the_posterior_mean_agrees_with_numerical_integration():
    """The reference is a sum of the posterior over a grid along one axis; other axes are 0."""
    sd, found, slab = 3.0, 7.0, 20.0
    a = np.linspace(-120, 120, 200_001)
    step = a[1] - a[0]

    def normal(x, s):
        return np.exp(-((x / s) ** 2) / 2) / (s * math.sqrt(2 * math.pi))

    posterior = 0.2 * normal(a, slab) * normal(found - a, sd) * step
    spike = 0.8 * normal(found, sd)
    expected = np.sum(a * posterior) / (np.sum(posterior) + spike)
    mean = posterior_mean(np.array([0, found, 0]), np.diag([1e-6, sd**2, 1e-6]))
    assert mean == pytest.approx([0, expected, 0], abs=1e-3)


@pytest.mark.slow
def test_ramps_in_the_full_wave_phantom_are_found():
    parameters = PhantomParameters(
        resolution=SIZE, forward_model="full-wave", small_lesions=True, tissue_variation=0.15
    )
    head = make_head(parameters)
    phantom = make_phantom(replace(parameters, snr=50), head)
    image = compute_phi0(phantom.magnitude, phantom.phase, mask=phantom.mask)
    brain = head.anatomy.brain
    first = reconstruct(
        image.phase,
        method="integral-mag-ivw",
        voxel_size=SIZE,
        frequency=parameters.frequency,
        mask=brain,
        magnitude=image.magnitude,
    )
    for ramp in ([0, 0, 0], [10, 0, 0], [0, -20, 0], [0, 0, 40]):
        found = estimate_linear_phase(
            image.phase + make_linear_phase(ramp, brain.shape, (SIZE,) * 3),
            brain,
            first.conductivity / conductivity_factor(parameters.frequency),
            voxel_size=SIZE,
            labels=head.anatomy.labels,
            b1_squared=np.abs(head.fields.transmit) ** 2,
        )
        assert np.linalg.norm(found.posterior_mean - ramp) < 3


def make_estimate(estimate, sd):
    covariance = np.diag(np.square(sd))
    mean = posterior_mean(np.array(estimate), covariance)
    return LinearPhase(np.array(estimate), covariance, mean, 0.5)


def test_estimates_are_combined_by_their_precision():
    """Check the weighted mean, and the standard error multiplied by the Birge ratio."""
    first, second = (
        make_estimate([10.0, 0, 5], [1.0, 2, 3]),
        make_estimate([10.0, 1, 25], [2.0, 2, 4]),
    )
    found = combine(first, second)
    np.testing.assert_allclose(found.estimate, [10, 0.5, (5 / 9 + 25 / 16) / (1 / 9 + 1 / 16)])
    expected = [1 / np.hypot(1, 1 / 2), np.sqrt(2), 4 * 12 / 5]
    np.testing.assert_allclose(found.standard_error, expected)
    np.testing.assert_allclose(combine(second, first).covariance, found.covariance)


def test_little_is_removed_if_estimates_contradict_each_other():
    first = make_estimate([20.0, 0, 0], [2.0, 2, 2])
    assert combine(first, first).posterior_mean[0] > 19.5
    contradicted = combine(first, make_estimate([-20.0, 0, 0], [3.0, 2, 2]))
    assert abs(contradicted.posterior_mean[0]) < 1


def test_an_unknown_estimate_is_ignored():
    known = make_estimate([20.0, 0, 0], [2.0, 2, 2])
    unknown = unknown_linear_phase()
    assert combine(known, unknown) is known
    assert combine(unknown, known) is known
    assert combine(unknown, unknown) is unknown


def test_contrast_between_tissues_does_not_change_the_estimate():
    """The centre of gravity of a noise-weighted mean over a cell differs from the cell's centre."""
    size = (3.0,) * 3
    head = head_of_size(size[0])
    noise = np.where(head.labels == 1, 0.01, 0.03)
    estimates = [
        find_linear_phase(
            InverseProblem(
                phase=head.phase + make_linear_phase(ramp, head.phase.shape, size),
                support=np.where(head.mask, head.labels, 0).astype(np.int32),
                voxel_size=size,
                precision=np.where(head.mask, noise**-2, 0),
            )
        ).estimate
        for ramp in (np.zeros(3), 3 * RAMP)
    ]
    np.testing.assert_allclose(estimates[1] - estimates[0], 3 * RAMP, rtol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["inversion-mag", "inversion-seg"])
def test_a_ramp_has_little_effect_on_an_inversion(head, method):
    maps = [
        reconstruct(
            head.phase + make_linear_phase(ramp, head.phase.shape, (SIZE,) * 3),
            method=method,
            voxel_size=SIZE,
            frequency=F,
            mask=head.mask,
            labels=head.labels,
            magnitude=1 + 0.3 * (head.labels == 1) + 0.6 * (head.labels == 3),
            phase_noise=0.01,
            uncertainty=False,
        )
        for ramp in (np.zeros(3), RAMP)
    ]
    errors = [np.nanmean(np.abs(m.conductivity - head.sigma)[head.mask]) for m in maps]
    assert errors[1] < 1.05 * errors[0]
    np.testing.assert_allclose(maps[1].linear_phase.posterior_mean, RAMP, atol=4)
    assert maps[1].goodness.linear_phase_effect < 0.1
