"""Estimates of the processor time and duration of steps and runs.

Users choose a queue or a time limit with these estimates, and the display of the progress computes
the time left from them.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bids_qcm.bids.planning import Plan
from bids_qcm.recon import METHODS
from bids_qcm.recon.forms import form_of
from bids_qcm.settings import Settings
from bids_qcm.workflows.names import resample_step_name, step_name


class _Cost(NamedTuple):
    """Processor time of a step: a constant in s, and a time in s per voxel."""

    constant: float
    per_voxel: float = 0.0

    def of(self, n_voxels: float) -> float:
        """Return the processor time in s for an image with this number of voxels."""
        return self.constant + self.per_voxel * n_voxels


# Measured with --resource-monitor on phantoms with 1, 2 and 4 mm voxels, and on a real head with
# 3 mm voxels and a T1w image with 1 mm voxels, on a server from 2023. The time of the bands was
# measured on a ball with bands, with 64 to 192 voxels along each axis.
_START = _Cost(6.0)
_REPORT = _Cost(1.5, 0.2e-6)
_CHECK_IMAGES = _Cost(0.1, 0.36e-6)
_MASK = _Cost(0.3, 0.04e-6)
_PHI0 = _Cost(0.1, 0.18e-6)
_COMBINE = _Cost(0.1, 0.35e-6)
_BANDS = _Cost(0.1, 1.3e-6)
_SIGN = _Cost(0.3, 0.1e-6)
_IMPORT = _Cost(0.9, 0.1e-6)
_B1 = _Cost(0.3, 0.6e-6)
_REGISTRATION = _Cost(25.0)
_TEMPLATE_MASK = _Cost(10.0)
_TISSUE_CLASSES = _Cost(45.0)
_NORMALISATION = _Cost(60.0)
_RESAMPLING = _Cost(12.0)
_MIRROR_PLANE = _Cost(0.6, 0.2e-6)
_RECONSTRUCTION = _Cost(1.0)
_STATISTICS = _Cost(0.05, 0.14e-6)
_TRANSFORM = _Cost(0.1)

# Prefixes of the names of the steps that use several threads.
_RECONSTRUCT = "reconstruct_"
_THREADED = ("coregister", "tissue_classes", "register_template", _RECONSTRUCT)

# Volume in mm^3 of a brain mask (a brain with its cerebrospinal fluid), and the fraction of voxels
# in an image of a head that have signal.
_BRAIN_VOLUME = 1.6e6
_SHARE_WITH_SIGNAL = 0.4


def seconds(plan: Plan, settings: Settings) -> float:
    """Estimate the duration of an acquisition with its report in s, if nothing else runs."""
    # the methods are computed at the same time if there are enough threads
    n_threads = min(settings.nprocs, settings.omp_nthreads * len(plan.methods))
    together = settings.omp_nthreads / n_threads
    return report_seconds(plan) + sum(
        time * (together if step.startswith(_RECONSTRUCT) else 1)
        for step, time in step_durations(plan, settings).items()
    )


def run_seconds(plans: Sequence[Plan], settings: Settings) -> float:
    """Estimate the duration of a run, which computes acquisitions one after another, in s."""
    return _of_run([seconds(plan, settings) for plan in plans])


def run_processor_seconds(plans: Sequence[Plan], settings: Settings) -> float:
    """Estimate the processor time of a run in s."""
    return _of_run(
        [report_seconds(plan) + sum(step_seconds(plan, settings).values()) for plan in plans]
    )


def _of_run(times: Sequence[float]) -> float:
    """Return the time of a run from the times of its acquisitions in s."""
    return _START.constant + sum(times) if times else 0.0


def report_seconds(plan: Plan) -> float:
    """Estimate the processor time of the report of an acquisition in s."""
    return _REPORT.of(len(plan.methods) * plan.grid.n_voxels)


def step_durations(plan: Plan, settings: Settings) -> dict[str, float]:
    """Estimate the duration of each step of an acquisition in s, by step name."""
    return {
        step: time / (settings.omp_nthreads if step.startswith(_THREADED) else 1)
        for step, time in step_seconds(plan, settings).items()
    }


def step_seconds(plan: Plan, settings: Settings) -> dict[str, float]:
    """Estimate the processor time of each step of an acquisition.

    Parameters
    ----------
    plan : Plan
    settings : Settings

    Returns
    -------
    dict of str to float
        Processor time in s, by step name. The steps that write files are left out.
    """
    n_voxels = plan.grid.n_voxels
    n_images = n_voxels * len(plan.echoes)
    steps = {
        "check_images": _CHECK_IMAGES.of(n_images),
        "mask": _mask_cost(plan).of(n_voxels),
        "phi0": _PHI0.of(n_voxels + n_images),
        "sign": _SIGN.of(n_voxels),
    }
    if plan.combines_images:
        n_combined = sum(1 + len(echo.repetitions) for echo in plan.echoes)
        steps["combine"] = _COMBINE.of(n_voxels * n_combined)
    if plan.may_have_bands:
        steps["bands"] = _BANDS.of(n_voxels)
    if plan.segments_t1w:
        steps["tissue_classes"] = _TISSUE_CLASSES.constant
    if plan.segmentation is not None:
        steps["segmentation"] = _IMPORT.of(n_voxels)
    if plan.lesions is not None:
        find_plane = plan.shows_head is not False
        steps["lesions"] = _IMPORT.of(n_voxels) + find_plane * _MIRROR_PLANE.of(n_voxels)
    if plan.b1_origins:
        steps["b1"] = _B1.of(n_voxels)
    if plan.regions:
        steps["regions"] = len(plan.regions) * _IMPORT.of(n_voxels)
    steps |= dict.fromkeys(_registrations(plan), _REGISTRATION.constant)
    for method in plan.methods:
        steps |= _steps_of_method(plan, settings, method)
    return steps | _steps_of_spaces(plan)


def _mask_cost(plan: Plan) -> _Cost:
    """Return the cost of the mask, which may be computed, resampled or copied."""
    if plan.mask_origins[0] == "template":
        return _TEMPLATE_MASK
    return _MASK if plan.mask is None or plan.mask_alignment.same_grid else _IMPORT


def format_time(seconds: float) -> str:
    """Return a time in s, min or h, without decimals."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"


