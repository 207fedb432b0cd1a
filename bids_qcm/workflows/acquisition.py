"""Workflow of one acquisition."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nipype.pipeline.engine import Node, Workflow

from bids_qcm.bids.anatomy.alignments import Alignment
from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.derivatives import B1_ORIGINS, MAGNITUDE_ENTITIES, b1_path, derivative_path
from bids_qcm.bids.planning import Plan
from bids_qcm.bids.provenance import (
    b1_metadata,
    condmap_metadata,
    condstd_metadata,
    magnitude_metadata,
    mask_metadata,
    phi0_metadata,
    segmentation_metadata,
)
from bids_qcm.bids.tables import CONDSTATS
from bids_qcm.interfaces.b1 import MakeB1, WriteB1
from bids_qcm.interfaces.checks import CheckImages
from bids_qcm.interfaces.derivatives import WriteDerivative, WriteMask
from bids_qcm.interfaces.masks import MakeMask
from bids_qcm.interfaces.phase import ApplySign, PreparePhi0
from bids_qcm.interfaces.reconstruction import Reconstruct
from bids_qcm.interfaces.segmentation import (
    Coregister,
    ImportSegmentation,
    SegmentT1w,
)
from bids_qcm.interfaces.statistics import ComputeStatistics
from bids_qcm.interfaces.verdict import JudgeMap
from bids_qcm.recon import METHODS
from bids_qcm.recon.radii import curved_axes
from bids_qcm.settings import Settings
from bids_qcm.workflows.memory import (
    b1_gb,
    import_gb,
    mask_gb,
    phi0_gb,
    reconstruction_gb,
    registration_gb,
    sign_gb,
    statistics_gb,
    tissue_classes_gb,
    volume_gb,
)


def init_acquisition_wf(
    *, plan: Plan, settings: Settings, datasets: Mapping[str, Path], name: str
) -> Workflow:
    """Build the workflow that computes and writes the maps of one acquisition.

    .. graphviz::

        digraph {
            check_images -> {mask coregister tissue_classes segmentation}
            phi0 -> sign -> {write_phi0 reconstruct_METHOD}
            phi0 -> {write_mask reconstruct_METHOD judge_METHOD}
            coregister -> {mask segmentation}
            tissue_classes -> {mask segmentation}
            mask -> {phi0 write_mask segmentation}
            phi0 -> segmentation
            {check_images coregister mask} -> b1 -> {write_b1 reconstruct_METHOD}
            phi0 -> write_magnitude
            segmentation -> {write_dseg write_labels reconstruct_METHOD}
            segmentation -> {judge_METHOD statistics_METHOD}
            reconstruct_METHOD -> judge_METHOD -> write_METHOD
            reconstruct_METHOD -> {write_METHOD_condstd statistics_METHOD}
            statistics_METHOD -> write_METHOD_condstats
        }

    Parameters
    ----------
    plan : Plan
        The methods to compute and the files to compute them from.
    settings : Settings
        Options of the run.
    datasets : mapping of str to Path
        Source datasets by name, for the ``Sources`` in the sidecars.
    name : str
        Name of the workflow.

    Returns
    -------
    Workflow
        A workflow without input and output nodes: the plan names the input files, and the
        ``write_*`` nodes write the results to the derivative dataset.
    """
    workflow = Workflow(name=name)
    workflow.add_nodes([_init_check_node(plan, settings)])
    phi0, sign = _init_phi0_nodes(plan, settings)
    workflow.connect(phi0, "phi0_file", sign, "phi0_file")
    workflow.connect(phi0, "mask_file", sign, "mask_file")
    workflow.connect(phi0, "provenance", sign, "provenance")
    write_phi0 = _init_write_node(plan, settings, "write_phi0", "phi0map")
    write_phi0.inputs.metadata = phi0_metadata(plan, settings, datasets)
    workflow.connect(sign, "phi0_file", write_phi0, "in_file")
    workflow.connect(sign, "provenance", write_phi0, "provenance")
    write_magnitude = _init_write_node(
        plan, settings, "write_magnitude", plan.acquisition.suffix, **MAGNITUDE_ENTITIES
    )
    write_magnitude.inputs.metadata = magnitude_metadata(plan, datasets)
    workflow.connect(phi0, "magnitude_file", write_magnitude, "in_file")
    _connect_mask(workflow, plan, settings, datasets, phi0)
    segmentation = _connect_segmentation(workflow, plan, settings, datasets, phi0)
    b1 = _connect_b1(workflow, plan, settings, datasets)
    for method in plan.methods:
        reconstruct = _init_reconstruct_node(plan, settings, method)
        for source, field in ((sign, "phi0_file"), (sign, "provenance"), (phi0, "mask_file")):
            workflow.connect(source, field, reconstruct, field)
        workflow.connect(phi0, "magnitude_file", reconstruct, "magnitude_file")
        if METHODS[method].uses_labels:
            workflow.connect(segmentation, "labels_file", reconstruct, "labels_file")
            workflow.connect(segmentation, "provenance", reconstruct, "labels_provenance")
        if b1 is not None and settings.uses_b1(method):
            workflow.connect(b1, "b1_file", reconstruct, "b1_file")
            workflow.connect(b1, "provenance", reconstruct, "b1_provenance")
        outputs = {"condmap": condmap_metadata}
        if settings.uncertainty:
            outputs["condstd"] = condstd_metadata
        if settings.needs_noise(method):
            workflow.connect(phi0, "noise_file", reconstruct, "noise_file")
            workflow.connect(phi0, "magnitude_noise", reconstruct, "magnitude_noise")
        judge = _connect_judge(workflow, plan, settings, method, segmentation)
        for suffix, metadata in outputs.items():
            name = write_node_name(method, suffix)
            write = _init_write_node(plan, settings, name, suffix, desc=METHODS[method].desc)
            write.inputs.metadata = metadata(plan, settings, datasets, method)
            workflow.connect(reconstruct, f"{suffix}_file", write, "in_file")
            provenance_node = judge if suffix == "condmap" else reconstruct
            workflow.connect(provenance_node, "provenance", write, "provenance")
        if not settings.uncertainty:
            write = workflow.get_node(write_node_name(method))
            write.inputs.outdated = _paths_of_condstd(plan, settings, method)
        _connect_statistics(workflow, plan, settings, method, segmentation)
    return workflow


def write_node_name(method: str, suffix: str = "condmap") -> str:
    """Return the name of the node that writes a map of a method."""
    name = f"write_{method.replace('-', '_')}"
    return name if suffix == "condmap" else f"{name}_{suffix}"


def _paths_of_condstd(plan: Plan, settings: Settings, method: str) -> list[str]:
    """List the paths of a method's condstd map and sidecar, which an earlier run may have left."""
    where = settings.output_dir, plan.acquisition, "condstd"
    desc = METHODS[method].desc
    return [str(derivative_path(*where, end, desc=desc)) for end in (".nii.gz", ".json")]


