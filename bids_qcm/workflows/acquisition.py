"""Workflow of one acquisition."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nipype.pipeline.engine import Workflow

from bids_qcm.bids.anatomy.alignments import Alignment, resampled_files
from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.spaces import OutputSpace, T1wImage
from bids_qcm.bids.names import join_name, sidecar_path
from bids_qcm.bids.outputs import OUTPUTS
from bids_qcm.bids.planning import Plan
from bids_qcm.bids.privacy import known_places
from bids_qcm.bids.provenance import b1_metadata, mask_metadata, planned_sidecar, space_metadata
from bids_qcm.interfaces.averaging import AverageRuns
from bids_qcm.interfaces.b1 import MakeB1
from bids_qcm.interfaces.balanced import RemoveBands
from bids_qcm.interfaces.checks import CheckImages
from bids_qcm.interfaces.coils import CombineCoils
from bids_qcm.interfaces.derivatives import WriteDerivative
from bids_qcm.interfaces.lesions import CompareLesions, ImportLesions
from bids_qcm.interfaces.masks import MakeMask
from bids_qcm.interfaces.phase import ApplySign, PreparePhi0
from bids_qcm.interfaces.reconstruction import Reconstruct
from bids_qcm.interfaces.segmentation import (
    Coregister,
    ImportRegions,
    ImportSegmentation,
    SegmentT1w,
)
from bids_qcm.interfaces.spaces import (
    MakeTransforms,
    RegisterTemplate,
    ResampleLabels,
    ResampleMaps,
)
from bids_qcm.interfaces.statistics import ComputeRegionStatistics, ComputeStatistics
from bids_qcm.interfaces.verdict import JudgeMap
from bids_qcm.recon import METHODS
from bids_qcm.settings import Settings
from bids_qcm.workflows.memory import (
    b1_gb,
    bands_gb,
    check_gb,
    combination_gb,
    import_gb,
    mask_gb,
    phi0_gb,
    reconstruction_gb,
    region_statistics_gb,
    regions_gb,
    registration_gb,
    resampling_gb,
    sign_gb,
    statistics_gb,
    template_gb,
    tissue_classes_gb,
    volume_gb,
)
from bids_qcm.workflows.names import resample_step_name, step_name
from bids_qcm.workflows.nodes import Node

# Inputs in `ImagesInputSpec` that the node that combines the images supplies.
_COMBINED = ("first_files", "second_files", "phase_units")


def init_acquisition_wf(
    *, plan: Plan, settings: Settings, datasets: Mapping[str, Path], name: str
) -> Workflow:
    """Build the workflow that computes and writes the maps of one acquisition.

    .. graphviz::

        digraph {
            combine -> bands -> {check_images phi0}
            check_images -> {phi0 mask coregister tissue_classes segmentation}
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
            {coregister phi0} -> lesions -> {segmentation reconstruct_METHOD write_lesions}
            {lesions segmentation reconstruct_METHOD} -> lesion_statistics_METHOD
            lesion_statistics_METHOD -> write_METHOD_condlesions
            reconstruct_METHOD -> judge_METHOD -> write_METHOD
            reconstruct_METHOD -> {write_METHOD_condstd statistics_METHOD}
            statistics_METHOD -> write_METHOD_condstats
            {phi0 coregister register_template} -> regions
            {reconstruct_METHOD phi0 regions lesions} -> region_statistics_METHOD
            region_statistics_METHOD -> write_METHOD_condregions
            coregister -> transform -> {write_xfm_to_t1w write_xfm_from_t1w}
            check_images -> register_template -> {write_xfm_to_template write_xfm_from_template}
            {transform register_template reconstruct_METHOD} -> resample_METHOD_SPACE
            {transform register_template segmentation} -> resample_SPACE -> write_dseg_SPACE
            resample_METHOD_SPACE -> {write_METHOD_SPACE write_METHOD_condstd_SPACE}
        }

    Parameters
    ----------
    plan : Plan
        The methods to compute, and the input files.
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
    _connect_combination(workflow, plan, settings)
    _connect_bands(workflow, plan)
    _connect_check(workflow, plan, settings)
    _connect_phi0(workflow, plan, settings)
    _connect_mask(workflow, plan, settings, datasets)
    _connect_lesions(workflow, plan, settings)
    _connect_segmentation(workflow, plan, settings)
    _connect_b1(workflow, plan, settings, datasets)
    _connect_template(workflow, plan, settings)
    _connect_regions(workflow, plan, settings)
    for method in plan.methods:
        _connect_reconstruction(workflow, plan, settings, method)
        _connect_map_checks(workflow, plan, settings, method)
        _connect_region_statistics(workflow, plan, settings, method)
    _connect_spaces(workflow, plan, settings)
    for name_of_output, output in OUTPUTS.items():
        for one in plan.methods if output.of_method else (None,):
            for space in (None, *plan.spaces) if output.in_spaces else (None,):
                _connect_writer(workflow, name_of_output, plan, settings, datasets, one, space)
    return workflow