def _registrations(plan: Plan) -> Iterator[str]:
    """Yield the names of the steps that register an anatomical image, once for each image."""
    alignments = [
        ("coregister", plan.mask_alignment),
        ("coregister_lesions", plan.lesion_alignment),
        ("coregister_segmentation", plan.segmentation_alignment),
        ("coregister_b1", plan.b1_alignment),
        *(("coregister_regions", one.alignment) for one in plan.regions),
    ]
    if plan.t1w is not None and not plan.t1w.to_phase:
        alignments.append(("coregister_t1w", plan.t1w.alignment))
    seen: set[Path | None] = {None}
    for name, alignment in alignments:
        if alignment.anatomical not in seen:
            yield name if len(seen) > 1 else "coregister"
        seen.add(alignment.anatomical)


def _steps_of_method(plan: Plan, settings: Settings, name: str) -> dict[str, float]:
    """Return the processor time of the steps of a method in s, by step name."""
    n_voxels, method = plan.grid.n_voxels, METHODS[name]
    per_voxel = form_of(method).seconds_per_voxel(
        method,
        plan.kernels[name],
        plan.grid.voxel_size,
        noise=settings.needs_noise(name),
        uncertainty=settings.uncertainty,
        noise_maps=settings.uncertainty and plan.has_regions,
    )
    steps = {
        "reconstruct": _RECONSTRUCTION.constant + per_voxel * _n_voxels_in_mask(plan),
        "judge": _STATISTICS.of(n_voxels),
        "statistics": _STATISTICS.of(n_voxels),
    }
    if plan.has_regions:
        n_atlases = len(plan.regions) + plan.tissues_are_regions + (plan.lesions is not None)
        steps["region_statistics"] = n_atlases * _STATISTICS.of(n_voxels)
    if plan.lesions is not None:
        steps["lesion_statistics"] = _STATISTICS.of(n_voxels)
    return {step_name(step, name): time for step, time in steps.items()}


def _n_voxels_in_mask(plan: Plan) -> float:
    """Return the expected number of voxels in the mask."""
    with_signal = _SHARE_WITH_SIGNAL * plan.grid.n_voxels
    if plan.mask_origins[0] == "signal":
        return with_signal
    x, y, z = plan.grid.voxel_size
    return min(with_signal, _BRAIN_VOLUME / (x * y * z))


def _steps_of_spaces(plan: Plan) -> dict[str, float]:
    """Return the processor time of the steps that resample to other spaces in s, by step name."""
    steps = {}
    if plan.t1w is not None and not plan.t1w.to_phase:
        steps["transform"] = _TRANSFORM.constant
    if plan.template_t1w is not None:
        steps["register_template"] = _NORMALISATION.constant
    for space in plan.spaces:
        labels = (None,) if plan.segmentation is not None else ()
        for method in (*plan.methods, *labels):
            steps[resample_step_name(method, space.name)] = _RESAMPLING.constant
    return steps
