"""Estimates of the peak memory of nodes, and the memory limit of a run."""

import math
from pathlib import Path

from bids_qcm.bids.anatomy.alignments import Alignment
from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.spaces import OutputSpace
from bids_qcm.bids.images import read_grid
from bids_qcm.bids.planning import Plan
from bids_qcm.grids import Grid
from bids_qcm.phase.thinning import thinned
from bids_qcm.recon import METHODS
from bids_qcm.recon.forms import form_of
from bids_qcm.recon.replicates import NOISE_MAPS
from bids_qcm.settings import Settings
from bids_qcm.workflows.machine import available_memory_gb

SCHEDULER_MARGIN = 1.5
"""Safety factor on the requested memory, because schedulers kill jobs that exceed it.

Estimates are accurate to 30 %.
"""

# Default of --mem as a fraction of the machine's memory, as in nipype.
_SHARE_TO_USE = 0.9

# Constants of a linear model of a node's peak memory: GB of the process itself, plus bytes per
# voxel. The bytes per voxel of a reconstruction are defined in the `Form` subclass of its method.
# The model agrees within 30 % with the peaks measured on heads with 1 and 2 mm voxels.
_COPYING_GB = 0.165
_CHECK_BYTES_PER_ECHO = 52
_PHI0_GB = 0.19
_PHI0_BYTES = 60
_PHI0_BYTES_PER_ECHO = 30
_AVERAGING_BYTES = 175
_BANDS_BYTES = 180
# Memory of the coil combination: bytes per voxel for the image that is read; and, for the thinned
# images of the first echo, bytes per coil and voxel while further images are read, and while the
# weights are computed.
_COMBINING_BYTES = 90
_COMBINING_BYTES_PER_COIL = 8
_WEIGHTS_BYTES_PER_COIL = 28
_SIGN_BYTES = 45
_LOOPS_GB = 0.22
_MASK_BYTES = 10
_SAME_GRID_BYTES = 27
_STATISTICS_BYTES = 36
# Noise maps of the voxels in a brain mask, and a copy of the largest region.
_REGIONS_BYTES_PER_NOISE_MAP = 1.75
_IMPORT_GB = 0.18
_IMPORT_BYTES = 60
_IMPORT_BYTES_OF_SOURCE = 22
_REGISTRATION_GB = 0.26
_REGISTRATION_BYTES = 37
_TEMPLATE_GB = 0.39
_TEMPLATE_BYTES = 80
_B1_GB = 0.26
_B1_BYTES = 75
_TISSUE_CLASSES_GB = 0.39
_TISSUE_CLASSES_BYTES = 86

# Number of voxels of nilearn's template at 1 mm.
_TEMPLATE_VOXELS = 197 * 233 * 189
_NORMALISATION_GB = 0.5
_NORMALISATION_BYTES = 35
_RESAMPLING_GB = 0.3
_RESAMPLING_BYTES = 180

# Bytes per voxel while both images of an echo are read and their signal is found during planning.
_READING_BYTES = 55


def memory_limit_gb(settings: Settings) -> float:
    """Return the memory in GB that all running nodes together may use."""
    if settings.memory_gb is not None:
        return settings.memory_gb
    return _SHARE_TO_USE * available_memory_gb()


def acquisition_gb(plan: Plan, settings: Settings) -> float:
    """Return the peak memory in GB over all nodes of an acquisition."""
    methods = (reconstruction_gb(plan, settings, method) for method in plan.methods)
    return max(preparation_gb(plan), *methods)


def preparation_gb(plan: Plan) -> float:
    """Return the peak memory in GB of the steps other than the methods."""
    needs = [check_gb(plan), phi0_gb(plan), sign_gb(plan), mask_gb(plan), b1_gb(plan)]
    if plan.combines_images:
        needs.append(combination_gb(plan))
    if plan.may_have_bands:
        needs.append(bands_gb(plan))
    pairs = [
        (plan.mask, plan.mask_alignment),
        (plan.segmentation, plan.segmentation_alignment),
        (plan.lesions, plan.lesion_alignment),
        (plan.b1, plan.b1_alignment),
        *((one.image, one.alignment) for one in plan.regions),
    ]
    for auxiliary, alignment in pairs:
        if auxiliary is None:
            continue
        needs.append(import_gb(plan, auxiliary, alignment))
        if alignment.anatomical_grid is not None:
            needs.append(registration_gb(plan, alignment.anatomical_grid))
        if auxiliary.kind == "t1w":
            needs.append(tissue_classes_gb(auxiliary))
    if plan.spaces:
        needs += [resampling_gb(plan, space) for space in plan.spaces]
    if plan.template_t1w is not None:
        needs.append(template_gb(plan.template_t1w))
    return max(needs)


def mask_gb(plan: Plan) -> float:
    """Return the peak memory in GB needed to import or create the mask."""
    needs = [_COPYING_GB]
    if plan.mask is not None and plan.mask_alignment.same_grid:
        needs.append(_COPYING_GB + _MASK_BYTES * plan.grid.n_voxels / 1e9)
    elif plan.mask is not None:
        needs.append(import_gb(plan, plan.mask, plan.mask_alignment))
    if "template" in plan.mask_origins:
        needs.append(_TEMPLATE_GB + _TEMPLATE_BYTES * plan.grid.n_voxels / 1e9)
    return max(needs)


