import numpy as np
import pytest

from bids_qcm.phase import compute_phi0
from bids_qcm.recon import determine_sign
from bids_qcm.recon.sign import _smooth_regions
from tests.abdomen import make_abdomen

R2 = (np.mgrid[-9:10, -9:10, -9:10] ** 2).sum(axis=0).astype(float)
MASK = R2 < 81


@pytest.mark.parametrize(("factor", "sign"), [(1, "+"), (-1, "-")])
def test_sign_makes_the_laplacian_positive(factor, sign):
    decision = determine_sign(factor * 1e-3 * R2, MASK, (2.0, 2.0, 2.0))
    assert decision.sign == sign
    # the Laplacian of c r^2 is 6 c; here, c is per (2 mm)^2
    assert decision.median_laplacian == pytest.approx(factor * 6e-3 / 2e-3**2, rel=1e-4)
    assert decision.agreement == 1
    assert not decision.weak


@pytest.mark.parametrize("size", [15, 25, 40])
@pytest.mark.parametrize("seed", range(4))
def test_noise_alone_is_weak_evidence(size, seed):
    noise = np.random.default_rng(seed).normal(size=(size,) * 3)
    decision = determine_sign(noise, np.ones(noise.shape, bool), (3.0, 3.0, 3.0))
    assert decision.weak


def test_a_single_slice_is_enough():
    phase = 1e-3 * R2[:, :, 9:10]
    decision = determine_sign(-phase, MASK[:, :, 9:10], (2.0, 2.0, 5.0), axes=(0, 1))
    assert decision.sign == "-"


def test_voxels_without_phase_are_left_out():
    phase = 1e-3 * R2
    phase[9, 9, 9] = np.nan
    assert determine_sign(phase, MASK, (2.0, 2.0, 2.0)).sign == "+"


def test_too_small_a_mask_requires_an_explicit_sign():
    mask = np.zeros(R2.shape, bool)
    mask[9, 9, 9] = True
    with pytest.raises(ValueError, match="specify the sign"):
        determine_sign(R2, mask, (2.0, 2.0, 2.0))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_fat_between_organs_does_not_change_the_sign(seed):
    """At most echo times, the phases of the fat and water signals differ."""
    sign = (1, -1)[seed % 2]
    abdomen = make_abdomen(seed, sign=sign)
    phi0 = compute_phi0([np.abs(abdomen.signal)], [np.angle(abdomen.signal)])
    decision = determine_sign(phi0.phase, phi0.mask, (abdomen.voxel_size,) * 3)
    assert decision.sign == {1: "+", -1: "-"}[sign]


def test_a_jump_within_the_kernels_does_not_bias_the_laplacian():
    jump = np.where(np.mgrid[-9:10, -9:10, -9:10][0] % 8 < 4, 2.0, 0.0)
    decision = determine_sign(1e-3 * R2 + jump, MASK, (6.0, 6.0, 6.0))
    assert decision.median_laplacian == pytest.approx(6e-3 / 6e-3**2, rel=1e-4)
    assert not decision.weak


@pytest.mark.parametrize("axes", [(0,), (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("thick", [40, 3])
def test_1_percent_of_noise_counts_as_jumps(axes, thick):
    """For any number of axes, and in a thin mask, in which many voxels lack a neighbour."""
    noise = np.random.default_rng(0).normal(0, 0.3, (60, 60, 40))
    mask = np.zeros(noise.shape, bool)
    mask[5:55, 5:55, :thick] = True
    regions = _smooth_regions(noise, mask, axes, 1)
    jumps = mask & (regions == 0)
    inside = np.zeros_like(mask)
    inside[6:54, 6:54, 1 : thick - 1] = True
    assert jumps[inside].mean() == pytest.approx(0.01, abs=0.004)
    assert jumps[mask & ~inside].mean() < 0.012


def test_a_mask_of_a_single_row_has_no_jumps():
    mask = np.zeros((9, 9, 9), bool)
    mask[:, 4, 4] = True
    noise = np.random.default_rng(0).normal(size=mask.shape)
    assert _smooth_regions(noise, mask, (0, 1), 1)[mask].all()


@pytest.mark.parametrize("box", [np.s_[:, :, :], np.s_[4:, :12, 9:10], np.s_[5:7, 3:, :]])
def test_the_decision_does_not_depend_on_the_volume_around_the_mask(box):
    rng = np.random.default_rng(0)
    phase = (1e-3 * R2 + rng.normal(0, 0.01, R2.shape))[box]
    mask = MASK[box]
    around = [(3, 5), (2, 0), (0, 4) if mask.shape[2] > 1 else (0, 0)]
    axes = [axis for axis in range(3) if mask.shape[axis] > 2]
    small = determine_sign(phase, mask, (6.0, 6.0, 6.0), axes=axes)
    large = determine_sign(np.pad(phase, around), np.pad(mask, around), (6.0, 6.0, 6.0), axes=axes)
    assert small == large
