"""Selection of the radii from the noise."""

import math

import numpy as np
import pytest

from bids_qcm.physics import conductivity_factor
from bids_qcm.recon import METHODS, reconstruct
from bids_qcm.recon.automatic import LARGEST_SCALE
from bids_qcm.recon.kernels import ellipsoid
from bids_qcm.recon.radii import is_automatic

F = 127.74e6


@pytest.fixture(scope="module")
def cube():
    """Return a cube of phase noise in which the kernels of most voxels are unrestricted."""
    rng = np.random.default_rng(0)
    return 0.02 * rng.normal(size=(40, 40, 40))


def automatic(phase, method="laplacian", noise=0.02, voxel_size=1.0, **options):
    options = {"fit_radius": "auto", "integral_radius": "auto"} | options
    return reconstruct(
        phase,
        method=method,
        voxel_size=voxel_size,
        frequency=F,
        phase_noise=noise,
        uncertainty=False,
        **options,
    )


@pytest.mark.parametrize("target", [0.1, 0.4])
@pytest.mark.parametrize("voxel_size", [1.0, 2.0])
def test_the_radius_agrees_with_the_noise_limit(cube, target, voxel_size):
    """The radius is the smallest for which ``s sqrt(525 / N) / R^2`` meets the target."""
    # add padding, so that the rim does not affect the sampled median
    phase = np.pad(cube, 24)
    found = automatic(phase, target_std=target, voxel_size=voxel_size)
    assert found.predicted_std <= target
    factor = conductivity_factor(F)

    def limit(radius):
        n = ellipsoid((radius,) * 3, (voxel_size,) * 3).sum()
        return factor * 0.02 * math.sqrt(525 / n) / (radius * 1e-3) ** 2

    radius = found.fit_radius[0]
    assert found.fit_radius == (radius,) * 3
    assert found.predicted_std == pytest.approx(limit(radius), rel=0.1)
    # a radius that is two steps of 5 % smaller would not meet the target
    assert limit(radius / 1.05**2) > target


@pytest.mark.parametrize(
    "method",
    [
        "laplacian",
        "laplacian-mag",
        pytest.param("integral", marks=pytest.mark.slow),
        pytest.param("integral-mag", marks=pytest.mark.slow),
    ],
)
def test_the_map_has_the_target_standard_deviation(cube, method):
    rng = np.random.default_rng(1)
    magnitude = 1 + 0.1 * rng.normal(size=cube.shape)
    found = automatic(cube, method, target_std=0.15, magnitude=magnitude, noise=0.02)
    assert 0.09 < found.predicted_std <= 0.15
    assert np.nanstd(found.conductivity[12:-12, 12:-12, 12:-12]) < 0.15
    again = reconstruct(
        cube,
        method=method,
        voxel_size=1.0,
        frequency=F,
        magnitude=magnitude,
        fit_radius=found.fit_radius,
        integral_radius=found.integral_radius,
        phase_noise=0.02,
    )
    assert np.nanmedian(again.conductivity_std) == pytest.approx(found.predicted_std, rel=0.2)
    np.testing.assert_array_equal(again.conductivity, found.conductivity)


def test_more_noise_gives_larger_kernels(cube):
    radii = [
        automatic(cube, noise=noise, target_std=0.2).fit_radius[0] for noise in (0.01, 0.02, 0.04)
    ]
    assert radii == sorted(set(radii))
    # R^(7/2) is proportional to the noise, except for one step and the rough surface of small balls
    assert radii[2] / radii[0] == pytest.approx(4 ** (2 / 7), rel=0.1)


@pytest.mark.slow
def test_automatic_radii_are_scaled_together_and_fixed_radii_stay(cube):
    method = METHODS["integral"]
    found = automatic(cube, "integral", target_std=0.1)
    ratio = method.integral_radius / method.fit_radius
    assert found.integral_radius[0] / found.fit_radius[0] == pytest.approx(ratio)
    fixed = automatic(cube, "integral", target_std=0.1, integral_radius=(4, 4, 5))
    assert fixed.integral_radius == (4, 4, 5)
    assert fixed.fit_radius[0] > found.fit_radius[0]


def test_an_unreachable_target_selects_the_largest_radius(cube):
    found = automatic(cube[:24, :24, :24], noise=1.0, target_std=1e-3)
    assert 0.9 * LARGEST_SCALE * 9 < found.fit_radius[0] <= LARGEST_SCALE * 9
    assert found.predicted_std > 1e-3


def test_a_loose_target_selects_the_smallest_radius_that_the_grid_allows(cube):
    found = automatic(cube[:12, :12, :12], noise=1e-6, target_std=10, voxel_size=(1, 1, 2))
    # a radius of 2 mm includes a neighbour along z, but the fit is only unique at a slightly larger
    # radius
    assert 2 <= found.fit_radius[0] < 2.5


def test_the_radius_is_enlarged_for_voxels_larger_than_the_published_radius(cube):
    found = automatic(cube[:20, :20, :20], "integral-fd", target_std=10, voxel_size=3)
    assert 3 <= found.integral_radius[0] < 4


def test_in_plane_kernels_have_automatic_radii(cube):
    found = automatic(cube, "integral", target_std=0.5, integral_radius=(5, 5, 0))
    assert found.fit_radius[2] == 0 < found.fit_radius[0]


def test_published_radii_are_the_default(cube):
    found = reconstruct(
        cube, method="laplacian", voxel_size=1, frequency=F, phase_noise=0.02, uncertainty=False
    )
    assert found.fit_radius == (9, 9, 9)
    assert found.predicted_std is None
    assert found.conductivity_std is None


def test_methods_without_kernels_have_no_automatic_radii(cube):
    assert not is_automatic(METHODS["laplacian-fd"], "auto", "auto")
    found = automatic(cube, "laplacian-fd")
    assert found.predicted_std is None


def test_invalid_options_are_refused(cube):
    with pytest.raises(ValueError, match="automatic radii need the argument phase_noise"):
        automatic(cube, noise=None)
    with pytest.raises(ValueError, match="fit radius is 'big'"):
        automatic(cube, fit_radius="big")
    with pytest.raises(ValueError, match="target standard deviation is -1"):
        automatic(cube, target_std=-1)
    with pytest.raises(ValueError, match="reaches less than one voxel"):
        automatic(cube, "integral-fd", voxel_size=5)
