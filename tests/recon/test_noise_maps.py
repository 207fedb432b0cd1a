"""Noise maps, and the standard errors of regional means that follow from them."""

import numpy as np
import pytest

from bids_qcm.phantom.anatomy import make_anatomy
from bids_qcm.phantom.conductivity import conductivity_map
from bids_qcm.phantom.forward import transceive_phase
from bids_qcm.phantom.image import add_noise, make_signal, to_magnitude_and_phase
from bids_qcm.phase import compute_phi0
from bids_qcm.recon import METHODS, reconstruct
from bids_qcm.recon.replicates import NOISE_MAPS, spread
from bids_qcm.statistics import region_statistics

REALISATIONS = 40
RESOLUTION = 4.0
# one hemisphere, in blocks that are small enough for more than 300 regions
HALF = np.s_[:26]
BLOCK_MM = 16
F = 127.74e6


@pytest.mark.parametrize("method", METHODS)
def test_each_method_has_noise_maps_where_it_has_a_map(small_volumes, method):
    volumes = small_volumes
    keywords = {
        "method": method,
        "voxel_size": (1.0, 1.0, 1.0),
        "frequency": F,
        "mask": volumes.mask,
        "magnitude": volumes.magnitude,
        "labels": volumes.labels,
        "n_threads": 1,
        "fit_radius": None if "inversion" in method else 4,
        "integral_radius": 4 if "integral" in method else None,
        "phase_noise": 0.05,
        "magnitude_noise": 0.0,
    }
    assert reconstruct(volumes.phase, **keywords).noise_maps is None
    found = reconstruct(volumes.phase, noise_maps=True, **keywords)
    maps = found.noise_maps
    assert maps.shape == (NOISE_MAPS, volumes.mask.sum())
    assert maps.dtype == np.float32
    invalid = np.isnan(found.conductivity[volumes.mask])
    np.testing.assert_array_equal(np.isnan(maps), np.tile(invalid, (NOISE_MAPS, 1)))
    std = found.conductivity_std[volumes.mask][~invalid]
    ratio = np.sqrt(np.mean(maps[:, ~invalid] ** 2, axis=0)) / std
    # the relative error of each ratio is 18 %, and inversions average their standard deviations
    assert np.median(ratio) == pytest.approx(1, abs=0.12)
    assert (
        reconstruct(volumes.phase, noise_maps=True, uncertainty=False, **keywords).noise_maps
        is None
    )


def test_values_spread_to_the_nearest_selected_voxel_of_the_tissue():
    support = np.array([[[1, 1, 1, 2, 2, 0, 3]]], np.int32)
    at = np.array([[[True, False, True, False, True, True, False]]])
    values = np.array([[1, np.nan, 5], [2, np.nan, 6]], np.float32)
    expected = [[1, 1, 1, 5, 5, np.nan], [2, 2, 2, 6, 6, np.nan]]
    np.testing.assert_array_equal(spread(values, at, support), expected)


@pytest.fixture(scope="module")
def anatomy():
    return make_anatomy(RESOLUTION)


@pytest.fixture(scope="module")
def mask(anatomy):
    return anatomy.brain[HALF]


@pytest.fixture(scope="module")
def labels(anatomy):
    return anatomy.labels[HALF]


@pytest.fixture(scope="module")
def realisations(anatomy, mask):
    sigma = conductivity_map(anatomy, F, 0.9, 0.0, np.random.default_rng(0))
    signal = make_signal(anatomy, transceive_phase(sigma, (RESOLUTION,) * 3, F), None, 0)[HALF]
    sd = np.abs(signal[mask]).mean() / 50
    noisy = (add_noise(signal, sd, np.random.default_rng(seed)) for seed in range(REALISATIONS))
    images = [to_magnitude_and_phase(one) for one in noisy]
    return [compute_phi0([one], [other], mask=mask) for one, other in images]


@pytest.fixture(scope="module")
def regions(mask, labels):
    """Return the parts of the tissues in blocks, as labels."""
    labels = np.where(mask, labels, 0).astype(int)
    x, y, z = (np.arange(n) * RESOLUTION // BLOCK_MM for n in labels.shape)
    blocks = (x[:, None, None] * 100 + y[:, None] * 10 + z).astype(int)
    return np.where(labels > 0, blocks * 10 + labels, 0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["laplacian-seg", "integral-magseg", "inversion-seg"])
def test_predicted_error_of_a_mean_is_its_spread_over_realisations(
    mask, labels, realisations, regions, method
):
    def compute(phi0, **options):
        return reconstruct(
            phi0.phase,
            method=method,
            voxel_size=RESOLUTION,
            frequency=F,
            mask=mask,
            magnitude=phi0.magnitude,
            labels=labels,
            phase_noise=phi0.noise,
            magnitude_noise=phi0.magnitude_noise,
            **options,
        )

    def compare(regions):
        """Return the statistics of the regions, and the spread of their means."""
        predicted = region_statistics(first.conductivity, mask, regions, first.noise_maps)
        means = [[one.mean for one in region_statistics(one, mask, regions)] for one in maps]
        return predicted, np.std(means, axis=0, ddof=1)

    first = compute(realisations[0], noise_maps=True)
    maps = [compute(phi0, uncertainty=False).conductivity for phi0 in realisations]
    predicted, observed = compare(regions)
    large = np.array([one.n * (1 - one.invalid_fraction) >= 8 for one in predicted])
    assert large.sum() > 300
    ratio = observed[large] / np.array([one.standard_error for one in predicted])[large]
    assert 0.8 < np.nanmedian(ratio) < 1.25
    # the error of a mean of independent voxels would be several times too small
    independent = np.array([one.sd / np.sqrt(max(one.n, 1)) for one in predicted])
    assert np.nanmedian(observed[large] / independent[large]) > 1.4
    # The means of whole tissues are the slowest to converge. The relative error is 18 % for a
    # prediction and 11 % for a spread.
    predicted, observed = compare(np.where(mask, labels, 0))
    ratio = observed / [one.standard_error for one in predicted]
    assert (ratio > 0.6).all()
    assert (ratio < 1.7).all()