def write_node_name(
    method: str | None, output: str = "condmap", space: OutputSpace | None = None
) -> str:
    """Return the name of the node that writes an output of a method or of the acquisition."""
    parts = [step_name("write", method)]
    if method is None or output != "condmap":
        parts.append(output)
    return "_".join([*parts, *([] if space is None else [space.name])])


def _connect_writer(
    workflow: Workflow,
    name: str,
    plan: Plan,
    settings: Settings,
    datasets: Mapping[str, Path],
    method: str | None,
    space: OutputSpace | None,
) -> None:
    """Add the node that writes an output in a space, if the workflow computes the output."""
    output = OUTPUTS[name]
    node = workflow.get_node(step_name(output.node, method))
    if node is None or (output.of_uncertainty and not settings.uncertainty):
        return
    desc = None if method is None else METHODS[method].desc
    metadata = planned_sidecar(name, plan, settings, datasets, method)
    acquisition, output_dir = plan.acquisition, settings.output_dir
    if space is None:
        paths = output.paths(output_dir, acquisition, desc)
    else:
        node = workflow.get_node(resample_step_name(method, space.name))
        paths = {"": output.path(output_dir, acquisition, desc, space.name)}
        metadata = {
            **(metadata or {}),
            **space_metadata(name, plan, space, settings, datasets),
        }
    interface = WriteDerivative(
        out_paths={variant: str(path) for variant, path in paths.items()},
        metadata=metadata,
        places=known_places(settings, datasets),
        outdated=_outdated(name, plan, settings, method) if space is None else [],
    )
    write = Node(interface, name=write_node_name(method, name, space), mem_gb=volume_gb())
    workflow.connect(node, output.source, write, "in_file")
    if output.completed_by is not None:
        completed_by = workflow.get_node(step_name(output.completed_by, method))
        if output.variant is None:
            workflow.connect(completed_by, "provenance", write, "provenance")
        else:
            workflow.connect(completed_by, output.variant, write, "variant")
            workflow.connect(completed_by, "metadata", write, "metadata")


def _outdated(name: str, plan: Plan, settings: Settings, method: str | None) -> list[str]:
    """List the files of an earlier run that depend on an output and are not written again.

    These outputs are the noise standard deviation of a conductivity map if the uncertainty is not
    computed, the region table of the map if there are no regions, and outputs in spaces that are no
    longer requested.
    """
    output, acquisition = OUTPUTS[name], plan.acquisition
    desc = None if method is None else METHODS[method].desc
    names = [name]
    found = []
    if name == "condmap" and not settings.uncertainty:
        names.append("condstd")
        found.append(OUTPUTS["condstd"].path(settings.output_dir, acquisition, desc))
    if name == "condmap" and not plan.has_regions:
        found.append(OUTPUTS["condregions"].path(settings.output_dir, acquisition, desc))
    if output.in_spaces:
        folder = output.path(settings.output_dir, acquisition, desc).parent
        start = join_name(acquisition.output_entities)
        wanted = {space.name for space in plan.spaces}
        for one in names:
            there = OUTPUTS[one].in_all_spaces(folder, start, desc)
            kept = wanted if one == name else set()
            found += [path for space, path in there.items() if space not in kept]
    return [str(file) for path in found for file in (path, sidecar_path(path))]


