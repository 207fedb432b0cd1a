"""The workflow of one acquisition."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from nipype.pipeline.engine import Node, Workflow

from bids_qcm.bids.derivatives import derivative_path
from bids_qcm.bids.planning import Plan
from bids_qcm.bids.provenance import (
    condmap_metadata,
    condstd_metadata,
    mask_metadata,
    mask_type,
    phi0_metadata,
    segmentation_metadata,
)
from bids_qcm.interfaces.derivatives import WriteDerivative
from bids_qcm.interfaces.phase import ApplySign, PreparePhi0
from bids_qcm.interfaces.reconstruction import Reconstruct
from bids_qcm.interfaces.segmentation import ImportSegmentation
from bids_qcm.recon import METHODS
from bids_qcm.recon.radii import curved_axes, is_automatic
from bids_qcm.settings import Settings
from bids_qcm.workflows.memory import phi0_gb, reconstruction_gb, volume_gb


def init_acquisition_wf(
    *, plan: Plan, settings: Settings, datasets: Mapping[str, Path], name: str
) -> Workflow:
    """Compute and write the maps of one acquisition.

    .. graphviz::

        digraph {
            phi0 -> sign -> {write_phi0 reconstruct_METHOD}
            phi0 -> {write_mask reconstruct_METHOD}
            segmentation -> {write_dseg write_labels reconstruct_METHOD}
            reconstruct_METHOD -> write_METHOD
        }

    Parameters
    ----------
    plan : Plan
        What to compute from which files.
    settings : Settings
        The run's options.
    datasets : mapping of str to Path
        Names of the source datasets, for the sidecars.
    name : str
        The workflow's name.

    Returns
    -------
    Workflow
        Without inputs and outputs: the plan names the files, and the ``write_*`` nodes put the
        results into the derivative dataset.
    """
    workflow = Workflow(name=name)
    phi0, sign = _init_phi0_nodes(plan, settings)
    workflow.connect(phi0, "phi0_file", sign, "phi0_file")
    workflow.connect(phi0, "mask_file", sign, "mask_file")
    workflow.connect(phi0, "provenance", sign, "provenance")
    write_phi0 = _init_write_node(plan, settings, "write_phi0", "phi0map")
    write_phi0.inputs.metadata = phi0_metadata(plan, settings, datasets)
    workflow.connect(sign, "phi0_file", write_phi0, "in_file")
    workflow.connect(sign, "provenance", write_phi0, "provenance")
    write_mask = _init_write_node(plan, settings, "write_mask", "mask", desc=mask_type(plan))
    write_mask.inputs.metadata = mask_metadata(plan, datasets)
    workflow.connect(phi0, "mask_file", write_mask, "in_file")
    segmentation = _connect_segmentation(workflow, plan, settings, datasets)
    for method in plan.methods:
        reconstruct = _init_reconstruct_node(plan, settings, method)
        for source, field in ((sign, "phi0_file"), (sign, "provenance"), (phi0, "mask_file")):
            workflow.connect(source, field, reconstruct, field)
        workflow.connect(phi0, "magnitude_file", reconstruct, "magnitude_file")
        if METHODS[method].uses_labels:
            workflow.connect(segmentation, "labels_file", reconstruct, "labels_file")
        outputs = {"condmap": condmap_metadata}
        if settings.uncertainty:
            outputs["condstd"] = condstd_metadata
        if _needs_noise(settings, method):
            workflow.connect(phi0, "noise_file", reconstruct, "noise_file")
            workflow.connect(phi0, "magnitude_noise", reconstruct, "magnitude_noise")
        for suffix, metadata in outputs.items():
            name = write_node_name(method, suffix)
            write = _init_write_node(plan, settings, name, suffix, desc=METHODS[method].desc)
            write.inputs.metadata = metadata(plan, settings, datasets, method)
            workflow.connect(reconstruct, f"{suffix}_file", write, "in_file")
            workflow.connect(reconstruct, "provenance", write, "provenance")
    return workflow


def write_node_name(method: str, suffix: str = "condmap") -> str:
    """Name the node that writes one of a method's maps."""
    name = f"write_{method.replace('-', '_')}"
    return name if suffix == "condmap" else f"{name}_{suffix}"


def _n_voxels(plan: Plan) -> int:
    return int(np.prod(plan.grid.shape))


def _init_phi0_nodes(plan: Plan, settings: Settings) -> tuple[Node, Node]:
    phi0 = Node(PreparePhi0(), name="phi0", mem_gb=phi0_gb(_n_voxels(plan), len(plan.echoes)))
    phi0.inputs.first_files = [str(echo.files[0]) for echo in plan.echoes]
    phi0.inputs.second_files = [str(echo.files[1]) for echo in plan.echoes]
    phi0.inputs.phase_units = [echo.units for echo in plan.echoes]
    phi0.inputs.echo_times = [echo.time for echo in plan.echoes]
    phi0.inputs.mask_file = str(plan.mask.path) if plan.mask else None
    sign = Node(
        ApplySign(
            sign=settings.sign,
            axes=list(curved_axes(settings.fit_radius, settings.integral_radius)),
            n_threads=settings.omp_nthreads,
        ),
        name="sign",
        mem_gb=reconstruction_gb(_n_voxels(plan)),
        n_procs=settings.omp_nthreads,
    )
    return phi0, sign


def _connect_segmentation(
    workflow: Workflow, plan: Plan, settings: Settings, datasets: Mapping[str, Path]
) -> Node | None:
    """Add the nodes that import the segmentation, where a method needs it."""
    if not any(METHODS[method].uses_labels for method in plan.methods):
        return None
    segmentation = Node(
        ImportSegmentation(
            segmentation_file=str(plan.segmentation.path),
            table_file=str(plan.segmentation.table) if plan.segmentation.table else None,
        ),
        name="segmentation",
        mem_gb=volume_gb(_n_voxels(plan)),
    )
    write_dseg = _init_write_node(plan, settings, "write_dseg", "dseg", seg="tissue")
    write_dseg.inputs.metadata = segmentation_metadata(plan, datasets)
    workflow.connect(segmentation, "labels_file", write_dseg, "in_file")
    write_labels = _init_write_node(
        plan, settings, "write_labels", "dseg", extension=".tsv", seg="tissue"
    )
    workflow.connect(segmentation, "table_file", write_labels, "in_file")
    return segmentation


def _needs_noise(settings: Settings, method: str) -> bool:
    return settings.uncertainty or is_automatic(
        METHODS[method], settings.fit_radius, settings.integral_radius
    )


def _init_reconstruct_node(plan: Plan, settings: Settings, method: str) -> Node:
    interface = Reconstruct(
        method=method,
        frequency=plan.frequency,
        phase_type=settings.phase_type,
        fit_radius=settings.fit_radius,
        integral_radius=settings.integral_radius,
        target_std=settings.target_std,
        uncertainty=settings.uncertainty,
        n_threads=settings.omp_nthreads,
    )
    return Node(
        interface,
        name=f"reconstruct_{method.replace('-', '_')}",
        mem_gb=reconstruction_gb(
            _n_voxels(plan),
            replicates=_needs_noise(settings, method) and METHODS[method].form == "integral",
        ),
        n_procs=settings.omp_nthreads,
    )


def _init_write_node(
    plan: Plan,
    settings: Settings,
    name: str,
    suffix: str,
    extension: str = ".nii.gz",
    **entities: str,
) -> Node:
    path = derivative_path(settings.output_dir, plan.acquisition, suffix, extension, **entities)
    return Node(WriteDerivative(out_path=str(path)), name=name, mem_gb=volume_gb(_n_voxels(plan)))