def _image_inputs(plan: Plan) -> dict[str, list[Any]]:
    """Return the images of an acquisition as inputs of an interface with `ImagesInputSpec`."""
    return {
        "first_files": [str(echo.files[0]) for echo in plan.echoes],
        "second_files": [str(echo.files[1]) for echo in plan.echoes],
        "phase_units": [echo.units for echo in plan.echoes],
        "echo_times": [echo.time for echo in plan.echoes],
    }


def _init_check_node(plan: Plan, settings: Settings) -> Node:
    """Make the node that checks the images before any other node uses them."""
    interface = CheckImages(
        **_image_inputs(plan),
        axes=list(curved_axes(settings.fit_radius, settings.integral_radius)),
        phase_type=settings.phase_type,
        image_checks=settings.image_checks,
    )
    return Node(interface, name="check_images", mem_gb=phi0_gb(plan))


def _init_phi0_nodes(plan: Plan, settings: Settings) -> tuple[Node, Node]:
    phi0 = Node(PreparePhi0(**_image_inputs(plan)), name="phi0", mem_gb=phi0_gb(plan))
    sign = Node(
        ApplySign(
            sign=settings.sign,
            manufacturer=plan.manufacturer,
            axes=list(curved_axes(settings.fit_radius, settings.integral_radius)),
            n_threads=settings.omp_nthreads,
        ),
        name="sign",
        mem_gb=sign_gb(plan),
        n_procs=settings.omp_nthreads,
    )
    return phi0, sign