def _image_inputs(plan: Plan, *, processed: bool) -> dict[str, list[Any]]:
    """Return the images of an acquisition as inputs of an interface with `ImagesInputSpec`.

    If the images are processed first, only the numbers are returned.
    """
    images: dict[str, list[Any]] = {
        "first_files": [str(echo.files[0]) for echo in plan.echoes],
        "second_files": [str(echo.files[1]) for echo in plan.echoes],
        "phase_units": [echo.units for echo in plan.echoes],
        "volumes": [echo.volumes for echo in plan.echoes],
    }
    numbers: dict[str, list[Any]] = {
        "echo_times": [echo.time for echo in plan.echoes],
        "echo_numbers": [echo.number for echo in plan.echoes],
    }
    return numbers if processed else images | numbers


def _connect_combination(workflow: Workflow, plan: Plan, settings: Settings) -> None:
    """Add the node that averages repetitions or combines coils, if the acquisition has several."""
    if not plan.combines_images:
        return
    same_echo = [(echo, *echo.repetitions) for echo in plan.echoes]
    images = {
        "first_files": [[str(one.files[0]) for one in same] for same in same_echo],
        "second_files": [[str(one.files[1]) for one in same] for same in same_echo],
        "phase_units": [[one.units for one in same] for same in same_echo],
        "volumes": [[one.volumes for one in same] for same in same_echo],
    }
    interface: CombineCoils | AverageRuns
    if not plan.acquisition.repetitions:
        interface = CombineCoils(**images)
    else:
        interface = AverageRuns(
            **images,
            axes=list(plan.axes),
            names=[one.name for one in plan.acquisition.repetitions],
            phase_cycled=plan.phase_cycled,
            image_checks=settings.image_checks,
        )
    workflow.add_nodes([Node(interface, name="combine", mem_gb=combination_gb(plan))])


def _connect_bands(workflow: Workflow, plan: Plan) -> None:
    """Add the node that removes the bands of a balanced SSFP acquisition."""
    if not plan.may_have_bands:
        return
    interface = RemoveBands(**_image_inputs(plan, processed=plan.combines_images))
    bands = Node(interface, name="bands", mem_gb=bands_gb(plan))
    workflow.add_nodes([bands])
    if plan.combines_images:
        for field in (*_COMBINED, "provenance"):
            workflow.connect(workflow.get_node("combine"), field, bands, field)


def _processed(workflow: Workflow) -> Node | None:
    """Return the node whose results replace the images of the acquisition, if it exists."""
    node: Node | None = workflow.get_node("bands") or workflow.get_node("combine")
    return node


def _connect_check(workflow: Workflow, plan: Plan, settings: Settings) -> None:
    """Add the node that checks the images before any other node uses them."""
    source = _processed(workflow)
    interface = CheckImages(
        **_image_inputs(plan, processed=source is not None),
        axes=list(plan.axes),
        slice_axis=plan.slice_axis,
        frequency=plan.frequency,
        phase_type=settings.phase_type,
        unit_names=[echo.unit_name for echo in plan.echoes],
        image_checks=settings.image_checks,
        select_echoes=settings.echoes == "auto",
    )
    check = Node(interface, name="check_images", mem_gb=check_gb(plan))
    workflow.add_nodes([check])
    if source is not None:
        for field in (*_COMBINED, "provenance"):
            workflow.connect(source, field, check, field)


def _connect_phi0(workflow: Workflow, plan: Plan, settings: Settings) -> None:
    """Add the nodes that compute phi0 and apply its sign."""
    source = _processed(workflow)
    interface = PreparePhi0(
        **_image_inputs(plan, processed=source is not None), axes=list(plan.axes)
    )
    phi0 = Node(interface, name="phi0", mem_gb=phi0_gb(plan))
    workflow.connect(workflow.get_node("check_images"), "used_echoes", phi0, "used_echoes")
    if source is not None:
        for field in _COMBINED:
            workflow.connect(source, field, phi0, field)
    sign = Node(
        ApplySign(sign=settings.sign, manufacturer=plan.manufacturer, axes=list(plan.axes)),
        name="sign",
        mem_gb=sign_gb(plan),
    )
    for field in ("phi0_file", "mask_file", "provenance"):
        workflow.connect(phi0, field, sign, field)


