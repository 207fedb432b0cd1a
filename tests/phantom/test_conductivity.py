import numpy as np
import pytest

from bids_qcm.phantom.anatomy import Anatomy
from bids_qcm.phantom.conductivity import (
    CORRELATION_LENGTH,
    conductivity_map,
    permittivity_map,
    smooth_field,
)
from bids_qcm.phantom.grids import grid_around
from bids_qcm.phantom.tissues import TISSUES, conductivities, permittivities

F = 127.74e6
GRID = grid_around((-60, -60, -60), (60, 60, 60), 3.0, margin=0)


def make(fractions, lesion=0.0):
    shape = GRID.shape
    full = np.zeros((len(TISSUES), *shape), np.float32)
    for row, fraction in fractions.items():
        full[row] = fraction
    return Anatomy(
        fractions=full,
        labels=np.ones(shape, np.uint8),
        brain=np.ones(shape, bool),
        small_lesion_fraction=np.full(shape, lesion, np.float32),
        small_lesion_diameter=np.zeros(shape, np.uint8),
        grid=GRID,
    )


def run(anatomy, variation=0.0, seed=0):
    return conductivity_map(anatomy, F, 0.9, variation, np.random.default_rng(seed))


def test_conductivity_is_the_mean_weighted_by_the_fractions():
    gray, white, fluid, *_ = conductivities(F, 0.9)
    found = run(make({0: 0.5, 1: 0.25, 2: 0.25}))
    np.testing.assert_allclose(found, 0.5 * gray + 0.25 * white + 0.25 * fluid)
    assert not run(make({})).any()


def test_a_small_lesion_replaces_its_fraction_of_a_voxel():
    white = conductivities(F, 0.9)[1]
    found = run(make({1: 1.0}, lesion=0.25))
    np.testing.assert_allclose(found, 0.75 * white + 0.25 * 0.9)


def test_permittivity_has_the_conductivity_as_its_loss():
    gray, white, fluid, *_ = permittivities(F)
    anatomy = make({0: 0.5, 1: 0.25, 2: 0.25})
    found = permittivity_map(anatomy, run(anatomy), F)
    np.testing.assert_allclose(found.real, 0.5 * gray + 0.25 * white + 0.25 * fluid)
    np.testing.assert_allclose(-found.imag * 2 * np.pi * F * 8.8541878128e-12, run(anatomy))
    lesion = make({1: 1.0}, lesion=0.25)
    found = permittivity_map(lesion, run(lesion), F)
    np.testing.assert_allclose(found.real, 0.75 * white + 0.25 * gray)
    assert (permittivity_map(make({}), run(make({})), F) == 1).all()


def test_variation_within_a_tissue_has_the_correct_size():
    white = conductivities(F, 0.9)[1]
    found = np.stack([run(make({1: 1.0}), 0.15, seed) for seed in range(10)]) / white
    assert found.mean() == pytest.approx(1, abs=0.01)
    assert found.std() == pytest.approx(0.15, rel=0.07)
    assert found.min() > 0.6


def test_tissues_vary_independently_and_the_tumour_does_not_vary():
    one, other = run(make({0: 1.0}), 0.15), run(make({1: 1.0}), 0.15)
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.3
    np.testing.assert_allclose(run(make({5: 1.0}), 0.15), 0.9)


def test_field_has_the_correct_correlation_length():
    steps = round(CORRELATION_LENGTH / GRID.resolution)
    fields = [smooth_field(GRID, np.random.default_rng(seed)) for seed in range(20)]
    product = np.mean([(f[:-steps] * f[steps:]).mean() for f in fields])
    assert product / np.mean(np.square(fields)) == pytest.approx(np.exp(-1), abs=0.07)
    neighbour = np.mean([(f[:-1] * f[1:]).mean() for f in fields]) / np.mean(np.square(fields))
    assert neighbour == pytest.approx(np.exp(-((3 / 18) ** 2)), abs=0.01)


def test_field_is_the_same_function_at_every_resolution():
    fine, coarse = (
        grid_around((-60, -60, -60), (60, 60, 60), resolution, margin=0) for resolution in (1.0, 3)
    )
    found = [smooth_field(grid, np.random.default_rng(3)) for grid in (fine, coarse)]
    np.testing.assert_allclose(found[0][::3, ::3, ::3], found[1], atol=0.1)
    assert found[0].std() > 0.7
