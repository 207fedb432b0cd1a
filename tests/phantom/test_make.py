import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from bids_qcm.phantom.image import off_resonance_field
from bids_qcm.phantom.make import make_head, make_phantom
from bids_qcm.phantom.parameters import PhantomParameters
from bids_qcm.phantom.tissues import TISSUES

SPIN_ECHO = PhantomParameters(resolution=4.0)
QUIET = replace(SPIN_ECHO, snr=math.inf)
LESIONS = replace(QUIET, lesion=True, small_lesions=True, tissue_variation=0.15)
GRADIENT_ECHO = replace(QUIET, echo_times=(0.005, 0.015, 0.025))


def wrap(phase):
    return np.angle(np.exp(1j * phase))


def images(phantom):
    return [m * np.exp(1j * p) for m, p in zip(phantom.magnitude, phantom.phase, strict=True)]


@pytest.fixture(scope="module")
def quiet():
    return make_phantom(QUIET)


@pytest.fixture(scope="module")
def gradient_echo(quiet):
    return make_phantom(GRADIENT_ECHO, quiet.head)


@pytest.fixture(scope="module")
def lesions():
    return make_phantom(LESIONS)


def test_arrays_have_the_documented_shapes_types_and_units(quiet):
    shape = quiet.labels.shape
    for array in (*quiet.magnitude, *quiet.phase, quiet.phi0, quiet.conductivity, quiet.mask):
        assert array.shape == shape
    assert quiet.magnitude[0].dtype == quiet.phase[0].dtype == np.float32
    assert quiet.mask.dtype == bool
    assert quiet.voxel_size == (4.0, 4.0, 4.0)
    assert quiet.frequency == pytest.approx(127.73e6, rel=1e-4)
    # The range must not exceed 2 pi in double precision; otherwise, the phase would look unwrapped.
    noise = make_phantom(SPIN_ECHO, quiet.head).phase[0]
    assert float(noise.max()) - float(noise.min()) <= 2 * math.pi


def laplacian_over_k(phantom):
    """Return the finite-difference conductivity in S/m, and a mask of the inner head voxels."""
    laplacian = -6 * phantom.phi0
    for axis in range(3):
        laplacian += np.roll(phantom.phi0, 1, axis) + np.roll(phantom.phi0, -1, axis)
    k = 1 / (2 * 1.25663706212e-6 * 2 * math.pi * phantom.frequency)
    return k * laplacian / 0.004**2, ndimage.binary_erosion(phantom.labels > 0)


def test_truth_obeys_the_equation_of_the_laplacian_model():
    phantom = make_phantom(replace(LESIONS, forward_model="laplacian"))
    sigma, inside = laplacian_over_k(phantom)
    assert inside[phantom.mask].all()
    np.testing.assert_allclose(sigma[inside], phantom.conductivity[inside], rtol=0, atol=1e-5)


def test_convection_reaction_differs_from_the_laplacian_only_at_borders(quiet):
    sigma, _ = laplacian_over_k(quiet)
    white = quiet.labels == 2
    deep = ndimage.binary_erosion(white & (quiet.conductivity < 0.35), iterations=2)
    assert deep.sum() > 50
    np.testing.assert_allclose(np.median(sigma[deep]), 0.342, atol=0.02)
    border = white & ~ndimage.binary_erosion(white)
    assert np.abs(sigma - quiet.conductivity)[border].mean() > 0.05


def test_head_can_be_imaged_again(quiet):
    head = quiet.head
    scanner = replace(GRADIENT_ECHO, snr=20.0, seed=3, phase_sign=-1)
    again, afresh = make_phantom(scanner, head), make_phantom(scanner)
    assert again.head is head
    np.testing.assert_array_equal(again.phase, afresh.phase)
    np.testing.assert_array_equal(again.magnitude, afresh.magnitude)


def test_lesions_and_variation_have_the_given_size(quiet, lesions):
    phantom = lesions
    tumour = phantom.head.anatomy.fractions[5] > 0.99
    np.testing.assert_allclose(phantom.conductivity[tumour], 0.9)
    assert (phantom.labels[tumour] == 7).all()
    assert phantom.mask[tumour].all()
    small = phantom.head.anatomy.small_lesion_fraction > 0.99
    np.testing.assert_allclose(phantom.conductivity[small], 0.9, rtol=1e-2)
    ratio = phantom.magnitude[0][small] / quiet.magnitude[0][small]
    np.testing.assert_allclose(ratio, 1.1, rtol=1e-2)
    healthy = (phantom.labels == 2) & (phantom.head.anatomy.fractions[1] > 0.99) & ~small
    spread = phantom.conductivity[healthy].std() / 0.342
    assert spread == pytest.approx(0.15, rel=0.3)
    other = make_phantom(replace(LESIONS, anatomy_seed=1))
    assert (phantom.conductivity != other.conductivity)[phantom.mask].mean() > 0.9