def _connect_mask(
    workflow: Workflow, plan: Plan, settings: Settings, datasets: Mapping[str, Path]
) -> None:
    """Add the nodes that import or create the mask."""
    phi0 = workflow.get_node("phi0")
    interface = MakeMask(
        origins=list(plan.mask_origins),
        requested=settings.mask,
        image_checks=settings.image_checks,
        head_expected=plan.expects_head,
        source=str(plan.echoes[0].files[0]),
        auxiliary=plan.mask,
        alignment=plan.mask_alignment,
        in_files=[str(path) for path in resampled_files(plan.mask, plan.mask_alignment)],
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


def _connect_lesions(workflow: Workflow, plan: Plan, settings: Settings) -> None:
    """Add the node that imports the lesions, if there are lesion masks."""
    if plan.lesions is None:
        _remove_lesions(workflow, plan, settings)
        return
    phi0, alignment = workflow.get_node("phi0"), plan.lesion_alignment
    interface = ImportLesions(
        auxiliary=plan.lesions,
        alignment=alignment,
        shows_head=plan.shows_head is not False,
        in_files=[str(path) for path in resampled_files(plan.lesions, alignment)],
    )
    lesions = Node(interface, name="lesions", mem_gb=import_gb(plan, plan.lesions, alignment))
    workflow.connect(phi0, "magnitude_file", lesions, "reference_file")
    workflow.connect(phi0, "mask_file", lesions, "mask_file")
    coregister = _coregistered(workflow, alignment, plan, settings, "coregister_lesions")
    if coregister is not None:
        workflow.connect(coregister, "pose", lesions, "pose")
        workflow.connect(coregister, "failure", lesions, "pose_failure")
        workflow.connect(coregister, "provenance", lesions, "pose_provenance")


def _connect_segmentation(workflow: Workflow, plan: Plan, settings: Settings) -> None:
    """Add the nodes that import the segmentation, if the plan contains a segmentation."""
    if plan.segmentation is None:
        return
    phi0 = workflow.get_node("phi0")
    alignment = plan.segmentation_alignment
    segmentation = _init_segmentation_node(plan, plan.segmentation, settings)
    workflow.connect(workflow.get_node("mask"), "is_brain", segmentation, "mask_is_brain")
    workflow.connect(phi0, "magnitude_file", segmentation, "reference_file")
    workflow.connect(workflow.get_node("check_images"), "signal_file", segmentation, "signal_file")
    workflow.connect(phi0, "mask_file", segmentation, "mask_file")
    coregister = _coregistered(workflow, alignment, plan, settings, "coregister_segmentation")
    if coregister is not None:
        workflow.connect(coregister, "pose", segmentation, "pose")
        workflow.connect(coregister, "failure", segmentation, "pose_failure")
        workflow.connect(coregister, "provenance", segmentation, "provenance")
    lesions = workflow.get_node("lesions")
    if lesions is not None:
        workflow.connect(lesions, "lesions_file", segmentation, "lesions_file")
    if plan.segmentation.kind == "t1w":
        # reuse the node if the mask already uses the tissue classes of the same image
        classes = workflow.get_node("tissue_classes") or _init_tissue_classes_node(
            workflow, plan.segmentation, settings
        )
        workflow.connect(classes, "labels_file", segmentation, "segmented_file")
        workflow.connect(classes, "failure", segmentation, "labels_failure")


def _connect_template(workflow: Workflow, plan: Plan, settings: Settings) -> None:
    """Add the node that registers the T1w image to nilearn's template, if this is needed."""
    if plan.template_t1w is None:
        return
    register = Node(
        RegisterTemplate(t1w_file=str(plan.template_t1w), n_threads=settings.omp_nthreads),
        name="register_template",
        mem_gb=template_gb(plan.template_t1w),
        n_procs=settings.omp_nthreads,
    )
    check = workflow.get_node("check_images")
    workflow.connect(check, "signal_file", register, "checked_file")


def _connect_regions(workflow: Workflow, plan: Plan, settings: Settings) -> None:
    """Add the nodes that import the labels of regions, if the plan contains regions."""
    if not plan.regions:
        return
    interface = ImportRegions(
        regions=list(plan.regions),
        in_files=[str(path) for one in plan.regions for path in one.files],
    )
    regions = Node(interface, name="regions", mem_gb=regions_gb(plan))
    workflow.connect(workflow.get_node("phi0"), "magnitude_file", regions, "reference_file")
    for one in plan.regions:
        if one.alignment.anatomical is not None:
            coregister = _coregistered(
                workflow, one.alignment, plan, settings, "coregister_regions"
            )
            workflow.connect(coregister, "pose", regions, "pose")
            workflow.connect(coregister, "failure", regions, "pose_failure")
            # one connection is sufficient, because all regions share this anatomical image
            break
    if any(one.alignment.template_t1w is not None for one in plan.regions):
        register = workflow.get_node("register_template")
        workflow.connect(register, "from_template_file", regions, "template_file")
        workflow.connect(register, "failure", regions, "template_failure")


def _connect_b1(
    workflow: Workflow, plan: Plan, settings: Settings, datasets: Mapping[str, Path]
) -> None:
    """Add the nodes that create the ``|B1+|`` map, if a method uses ``|B1+|``."""
    if not plan.b1_origins:
        return
    interface = MakeB1(
        origins=list(plan.b1_origins),
        requested=settings.b1,
        frequency=plan.frequency,
        head_expected=plan.expects_head,
        source=str(plan.echoes[0].files[0]),
        auxiliary=plan.b1,
        declared=plan.b1_declared,
        alignment=plan.b1_alignment,
        in_files=[str(path) for path in resampled_files(plan.b1, plan.b1_alignment)],
        metadata={
            one: b1_metadata(plan, datasets, one) for one in plan.b1_origins if one != "none"
        },
    )
    b1 = Node(interface, name="b1", mem_gb=b1_gb(plan))
    for field in ("magnitude_file", "signal_file"):
        workflow.connect(workflow.get_node("check_images"), field, b1, field)
    workflow.connect(workflow.get_node("mask"), "mask_file", b1, "mask_file")
    workflow.connect(workflow.get_node("mask"), "is_brain", b1, "is_brain")
    coregister = _coregistered(workflow, plan.b1_alignment, plan, settings, "coregister_b1")
    if coregister is not None:
        workflow.connect(coregister, "pose", b1, "pose")
        workflow.connect(coregister, "failure", b1, "pose_failure")
        workflow.connect(coregister, "provenance", b1, "pose_provenance")


def _coregistered(
    workflow: Workflow, alignment: Alignment, plan: Plan, settings: Settings, name: str
) -> Node | None:
    """Return the node that registers the anatomical image, and add this node if necessary.

    The result is None if there is no such image.
    """
    for present in workflow.list_node_names():
        node: Node = workflow.get_node(present)
        registers = isinstance(node.interface, Coregister)
        if registers and node.inputs.anatomical_file == str(alignment.anatomical):
            return node
    name = name if workflow.get_node("coregister") else "coregister"
    return _init_coregister_node(workflow, alignment, plan, settings, name)


def _init_segmentation_node(plan: Plan, auxiliary: AuxiliaryImage, settings: Settings) -> Node:
    alignment = plan.segmentation_alignment
    tables = [settings.label_table, auxiliary.table if auxiliary.kind == "labels" else None]
    read = [*resampled_files(auxiliary, alignment), *filter(None, tables)]
    interface = ImportSegmentation(
        auxiliary=auxiliary,
        alignment=alignment,
        label_table=settings.label_table and str(settings.label_table),
        in_files=[str(path) for path in read],
    )
    return Node(interface, name="segmentation", mem_gb=import_gb(plan, auxiliary, alignment))


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
    """Create the node that registers the anatomical image; return None without such an image."""
    grid = alignment.anatomical_grid
    if grid is None:
        return None
    interface = Coregister(
        anatomical_file=str(alignment.anatomical),
        coreg=alignment.coreg,
        n_threads=settings.omp_nthreads,
    )
    node = Node(
        interface,
        name=name,
        mem_gb=registration_gb(plan, grid),
        n_procs=settings.omp_nthreads,
    )
    workflow.connect(workflow.get_node("check_images"), "magnitude_file", node, "magnitude_file")
    return node


def _connect_spaces(workflow: Workflow, plan: Plan, settings: Settings) -> None:
    """Add the nodes that create the transforms of the T1w image and resample maps and labels."""
    if plan.t1w is None or plan.t1w.to_phase:
        _remove_transforms(workflow, plan, settings)
    else:
        _connect_transform(workflow, plan.t1w, plan, settings)
    if plan.t1w is None:
        return
    for space in plan.spaces:
        for method in plan.methods:
            node = Node(
                ResampleMaps(space=space, in_files=[str(path) for path in space.files]),
                name=resample_step_name(method, space.name),
                mem_gb=resampling_gb(plan, space),
            )
            reconstruct = workflow.get_node(step_name("reconstruct", method))
            workflow.connect(reconstruct, "condmap_file", node, "condmap_file")
            if settings.uncertainty:
                workflow.connect(reconstruct, "condstd_file", node, "condstd_file")
            workflow.connect(workflow.get_node("phi0"), "mask_file", node, "mask_file")
            _connect_transforms(workflow, node, space)
        segmentation = workflow.get_node("segmentation")
        if segmentation is not None:
            node = Node(
                ResampleLabels(space=space, in_files=[str(path) for path in space.files]),
                name=resample_step_name(None, space.name),
                mem_gb=resampling_gb(plan, space),
            )
            workflow.connect(segmentation, "labels_file", node, "labels_file")
            _connect_transforms(workflow, node, space)


def _remove_transforms(workflow: Workflow, plan: Plan, settings: Settings) -> None:
    """Add nodes that remove transforms of an earlier run that this run does not use."""
    for name in ("xfm_to_t1w", "xfm_from_t1w"):
        _remove(workflow, name, OUTPUTS[name].path(settings.output_dir, plan.acquisition))


def _remove_lesions(workflow: Workflow, plan: Plan, settings: Settings) -> None:
    """Add nodes that remove the lesions of an earlier run, which this run does not use."""
    output_dir, acquisition = settings.output_dir, plan.acquisition
    _remove(workflow, "lesions", OUTPUTS["lesions"].path(output_dir, acquisition))
    for method in plan.methods:
        path = OUTPUTS["condlesions"].path(output_dir, acquisition, METHODS[method].desc)
        _remove(workflow, step_name("condlesions", method), path)


def _remove(workflow: Workflow, name: str, path: Path) -> None:
    """Add a node that removes an output of an earlier run, if it exists."""
    if path.exists():
        interface = WriteDerivative(out_paths={"": str(path)})
        workflow.add_nodes([Node(interface, name=f"remove_{name}", mem_gb=volume_gb())])


def _connect_transform(workflow: Workflow, t1w: T1wImage, plan: Plan, settings: Settings) -> None:
    """Add the node that writes the transforms between the phase and the T1w image."""
    transform = Node(MakeTransforms(), name="transform", mem_gb=volume_gb())
    coregister = _coregistered(workflow, t1w.alignment, plan, settings, "coregister_t1w")
    if coregister is None:
        workflow.add_nodes([transform])
        return
    workflow.connect(coregister, "pose", transform, "pose")
    workflow.connect(coregister, "failure", transform, "pose_failure")


def _connect_transforms(workflow: Workflow, node: Node, space: OutputSpace) -> None:
    """Connect the computed transforms to a node that resamples to a space."""
    transform = workflow.get_node("transform")
    if transform is not None:
        workflow.connect(transform, "to_t1w_file", node, "phase_file")
        workflow.connect(transform, "failure", node, "pose_failure")
    if space.registers_template:
        register = workflow.get_node("register_template")
        workflow.connect(register, "to_template_file", node, "template_file")
        workflow.connect(register, "failure", node, "template_failure")


def _connect_reconstruction(
    workflow: Workflow, plan: Plan, settings: Settings, method: str
) -> None:
    """Add the node that computes the map of a method."""
    reconstruct = _init_reconstruct_node(plan, settings, method)
    phi0, sign = workflow.get_node("phi0"), workflow.get_node("sign")
    for source, field in (
        (sign, "phi0_file"),
        (sign, "provenance"),
        (phi0, "mask_file"),
        (phi0, "magnitude_file"),
    ):
        workflow.connect(source, field, reconstruct, field)
    if METHODS[method].uses_labels:
        segmentation = workflow.get_node("segmentation")
        workflow.connect(segmentation, "tissues_file", reconstruct, "labels_file")
        workflow.connect(segmentation, "provenance", reconstruct, "labels_provenance")
        lesions = workflow.get_node("lesions")
        if lesions is not None:
            workflow.connect(lesions, "lesions_file", reconstruct, "lesions_file")
    b1 = workflow.get_node("b1")
    if b1 is not None and settings.uses_b1(method):
        workflow.connect(b1, "b1_file", reconstruct, "b1_file")
        workflow.connect(b1, "provenance", reconstruct, "b1_provenance")
    if settings.needs_noise(method):
        workflow.connect(phi0, "noise_file", reconstruct, "noise_file")
        workflow.connect(phi0, "magnitude_noise", reconstruct, "magnitude_noise")


def _connect_map_checks(workflow: Workflow, plan: Plan, settings: Settings, method: str) -> None:
    """Add the nodes that compute the verdict on a method's map and its statistics table."""
    reconstruct = workflow.get_node(step_name("reconstruct", method))
    judge = Node(
        JudgeMap(frequency=plan.frequency),
        name=step_name("judge", method),
        mem_gb=statistics_gb(plan),
    )
    statistics = Node(
        ComputeStatistics(), name=step_name("statistics", method), mem_gb=statistics_gb(plan)
    )
    workflow.connect(reconstruct, "provenance", judge, "provenance")
    if settings.uncertainty:
        workflow.connect(reconstruct, "condstd_file", judge, "condstd_file")
    segmentation, lesions = workflow.get_node("segmentation"), workflow.get_node("lesions")
    nodes = [judge, statistics]
    if lesions is not None:
        name = step_name("lesion_statistics", method)
        compare = Node(CompareLesions(), name=name, mem_gb=region_statistics_gb(plan, settings))
        workflow.connect(lesions, "all_lesions_file", compare, "lesions_file")
        workflow.connect(lesions, "mirror_plane", compare, "mirror_plane")
        if settings.uncertainty:
            workflow.connect(reconstruct, "noise_maps_file", compare, "noise_maps_file")
        nodes.append(compare)
    for node in nodes:
        workflow.connect(reconstruct, "condmap_file", node, "condmap_file")
        workflow.connect(workflow.get_node("phi0"), "mask_file", node, "mask_file")
        if segmentation is not None:
            workflow.connect(segmentation, "labels_file", node, "labels_file")
            workflow.connect(segmentation, "table_file", node, "names_file")


def _connect_region_statistics(
    workflow: Workflow, plan: Plan, settings: Settings, method: str
) -> None:
    """Add the node that computes the region table of a method's map, if there are regions."""
    if not plan.has_regions:
        return
    statistics = Node(
        ComputeRegionStatistics(),
        name=step_name("region_statistics", method),
        mem_gb=region_statistics_gb(plan, settings),
    )
    reconstruct = workflow.get_node(step_name("reconstruct", method))
    workflow.connect(reconstruct, "condmap_file", statistics, "condmap_file")
    if settings.uncertainty:
        workflow.connect(reconstruct, "noise_maps_file", statistics, "noise_maps_file")
    workflow.connect(workflow.get_node("phi0"), "mask_file", statistics, "mask_file")
    if plan.regions:
        regions = workflow.get_node("regions")
        for field in ("atlases", "labels_files", "table_files", "provenance"):
            workflow.connect(regions, field, statistics, field)
    if plan.tissues_are_regions:
        segmentation = workflow.get_node("segmentation")
        workflow.connect(segmentation, "labels_file", statistics, "tissues_file")
        workflow.connect(segmentation, "table_file", statistics, "names_file")
    lesions = workflow.get_node("lesions")
    if lesions is not None:
        workflow.connect(lesions, "lesions_file", statistics, "lesions_file")


def _init_reconstruct_node(plan: Plan, settings: Settings, method: str) -> Node:
    interface = Reconstruct(
        method=method,
        frequency=plan.frequency,
        phase_type=settings.phase_type,
        fit_radius=settings.fit_radius,
        integral_radius=settings.integral_radius,
        axes=list(plan.axes),
        largest_fit_radius=max(plan.kernels[method].fit_radius or (0.0,)),
        target_std=settings.target_std,
        uncertainty=settings.uncertainty,
        noise_maps=plan.has_regions,
        n_threads=settings.omp_nthreads,
    )
    return Node(
        interface,
        name=step_name("reconstruct", method),
        mem_gb=reconstruction_gb(plan, settings, method),
        n_procs=settings.omp_nthreads,
    )