def _connect_mask(
    workflow: Workflow,
    plan: Plan,
    settings: Settings,
    datasets: Mapping[str, Path],
    phi0: Node,
) -> None:
    """Add the nodes that import or make the mask, and the node that writes it."""
    interface = MakeMask(
        origins=list(plan.mask_origins),
        requested=settings.mask,
        image_checks=settings.image_checks,
        head_expected=plan.expects_head,
        source=str(plan.echoes[0].files[0]),
        auxiliary=plan.mask,
        alignment=plan.mask_alignment,
        in_files=[str(path) for path in _files(plan.mask, plan.mask_alignment)],
        metadata={one: mask_metadata(plan, datasets, one) for one in plan.mask_origins},
    )
    mask = Node(interface, name="mask", mem_gb=mask_gb(plan))
    for field in ("magnitude_file", "signal_file", "provenance"):
        workflow.connect(workflow.get_node("check_images"), field, mask, field)
    workflow.connect(mask, "mask_file", phi0, "mask_file")
    workflow.connect(mask, "provenance", phi0, "provenance")
    coregister = _init_coregister_node(workflow, plan.mask_alignment, plan, settings, "coregister")
    if coregister is not None:
        workflow.connect(coregister, "pose", mask, "pose")
        workflow.connect(coregister, "failure", mask, "pose_failure")
        workflow.connect(coregister, "provenance", mask, "pose_provenance")
    if plan.mask is not None and "T1w" in plan.mask_origins:
        classes = _init_tissue_classes_node(workflow, plan.mask, settings)
        workflow.connect(classes, "labels_file", mask, "labels_file")
        workflow.connect(classes, "failure", mask, "labels_failure")
    paths = {
        kind: derivative_path(settings.output_dir, plan.acquisition, "mask", ".nii.gz", desc=kind)
        for kind in ("brain", "signal")
    }
    write = Node(
        WriteMask(out_paths={kind: str(path) for kind, path in paths.items()}),
        name="write_mask",
        mem_gb=volume_gb(),
    )
    workflow.connect(phi0, "mask_file", write, "in_file")
    workflow.connect(mask, "mask_type", write, "mask_type")
    workflow.connect(mask, "metadata", write, "metadata")