def b1_gb(plan: Plan) -> float:
    """Return the peak memory in GB needed to create the ``|B1+|`` map."""
    if not plan.b1_origins:
        return 0.0
    needs = [_B1_GB + _B1_BYTES * plan.grid.n_voxels / 1e9]
    if plan.b1 is not None:
        needs.append(import_gb(plan, plan.b1, plan.b1_alignment))
    return max(needs)


def check_gb(plan: Plan) -> float:
    """Return the peak memory in GB needed to check the images."""
    n_values = plan.grid.n_voxels * len(plan.echoes)
    return _PHI0_GB + n_values * _CHECK_BYTES_PER_ECHO / 1e9


def phi0_gb(plan: Plan) -> float:
    """Return the peak memory in GB needed to compute phi0."""
    per_voxel = _PHI0_BYTES + _PHI0_BYTES_PER_ECHO * len(plan.echoes)
    return _PHI0_GB + plan.grid.n_voxels * per_voxel / 1e9


def combination_gb(plan: Plan) -> float:
    """Return the peak memory in GB needed to average repetitions or to combine coils."""
    if plan.acquisition.repetitions:
        return _COPYING_GB + plan.grid.n_voxels * _AVERAGING_BYTES / 1e9
    shape = plan.grid.shape
    n_thinned = math.prod(
        len(range(n)[step]) for n, step in zip(shape, thinned(shape), strict=True)
    )
    of_coils = n_thinned * plan.n_combined
    reading = plan.grid.n_voxels * _COMBINING_BYTES + of_coils * _COMBINING_BYTES_PER_COIL
    return _COPYING_GB + max(reading, of_coils * _WEIGHTS_BYTES_PER_COIL) / 1e9


def bands_gb(plan: Plan) -> float:
    """Return the peak memory in GB needed to find the bands of a balanced SSFP acquisition."""
    return _COPYING_GB + plan.grid.n_voxels * _BANDS_BYTES / 1e9


def sign_gb(plan: Plan) -> float:
    """Return the peak memory in GB needed to determine the phase sign."""
    return _LOOPS_GB + plan.grid.n_voxels * _SIGN_BYTES / 1e9


def reconstruction_gb(plan: Plan, settings: Settings, name: str) -> float:
    """Return the peak memory in GB needed to compute a map with a method."""
    method = METHODS[name]
    form = form_of(method)
    per_voxel = form.bytes_per_voxel(
        method,
        noise=settings.needs_noise(name),
        noise_maps=settings.uncertainty and plan.has_regions,
    )
    process = _LOOPS_GB if form.is_compiled(method) else _COPYING_GB
    return process + plan.grid.n_voxels * per_voxel / 1e9


def statistics_gb(plan: Plan) -> float:
    """Return the peak memory in GB needed to compute the statistics of a map."""
    return _COPYING_GB + plan.grid.n_voxels * _STATISTICS_BYTES / 1e9


def region_statistics_gb(plan: Plan, settings: Settings) -> float:
    """Return the peak memory in GB needed to compute the region table of a map."""
    n_noise_maps = NOISE_MAPS if settings.uncertainty else 0
    per_voxel = _STATISTICS_BYTES + _REGIONS_BYTES_PER_NOISE_MAP * n_noise_maps
    return _COPYING_GB + plan.grid.n_voxels * per_voxel / 1e9


def regions_gb(plan: Plan) -> float:
    """Return the peak memory in GB needed to import the labels of regions."""
    return max(import_gb(plan, one.image, one.alignment) for one in plan.regions)


def volume_gb() -> float:
    """Return the peak memory in GB needed to copy a file."""
    return _COPYING_GB


def import_gb(plan: Plan, auxiliary: AuxiliaryImage, alignment: Alignment) -> float:
    """Return the peak memory in GB needed to resample a derivative to the phase grid."""
    if alignment.same_grid:
        return _COPYING_GB + plan.grid.n_voxels * _SAME_GRID_BYTES / 1e9
    of_source = _IMPORT_BYTES_OF_SOURCE * len(auxiliary.paths) * auxiliary.grid.n_voxels
    return _IMPORT_GB + (_IMPORT_BYTES * plan.grid.n_voxels + of_source) / 1e9


def registration_gb(plan: Plan, anatomical: Grid) -> float:
    """Return the peak memory in GB needed to register the anatomical image."""
    n_voxels = plan.grid.n_voxels + anatomical.n_voxels
    return _REGISTRATION_GB + _REGISTRATION_BYTES * n_voxels / 1e9


def tissue_classes_gb(image: AuxiliaryImage) -> float:
    """Return the peak memory in GB needed to segment a T1w image."""
    return _TISSUE_CLASSES_GB + _TISSUE_CLASSES_BYTES * image.grid.n_voxels / 1e9


def template_gb(t1w: Path) -> float:
    """Return the peak memory in GB needed to register a T1w image to the template."""
    return _NORMALISATION_GB + _NORMALISATION_BYTES * read_grid(t1w).n_voxels / 1e9


def resampling_gb(plan: Plan, space: OutputSpace) -> float:
    """Return the peak memory in GB needed to resample maps or labels to a space."""
    n_voxels = plan.grid.n_voxels
    if space.reference is not None:
        n_voxels += read_grid(space.reference).n_voxels
    else:
        n_voxels += _TEMPLATE_VOXELS
    return _RESAMPLING_GB + _RESAMPLING_BYTES * n_voxels / 1e9


def reading_gb(plan: Plan) -> float:
    """Return the memory in GB needed to read the images of one echo."""
    return plan.grid.n_voxels * _READING_BYTES / 1e9
