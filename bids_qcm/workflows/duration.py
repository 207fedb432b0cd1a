"""Estimate of the computation time, which helps users choose a queue or a time limit."""

from bids_qcm.bids.planning import Plan
from bids_qcm.recon import METHODS
from bids_qcm.recon.forms import form_of
from bids_qcm.settings import Settings

# Measured on heads with 1 and 2 mm voxels on one core of a server from 2023. Other machines may
# take half or twice as long.
_SECONDS_PER_VOXEL_AND_ECHO = 0.6e-6
_SECONDS_PER_VOXEL = 0.5e-6
_SECONDS_PER_METHOD = 1.0
_SECONDS_OF_B1 = 1.0
_SECONDS_OF_B1_PER_VOXEL = 1e-6
_SECONDS_OF_REGISTRATION = 20.0
_SECONDS_OF_TEMPLATE = 10.0
_SECONDS_OF_TISSUE_CLASSES = 50.0
_SECONDS_OF_NORMALISATION = 60.0
_SECONDS_OF_RESAMPLING = 12.0
_SECONDS_OF_MIRROR_PLANE = 0.6
_SECONDS_OF_MIRROR_PLANE_PER_VOXEL = 0.2e-6
_SECONDS_OF_REGIONS = 0.3
_SECONDS_OF_REGIONS_PER_VOXEL = 0.1e-6

_SHARE_IN_MASK = 0.4


def seconds(plan: Plan, settings: Settings) -> float:
    """Estimate the computation time of an acquisition if nothing else runs.

    Parameters
    ----------
    plan : Plan
    settings : Settings

    Returns
    -------
    float
        Time in s.
    """
    n_voxels = plan.grid.n_voxels
    alignments = {plan.mask_alignment, plan.segmentation_alignment, plan.b1_alignment}
    alignments |= {plan.lesion_alignment, *(one.alignment for one in plan.regions)}
    if plan.t1w is not None:
        alignments.add(plan.t1w.alignment)
    images = {alignment.anatomical for alignment in alignments} - {None}
    before = (
        n_voxels * (_SECONDS_PER_VOXEL + _SECONDS_PER_VOXEL_AND_ECHO * len(plan.echoes))
        + len(images) * _SECONDS_OF_REGISTRATION
        + _seconds_of_mask(plan)
        + _seconds_of_b1(plan)
        + _seconds_of_spaces(plan)
        + _seconds_of_mirror_plane(plan)
        + _seconds_of_regions(plan)
    )
    per_voxel = sum(_seconds_per_voxel(plan, settings, method) for method in plan.methods)
    work = n_voxels * _SHARE_IN_MASK * per_voxel
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


def _seconds_of_spaces(plan: Plan) -> float:
    """Return the time in s of the registration to the template, and of resampling."""
    registers = plan.template_t1w is not None
    n_images = len(plan.spaces) * (len(plan.methods) + 1)
    return registers * _SECONDS_OF_NORMALISATION + n_images * _SECONDS_OF_RESAMPLING


def _seconds_of_mirror_plane(plan: Plan) -> float:
    """Return the time in s of the search for the mid-sagittal plane."""
    if plan.lesions is None or plan.shows_head is False:
        return 0.0
    return _SECONDS_OF_MIRROR_PLANE + plan.grid.n_voxels * _SECONDS_OF_MIRROR_PLANE_PER_VOXEL


def _seconds_of_regions(plan: Plan) -> float:
    """Return the time in s of the statistics of regions of all maps."""
    n_atlases = len(plan.regions) + plan.tissues_are_regions + (plan.lesions is not None)
    per_map = _SECONDS_OF_REGIONS + plan.grid.n_voxels * _SECONDS_OF_REGIONS_PER_VOXEL
    return len(plan.methods) * n_atlases * per_map


def _seconds_per_voxel(plan: Plan, settings: Settings, name: str) -> float:
    """Return the processor time of a method in s per voxel of the mask."""
    method = METHODS[name]
    return form_of(method).seconds_per_voxel(
        method,
        plan.kernels[name],
        plan.grid.voxel_size,
        noise=settings.needs_noise(name),
        uncertainty=settings.uncertainty,
        noise_maps=settings.uncertainty and plan.has_regions,
    )