def _connect_segmentation(
    workflow: Workflow,
    plan: Plan,
    settings: Settings,
    datasets: Mapping[str, Path],
    phi0: Node,
) -> Node | None:
    """Add the nodes that import and write the segmentation; return None without one."""
    if plan.segmentation is None:
        return None
    alignment = plan.segmentation_alignment
    segmentation = _init_segmentation_node(plan, plan.segmentation, settings)
    workflow.connect(workflow.get_node("mask"), "is_brain", segmentation, "mask_is_brain")
    workflow.connect(phi0, "magnitude_file", segmentation, "reference_file")
    workflow.connect(workflow.get_node("check_images"), "signal_file", segmentation, "signal_file")
    workflow.connect(phi0, "mask_file", segmentation, "mask_file")
    if alignment.anatomical is not None:
        coregister = _coregistered(workflow, alignment, plan, settings, "coregister_segmentation")
        workflow.connect(coregister, "pose", segmentation, "pose")
        workflow.connect(coregister, "failure", segmentation, "pose_failure")
        workflow.connect(coregister, "provenance", segmentation, "provenance")
    if plan.segmentation.kind == "t1w":
        # the mask may already use the tissue classes of the same image
        classes = workflow.get_node("tissue_classes") or _init_tissue_classes_node(
            workflow, plan.segmentation, settings
        )
        workflow.connect(classes, "labels_file", segmentation, "segmented_file")
        workflow.connect(classes, "failure", segmentation, "labels_failure")
    write_dseg = _init_write_node(plan, settings, "write_dseg", "dseg", seg="tissue")
    write_dseg.inputs.metadata = segmentation_metadata(plan, datasets)
    workflow.connect(segmentation, "labels_file", write_dseg, "in_file")
    workflow.connect(segmentation, "provenance", write_dseg, "provenance")
    write_labels = _init_write_node(
        plan, settings, "write_labels", "dseg", extension=".tsv", seg="tissue"
    )
    workflow.connect(segmentation, "table_file", write_labels, "in_file")
    return segmentation


def _connect_b1(
    workflow: Workflow, plan: Plan, settings: Settings, datasets: Mapping[str, Path]
) -> Node | None:
    """Add the nodes that make and write the ``|B1+|`` map; return None if no method uses it."""
    if not plan.b1_origins:
        return None
    interface = MakeB1(
        origins=list(plan.b1_origins),
        requested=settings.b1,
        frequency=plan.frequency,
        head_expected=plan.expects_head,
        source=str(plan.echoes[0].files[0]),
        auxiliary=plan.b1,
        declared=plan.b1_declared,
        alignment=plan.b1_alignment,
        in_files=[str(path) for path in _files(plan.b1, plan.b1_alignment)],
        metadata={
            one: b1_metadata(plan, datasets, one) for one in plan.b1_origins if one != "none"
        },
    )
    b1 = Node(interface, name="b1", mem_gb=b1_gb(plan))
    for field in ("magnitude_file", "signal_file"):
        workflow.connect(workflow.get_node("check_images"), field, b1, field)
    workflow.connect(workflow.get_node("mask"), "mask_file", b1, "mask_file")
    workflow.connect(workflow.get_node("mask"), "is_brain", b1, "is_brain")
    if plan.b1_alignment.anatomical is not None:
        coregister = _coregistered(workflow, plan.b1_alignment, plan, settings, "coregister_b1")
        workflow.connect(coregister, "pose", b1, "pose")
        workflow.connect(coregister, "failure", b1, "pose_failure")
        workflow.connect(coregister, "provenance", b1, "pose_provenance")
    where = settings.output_dir, plan.acquisition
    write = Node(
        WriteB1(out_paths={origin: str(b1_path(*where, origin)) for origin in B1_ORIGINS}),
        name="write_b1",
        mem_gb=volume_gb(),
    )
    workflow.connect(b1, "b1_file", write, "in_file")
    workflow.connect(b1, "origin", write, "origin")
    workflow.connect(b1, "metadata", write, "metadata")
    return b1


def _coregistered(
    workflow: Workflow, alignment: Alignment, plan: Plan, settings: Settings, name: str
) -> Node:
    """Return the node that registers the anatomical image; add a new node if there is none yet."""
    for present in ("coregister", "coregister_segmentation"):
        node = workflow.get_node(present)
        if node is not None and node.inputs.anatomical_file == str(alignment.anatomical):
            return node
    name = name if workflow.get_node("coregister") else "coregister"
    return _init_coregister_node(workflow, alignment, plan, settings, name)


def _init_segmentation_node(plan: Plan, auxiliary: AuxiliaryImage, settings: Settings) -> Node:
    alignment = plan.segmentation_alignment
    tables = [settings.label_table, auxiliary.table if auxiliary.kind == "labels" else None]
    read = [*_files(auxiliary, alignment), *filter(None, tables)]
    interface = ImportSegmentation(
        auxiliary=auxiliary,
        alignment=alignment,
        label_table=settings.label_table and str(settings.label_table),
        in_files=[str(path) for path in read],
    )
    return Node(interface, name="segmentation", mem_gb=import_gb(plan, auxiliary, alignment))


