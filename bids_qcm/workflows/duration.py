"""Estimate of the computation time, so that users can choose a queue or a time limit."""

import math

from bids_qcm.bids.planning import Plan
from bids_qcm.recon import METHODS
from bids_qcm.recon.inversion import REPLICATE_SIZE
from bids_qcm.settings import Settings

# Measured on heads with 1 and 2 mm voxels on one core of a server from 2023. Other machines may
# take half or twice as long.
_SECONDS_PER_PAIR = 0.7e-9
_SECONDS_PER_VOXEL_AND_ECHO = 0.6e-6
_SECONDS_PER_VOXEL = 0.5e-6
_SECONDS_PER_METHOD = 1.0
_SECONDS_OF_B1 = 1.0
_SECONDS_OF_B1_PER_VOXEL = 1e-6
_SECONDS_OF_REGISTRATION = 20.0
_SECONDS_OF_TEMPLATE = 10.0
_SECONDS_OF_TISSUE_CLASSES = 50.0
# An inversion has no kernel, so its time and the time of its standard deviation are expressed as
# equivalent numbers of voxel pairs.
_PAIRS_OF_INVERSION = 20_000
_PAIRS_OF_INVERSION_STD = 40_000

_SHARE_IN_MASK = 0.4

# Computation time of the noise standard deviation relative to the map: with noise replicates of
# phase and magnitude, and with noise replicates of the magnitude only.
_FACTOR_REPLICATES = 10
_FACTOR_MAGNITUDE_REPLICATES = 5


def seconds(plan: Plan, settings: Settings) -> float:
    """Estimate the computation time of an acquisition if nothing else runs.

    Parameters
    ----------
    plan : Plan
    settings : Settings

    Returns
    -------
    float
        Time in s. The time of a kernel is assumed to be proportional to its number of voxels.
    """
    n_voxels = plan.grid.n_voxels
    alignments = {plan.mask_alignment, plan.segmentation_alignment, plan.b1_alignment}
    images = {alignment.anatomical for alignment in alignments} - {None}
    before = (
        n_voxels * (_SECONDS_PER_VOXEL + _SECONDS_PER_VOXEL_AND_ECHO * len(plan.echoes))
        + len(images) * _SECONDS_OF_REGISTRATION
        + _seconds_of_mask(plan)
        + _seconds_of_b1(plan)
    )
    pairs = sum(_pairs_per_voxel(plan, settings, method) for method in plan.methods)
    work = n_voxels * _SHARE_IN_MASK * pairs * _SECONDS_PER_PAIR
    return before + len(plan.methods) * _SECONDS_PER_METHOD + work / settings.nprocs


def _seconds_of_mask(plan: Plan) -> float:
    """Return the time in s of tissue segmentation or of template registration."""
    if plan.segments_t1w:
        return _SECONDS_OF_TISSUE_CLASSES
    return _SECONDS_OF_TEMPLATE if "template" in plan.mask_origins else 0.0


def _seconds_of_b1(plan: Plan) -> float:
    if not plan.b1_origins:
        return 0.0
    return _SECONDS_OF_B1 + plan.grid.n_voxels * _SECONDS_OF_B1_PER_VOXEL


def _pairs_per_voxel(plan: Plan, settings: Settings, name: str) -> float:
    """Return the number of voxel pairs that a method processes for each voxel."""
    method = METHODS[name]
    if method.form == "inversion":
        if not settings.uncertainty:
            return _PAIRS_OF_INVERSION
        # the standard deviation of an inversion is computed on merged voxels if voxels are small
        share = 1 if min(plan.grid.voxel_size) >= REPLICATE_SIZE else 1 / 8
        return _PAIRS_OF_INVERSION + share * _PAIRS_OF_INVERSION_STD
    kernels = plan.kernels[name]
    pairs = sum(
        _n_voxels_within(radius, plan.grid.voxel_size)
        for radius in (kernels.fit_radius, kernels.integral_radius)
        if radius is not None
    )
    if settings.needs_noise(name) and method.form == "integral":
        return pairs * (1 + _FACTOR_REPLICATES)
    if settings.uncertainty and method.uses_magnitude:
        return pairs * (1 + _FACTOR_MAGNITUDE_REPLICATES)
    return pairs


def _n_voxels_within(radius: tuple[float, ...], voxel_size: tuple[float, ...]) -> float:
    """Estimate the number of voxels in an ellipsoid, or in an ellipse if a radius is 0."""
    semi_axes = [r / d for r, d in zip(radius, voxel_size, strict=True) if r > 0]
    return math.prod(semi_axes) * (4 / 3 if len(semi_axes) == 3 else 1) * math.pi
