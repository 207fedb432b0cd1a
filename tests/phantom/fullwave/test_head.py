"""Comparison of the noise-free full-wave phantom with its true conductivity."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from bids_qcm.phantom import make
from bids_qcm.phantom.fullwave import fields
from bids_qcm.phantom.make import make_head, make_phantom
from bids_qcm.phantom.parameters import PhantomParameters
from bids_qcm.physics import VACUUM_PERMEABILITY

QUIET = PhantomParameters(
    resolution=5.0, snr=math.inf, forward_model="full-wave", lesion=True, lesion_diameter=40.0
)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def head():
    return make_head(QUIET)


def laplacian(values):
    return sum(np.roll(values, s, a) - values for a in range(3) for s in (1, -1)) / 0.005**2


def deep_in_the_tumour(head):
    """Return a mask of the voxels whose direct and diagonal neighbours are all tumour."""
    pure = np.abs(head.conductivity - QUIET.lesion_conductivity) < 1e-3
    return ndimage.binary_erosion(pure, np.ones((3, 3, 3)))


@pytest.mark.slow
def test_full_helmholtz_equation_returns_the_conductivity(head):
    inside = deep_in_the_tumour(head)
    assert inside.sum() >= 20
    omega_mu0 = 2 * math.pi * QUIET.frequency * VACUUM_PERMEABILITY
    for field in head.fields:
        field = field.astype(np.complex128)
        with np.errstate(divide="ignore", invalid="ignore"):
            sigma = (laplacian(field) / field).imag / omega_mu0
        np.testing.assert_allclose(sigma[inside], QUIET.lesion_conductivity, rtol=0.02)


def test_phase_alone_overestimates_the_conductivity(head):
    """The neglected gradients of |B1+| and |B1-| are parallel to the phase gradient."""
    inside = deep_in_the_tumour(head)
    sigma = laplacian(head.phi0) / (4 * math.pi * QUIET.frequency * VACUUM_PERMEABILITY)
    assert 1.02 < np.median(sigma[inside]) / QUIET.lesion_conductivity < 1.5


def test_phase_is_the_transceive_phase(head):
    transmit, receive = (field.astype(np.complex128) for field in head.fields)
    inside = head.conductivity > 0
    difference = np.angle(transmit * receive * np.exp(-1j * head.phi0))
    assert np.abs(difference[inside]).max() < 1e-6
    assert not head.phi0[~inside].any()


def test_centre_is_brighter_than_the_rim_and_shading_is_mirrored(head):
    transmit, receive = (np.abs(field) for field in head.fields)
    brain = head.anatomy.brain
    rim = brain & ~ndimage.binary_erosion(brain, iterations=2)
    for magnitude in (transmit, receive):
        assert 0.5 < magnitude[rim].mean() < 0.9
        assert magnitude[brain].max() < 1.2
    # The head is nearly symmetric, and mirroring reverses the sense of rotation.
    origin, size = head.anatomy.grid.origin, head.anatomy.grid.resolution
    centre = round(-origin[0] / size)
    mirror = [2 * centre - x for x in range(2 * centre + 1 - transmit.shape[0], transmit.shape[0])]
    both = slice(mirror[-1], mirror[0] + 1)
    left, right = transmit[both][::-1], receive[both]
    inside = brain[both] & brain[both][::-1]
    assert np.corrcoef(left[inside], right[inside])[0, 1] > 0.98


def test_magnitude_is_shaded_by_both_fields(head):
    phantom = make_phantom(QUIET, head)
    plain = make_phantom(replace(QUIET, forward_model="laplacian"))
    inside = phantom.labels > 0
    ratio = phantom.magnitude[0][inside] / plain.magnitude[0][inside]
    grid = head.anatomy.grid
    r2 = sum(np.ix_(*(grid.centres(axis) ** 2 for axis in range(3))))
    transmit, receive = (np.abs(field[inside]) for field in head.fields)
    bias = (0.85 + 0.2 * r2 / 90**2)[inside]
    np.testing.assert_allclose(ratio * bias, receive * np.sin(np.pi / 2 * transmit), rtol=1e-4)


def test_b1_map_is_a_measurement_and_is_constant_without_the_full_wave_model(head):
    found = make_phantom(QUIET, head).b1_map
    assert found.percent.max() == pytest.approx(100, abs=12)
    other = make_phantom(replace(QUIET, seed=1), head).b1_map
    assert 0 < np.abs(found.percent - other.percent).max() < 15
    constant = make_phantom(replace(QUIET, forward_model="laplacian")).b1_map.percent
    measured = constant[constant > 0]
    assert measured.mean() == pytest.approx(100, abs=1)
    assert measured.std() == pytest.approx(2, abs=0.5)


def test_fine_grids_are_interpolated_from_a_coarser_solution(head, monkeypatch):
    """Check the error of the interpolation, including the error of the coarser solution."""
    monkeypatch.setattr(make, "FINEST_FULL_WAVE", 8.0)
    coarse = make_head(QUIET)
    brain = head.anatomy.brain
    for found, direct in zip(coarse.fields, head.fields, strict=True):
        assert found.shape == direct.shape
        error = np.linalg.norm((found - direct)[brain]) / np.linalg.norm(direct[brain])
        assert 0 < error < 0.04
    np.testing.assert_array_equal(coarse.conductivity, head.conductivity)


def test_fields_come_from_the_cache(head, monkeypatch):
    def fail(*_arguments):
        raise AssertionError("solved again")

    monkeypatch.setattr(fields, "solve_fields", fail)
    again = make_head(replace(QUIET, seed=5, phase_sign=-1, echo_times=(0.01, 0.02)))
    np.testing.assert_array_equal(again.phi0, head.phi0)
    np.testing.assert_array_equal(again.fields.transmit, head.fields.transmit)


@pytest.fixture(scope="module")
def coils():
    """Return the coarse head twice: with the birdcage and with the array as the receive coil."""
    coarse = replace(QUIET, resolution=10.0)
    return make_head(coarse), make_head(replace(coarse, receive="array"))


@pytest.mark.slow
def test_array_changes_the_receive_field_only(coils):
    birdcage, array = coils
    inside = array.conductivity > 0
    np.testing.assert_array_equal(array.conductivity, birdcage.conductivity)
    np.testing.assert_allclose(array.fields.transmit, birdcage.fields.transmit, atol=1e-5)
    expected = birdcage.fields.transmit * array.fields.receive
    difference = np.angle(expected * np.exp(-1j * array.phi0))
    np.testing.assert_allclose(difference[inside], 0, atol=1e-5)
    images = [
        make_phantom(replace(QUIET, resolution=10.0, receive=receive), head).magnitude[0][inside]
        for receive, head in zip(("birdcage", "array"), coils, strict=True)
    ]
    shading = np.abs(array.fields.receive[inside] / birdcage.fields.receive[inside])
    np.testing.assert_allclose(images[1] / images[0], shading, rtol=1e-4)


def test_phases_of_the_coils_differ_by_a_smooth_field(coils):
    """The difference is small and has a small Laplacian, so it does not show the tissues."""
    birdcage, array = coils
    brain = array.anatomy.brain
    difference = array.phi0 - birdcage.phi0
    assert 0.005 < difference[brain].std() < 0.05
    assert difference[brain].std() < 0.1 * birdcage.phi0[brain].std()
    core = ndimage.binary_erosion(brain)
    change = laplacian(difference)[core].std()
    assert change < 0.1 * laplacian(birdcage.phi0)[core].std()
    assert abs(np.corrcoef(laplacian(difference)[core], array.conductivity[core])[0, 1]) < 0.3