def test_anatomy_is_independent_of_the_noise_seed_and_positions_of_the_variation_and_tumour(
    lesions,
):
    one = lesions.head
    np.testing.assert_array_equal(
        make_head(replace(LESIONS, seed=5)).conductivity, one.conductivity
    )
    plain = make_head(replace(LESIONS, tissue_variation=0.0, lesion=False))
    np.testing.assert_array_equal(
        plain.anatomy.small_lesion_diameter, one.anatomy.small_lesion_diameter
    )


def test_spin_echo_phase_is_phi0(quiet):
    assert np.abs(wrap(quiet.phase[0] - quiet.phi0)[quiet.mask]).max() < 1e-5


def test_phase_sign_reverses_the_phase_but_not_the_truth(quiet):
    flipped = make_phantom(replace(QUIET, phase_sign=-1))
    np.testing.assert_array_equal(flipped.phi0, quiet.phi0)
    np.testing.assert_allclose(flipped.phase[0][quiet.mask], -quiet.phase[0][quiet.mask])


def test_gradient_echo_phase_is_linear_in_echo_time(gradient_echo):
    field = off_resonance_field(gradient_echo.mask, gradient_echo.head.anatomy.grid, 30.0)
    for echo_time, phase in zip(GRADIENT_ECHO.echo_times, gradient_echo.phase, strict=True):
        expected = gradient_echo.phi0 + 2 * math.pi * field * echo_time
        assert np.abs(wrap(phase - expected)[gradient_echo.mask]).max() < 1e-5


def test_gradient_echo_magnitude_decays_with_t2_star(gradient_echo):
    """Each tissue in a voxel decays with its own T2*."""
    fractions = gradient_echo.head.anatomy.fractions
    head = gradient_echo.labels > 0

    def expected(echo_time):
        return sum(
            tissue.magnitude * math.exp(-echo_time / tissue.t2_star) * fraction[head]
            for tissue, fraction in zip(TISSUES, fractions, strict=True)
        )

    first, _, last = (magnitude[head] for magnitude in gradient_echo.magnitude)
    np.testing.assert_allclose(last / first, expected(0.025) / expected(0.005), rtol=1e-4)


def test_magnitude_is_the_mean_weighted_by_the_fractions(quiet):
    """The magnitude also contains the receive bias, which is similar in neighbouring voxels."""
    fractions = quiet.head.anatomy.fractions
    expected = sum(t.magnitude * f for t, f in zip(TISSUES, fractions, strict=True))
    head = quiet.labels > 0
    bias = np.where(head, quiet.magnitude[0], 0) / np.where(head, expected, 1)
    steps = np.abs(np.diff(bias, axis=0))[head[1:] & head[:-1]]
    assert steps.max() < 0.05
    assert 0.8 < bias[head].min() < bias[head].max() < 1.5


def test_off_resonance_peak_is_in_the_brain(quiet):
    field = off_resonance_field(quiet.mask, quiet.head.anatomy.grid, 45.0)
    assert np.abs(field[quiet.mask]).max() == pytest.approx(45.0)
    assert field[quiet.mask].mean() == pytest.approx(0, abs=1e-9)


def test_the_signal_is_zero_outside_the_head(quiet):
    head = quiet.labels > 0
    assert not quiet.magnitude[0][~head].any()
    assert quiet.magnitude[0][head].min() > 0
    assert head.sum() > 1.5 * quiet.mask.sum()


@pytest.mark.parametrize("snr", [5.0, 50.0])
def test_noise_has_the_standard_deviation_of_the_snr(quiet, snr):
    noisy = make_phantom(replace(SPIN_ECHO, snr=snr), quiet.head)
    noise = images(noisy)[0] - images(quiet)[0]
    expected = quiet.magnitude[0][quiet.mask].mean() / snr
    for where in (quiet.mask, ~quiet.mask):
        # The estimate from about 30,000 voxels has a relative standard deviation of 0.4 %.
        assert noise[where].real.std() == pytest.approx(expected, rel=0.02)
        assert noise[where].imag.std() == pytest.approx(expected, rel=0.02)


def test_echoes_have_the_same_sd_and_independent_noise(gradient_echo):
    noisy = images(make_phantom(replace(GRADIENT_ECHO, snr=20.0), gradient_echo.head))
    noise = [(a - b).ravel() for a, b in zip(noisy, images(gradient_echo), strict=True)]
    assert noise[2].std() == pytest.approx(noise[0].std(), rel=0.02)
    assert abs(np.corrcoef(noise[0].real, noise[1].real)[0, 1]) < 0.02


def test_seed_affects_only_the_noise():
    one, again = make_phantom(SPIN_ECHO), make_phantom(SPIN_ECHO)
    other = make_phantom(replace(SPIN_ECHO, seed=1), one.head)
    np.testing.assert_array_equal(one.phase[0], again.phase[0])
    assert (one.phase[0] != other.phase[0]).mean() > 0.99
    np.testing.assert_array_equal(one.phi0, again.phi0)


def test_phantom_needs_neither_nibabel_nor_nipype():
    code = (
        "import sys, bids_qcm.phantom.make, bids_qcm.phantom.scaling\n"
        "sys.exit(bool({'nibabel', 'nipype', 'bids', 'nilearn'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
