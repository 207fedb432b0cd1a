"""In-plane maps of slices whose phases differ by constants."""

import numpy as np
import pytest
from scipy.special import jv

from bids_qcm.physics import VACUUM_PERMEABILITY, VACUUM_PERMITTIVITY
from bids_qcm.recon import estimate_linear_phase, reconstruct
from bids_qcm.recon.forms.inversion import find_linear_phase
from bids_qcm.recon.inversion import InverseProblem
from bids_qcm.recon.linear_phase import make_linear_phase

F = 127.74e6
SIGMA = 0.5
SIZE = (3.0, 3.0, 5.0)
N_SLICES = 4


@pytest.fixture(scope="module")
def cylinder():
    """Return B1+, the mask and the coordinates of an infinite cylinder in a rotating field.

    The solution of Maxwell's equations on the axis of the coil is ``B1+ = J0(kr)``.
    """
    x, y, _ = np.mgrid[-15:16, -15:16, :N_SLICES] * np.reshape(SIZE, (3, 1, 1, 1)) * 1e-3
    omega = 2 * np.pi * F
    k = np.sqrt(
        omega**2 * VACUUM_PERMEABILITY * 60 * VACUUM_PERMITTIVITY
        - 1j * omega * VACUUM_PERMEABILITY * SIGMA
    )
    r = np.hypot(x, y)
    return jv(0, k * r), r < 0.04


def in_plane(cylinder, method, offsets=0.0, axis=2, **options):
    """Return the median conductivity of the cylinder, whose slices are stacked along an axis."""
    field, mask = (np.moveaxis(volume, 2, axis) for volume in cylinder)
    phase, b1_map = np.angle(field), np.abs(field)
    shape = [-1 if other == axis else 1 for other in range(3)]
    found = reconstruct(
        phase + np.reshape(offsets, shape),
        method=method,
        voxel_size=tuple(np.insert([3.0, 3.0], axis, 5.0)),
        frequency=F,
        mask=mask,
        magnitude=1 + 0.1 * np.random.default_rng(0).standard_normal(phase.shape),
        phase_type="transmit",
        sign="auto",
        phase_noise=0.001,
        b1_map=b1_map,
        axes=[other for other in range(3) if other != axis],
        **options,
    )
    assert found.axes == tuple(other for other in range(3) if other != axis)
    return found.conductivity[mask]


@pytest.mark.parametrize("method", ["laplacian-fd", "laplacian", "integral", "inversion"])
def test_in_plane_maps_of_a_cylinder_are_exact(cylinder, method):
    found = in_plane(cylinder, method, uncertainty=False)
    assert np.nanmedian(found) == pytest.approx(SIGMA, rel=0.02)


@pytest.mark.parametrize("method", ["laplacian", "inversion"])
def test_phase_offsets_of_slices_do_not_change_in_plane_maps(cylinder, method):
    offsets = np.random.default_rng(1).uniform(-3, 3, N_SLICES)
    plain, shifted = (
        in_plane(cylinder, method, o, uncertainty=False) for o in (0.0 * offsets, offsets)
    )
    np.testing.assert_allclose(shifted, plain, rtol=0.01, atol=0.005)


def test_an_inversion_may_have_slices_along_any_axis(cylinder):
    found = in_plane(cylinder, "inversion", axis=0)
    assert np.nanmedian(found) == pytest.approx(SIGMA, rel=0.02)


def test_an_inversion_maps_a_single_slice(cylinder):
    field, mask = (volume[:, :, :1] for volume in cylinder)
    found = reconstruct(
        np.angle(field), method="inversion", voxel_size=SIZE, frequency=F, mask=mask,
        phase_type="transmit", sign="auto", phase_noise=0.001, b1_map=np.abs(field), axes=(0, 1),
    )  # fmt: skip
    assert np.median(found.conductivity[mask]) == pytest.approx(SIGMA, rel=0.02)
    assert (found.conductivity_std[mask] > 0).all()


def test_the_linear_phase_within_slices_is_found():
    """A linear phase within the slices is estimated; across the slices, it has no effect."""
    x, y, _ = np.mgrid[-30:30, -30:30, :3] * 4e-3
    labels = np.where((x // 0.02 + y // 0.02) % 2 == 0, 1, 2)
    kappa = np.where(labels == 1, 700.0, 1300.0)
    ramp = make_linear_phase((30.0, -20.0, 0.0), x.shape, (4.0, 4.0, 4.0))
    # the Laplacian is 1000 rad/m^2, so that only the linear phase explains the borders
    found = estimate_linear_phase(
        1000 * (x**2 + y**2) / 4 + ramp,
        np.ones(x.shape, bool),
        kappa,
        voxel_size=4.0,
        labels=labels,
        axes=(0, 1),
    )
    assert found.estimate.shape == (2,)
    whole = found.on_axes((0, 1))
    assert whole.estimate[2] == whole.standard_error[2] == whole.posterior_mean[2] == 0
    bare = estimate_linear_phase(
        1000 * (x**2 + y**2) / 4,
        np.ones(x.shape, bool),
        kappa,
        voxel_size=4.0,
        labels=labels,
        axes=(0, 1),
    )
    np.testing.assert_allclose(found.estimate - bare.estimate, [30, -20], atol=1e-6)


def test_the_linear_phase_of_few_voxels_is_unknown():
    labels = np.ones((6, 6, 2), dtype=np.int32)
    phase = 300 * (np.mgrid[:6, :6, :2][0] * 4e-3) ** 2
    phase = phase + 1e-4 * np.random.default_rng(0).standard_normal(phase.shape)
    problem = InverseProblem(phase, labels, (4.0, 4.0, 4.0), precision=labels * 1e6, axes=(0, 1))
    found = find_linear_phase(problem)
    np.testing.assert_array_equal(found.posterior_mean, 0)
    assert found.standard_error[2] == 0