def _files(auxiliary: AuxiliaryImage | None, alignment: Alignment) -> list[Path]:
    """List the files of a mask, segmentation or ``|B1+|`` map and of its transforms."""
    return [*(auxiliary.paths if auxiliary else ()), *(step.path for step in alignment.steps)]


def _init_tissue_classes_node(
    workflow: Workflow, image: AuxiliaryImage, settings: Settings
) -> Node:
    node = Node(
        SegmentT1w(t1w_file=str(image.path), n_threads=settings.omp_nthreads),
        name="tissue_classes",
        mem_gb=tissue_classes_gb(image),
        n_procs=settings.omp_nthreads,
    )
    workflow.connect(workflow.get_node("check_images"), "signal_file", node, "checked_file")
    return node


def _init_coregister_node(
    workflow: Workflow, alignment: Alignment, plan: Plan, settings: Settings, name: str
) -> Node | None:
    """Make the node that registers the anatomical image; return None if there is no such image."""
    if alignment.anatomical is None:
        return None
    interface = Coregister(
        anatomical_file=str(alignment.anatomical),
        coreg=alignment.coreg,
        n_threads=settings.omp_nthreads,
    )
    node = Node(
        interface,
        name=name,
        mem_gb=registration_gb(plan, alignment.anatomical),
        n_procs=settings.omp_nthreads,
    )
    workflow.connect(workflow.get_node("check_images"), "magnitude_file", node, "magnitude_file")
    return node


def _connect_judge(
    workflow: Workflow, plan: Plan, settings: Settings, method: str, segmentation: Node | None
) -> Node:
    """Add the node that computes the verdict on a method's map."""
    name = method.replace("-", "_")
    judge = Node(
        JudgeMap(frequency=plan.frequency), name=f"judge_{name}", mem_gb=statistics_gb(plan)
    )
    reconstruct = workflow.get_node(f"reconstruct_{name}")
    outputs = ["condmap_file", "provenance", *(["condstd_file"] if settings.uncertainty else [])]
    workflow.connect([(reconstruct, judge, [(output, output) for output in outputs])])
    workflow.connect(workflow.get_node("phi0"), "mask_file", judge, "mask_file")
    if segmentation is not None:
        workflow.connect(segmentation, "labels_file", judge, "labels_file")
        workflow.connect(segmentation, "table_file", judge, "names_file")
    return judge


def _connect_statistics(
    workflow: Workflow, plan: Plan, settings: Settings, method: str, segmentation: Node | None
) -> None:
    """Add the nodes that compute and write the statistics table of a method's map."""
    statistics = Node(
        ComputeStatistics(),
        name=f"statistics_{method.replace('-', '_')}",
        mem_gb=statistics_gb(plan),
    )
    reconstruct = workflow.get_node(f"reconstruct_{method.replace('-', '_')}")
    workflow.connect(reconstruct, "condmap_file", statistics, "condmap_file")
    workflow.connect(workflow.get_node("phi0"), "mask_file", statistics, "mask_file")
    if segmentation is not None:
        workflow.connect(segmentation, "labels_file", statistics, "labels_file")
        workflow.connect(segmentation, "table_file", statistics, "names_file")
    name = write_node_name(method, "condstats")
    write = _init_write_node(
        plan, settings, name, "condstats", extension=".tsv", desc=METHODS[method].desc
    )
    write.inputs.metadata = dict(CONDSTATS)
    workflow.connect(statistics, "table_file", write, "in_file")


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
        mem_gb=reconstruction_gb(plan, settings, method),
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
    return Node(WriteDerivative(out_path=str(path)), name=name, mem_gb=volume_gb())
