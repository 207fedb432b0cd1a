import json
from dataclasses import replace

import numpy as np
import pytest

from bids_qcm.bids.anatomy.alignments import Alignment
from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.regions import Regions
from bids_qcm.bids.anatomy.spaces import OutputSpace, T1wImage
from bids_qcm.bids.images import read_values
from bids_qcm.recon import METHODS
from bids_qcm.workflows.acquisition import init_acquisition_wf, write_node_name


@pytest.fixture
def make_workflow(settings, datasets, make_plans):
    def make(plan_options=None, **options):
        radii = {"fit_radius": (3, 3, 3), "integral_radius": (2, 2, 2)}
        given = settings(**radii | options)
        (plan,) = make_plans(given, **plan_options or {})
        return init_acquisition_wf(plan=plan, settings=given, datasets=datasets, name="one_wf")

    return make


def edges(workflow):
    """Return (from, output, to, input) of all connections."""
    return {
        (source.name, output, target.name, field)
        for source, target, data in workflow._graph.edges(data=True)
        for output, field in data["connect"]
    }


@pytest.mark.parametrize("uncertainty", [True, False])
def test_each_method_has_one_reconstruction_and_one_map(make_workflow, uncertainty):
    workflow = make_workflow(methods=tuple(METHODS), uncertainty=uncertainty)
    names = set(workflow.list_node_names())
    expected = {"check_images", "mask", "phi0", "sign", "segmentation"}
    expected |= {"write_phi0", "write_mask", "write_magnitude"}
    expected |= {"write_dseg", "write_labels"}
    # nodes of the inversions
    expected |= {"b1", "write_b1"}
    for method in METHODS:
        node = method.replace("-", "_")
        expected |= {f"reconstruct_{node}", f"judge_{node}", f"statistics_{node}"}
        expected.add(f"region_statistics_{node}")
        expected |= {
            write_node_name(method, one) for one in ("condmap", "condstats", "condregions")
        }
        if uncertainty:
            expected.add(write_node_name(method, "condstd"))
    assert names == expected


def test_no_method_uses_the_map_of_another_method(make_workflow):
    workflow = make_workflow(methods=tuple(METHODS))
    paths = []
    for name, method in METHODS.items():
        node = workflow.get_node(write_node_name(name))
        source = f"reconstruct_{name.replace('-', '_')}"
        assert (source, "condmap_file", node.name, "in_file") in edges(workflow)
        assert workflow.get_node(source).inputs.method == name
        assert node.inputs.metadata["Method"] == name
        assert f"_desc-{method.desc}_condmap.nii.gz" in node.inputs.out_paths[""]
        paths.append(node.inputs.out_paths[""])
    assert len(set(paths)) == len(METHODS)


def test_labels_go_to_the_methods_that_use_them(make_workflow):
    found = edges(make_workflow(methods=tuple(METHODS)))
    users = {
        to for source, _, to, field in found if (source, field) == ("segmentation", "labels_file")
    }
    nodes = {name: name.replace("-", "_") for name in METHODS}
    expected = {f"reconstruct_{nodes[m]}" for m in METHODS if METHODS[m].uses_labels}
    expected |= {f"{step}_{node}" for step in ("judge", "statistics") for node in nodes.values()}
    assert users == expected


@pytest.mark.parametrize(
    ("b1", "users"),
    [
        ("auto", {name for name in METHODS if METHODS[name].form == "inversion"}),
        ("model", set(METHODS)),
        ("none", set()),
    ],
)
def test_b1_goes_to_the_methods_that_use_it(make_workflow, b1, users):
    workflow = make_workflow(methods=tuple(METHODS), b1=b1)
    found = edges(workflow)
    for field in ("b1_file", "provenance"):
        to = {node for source, given, node, _ in found if (source, given) == ("b1", field)}
        reconstructions = {f"reconstruct_{name.replace('-', '_')}" for name in users}
        assert to - {"write_b1"} == reconstructions
    assert (workflow.get_node("write_b1") is not None) == bool(users)
    for name in METHODS:
        metadata = workflow.get_node(write_node_name(name)).inputs.metadata
        # the provenance of a map is known only after the reconstruction
        assert (metadata["B1Map"], metadata["B1MapRequested"]) == ("none", b1)


@pytest.mark.parametrize("shared", [True, False])
def test_a_b1_map_of_the_anatomy_is_registered_once(
    settings, datasets, make_plans, tmp_path, shared
):
    given = settings(methods=("inversion",))
    (plan,) = make_plans(given)
    path = datasets["seg"] / "sub-01" / "anat" / "sub-01_dseg.nii.gz"
    alignment = Alignment(coreg="rigid", anatomical=path)
    b1 = AuxiliaryImage((path,), datasets["seg"], "b1")
    plan = replace(plan, b1=b1, b1_alignment=alignment, b1_origins=("measured",))
    if shared:
        plan = replace(plan, segmentation_alignment=alignment)
    workflow = init_acquisition_wf(plan=plan, settings=given, datasets=datasets, name="one_wf")
    registrations = [name for name in workflow.list_node_names() if "coregister" in name]
    assert registrations == ["coregister"]
    for output, field in (("pose", "pose"), ("failure", "pose_failure")):
        assert ("coregister", output, "b1", field) in edges(workflow)
    assert workflow.get_node("b1").inputs.in_files == [str(path)]


def test_every_reconstruction_has_the_signed_phase(make_workflow):
    found = edges(make_workflow(methods=tuple(METHODS)))
    for method in METHODS:
        name = f"reconstruct_{method.replace('-', '_')}"
        assert ("sign", "phi0_file", name, "phi0_file") in found
        assert ("phi0", "mask_file", name, "mask_file") in found
        for field in ("magnitude_file", "noise_file", "magnitude_noise"):
            assert ("phi0", field, name, field) in found
        assert (name, "condstd_file", write_node_name(method, "condstd"), "in_file") in found


@pytest.mark.parametrize("uncertainty", [True, False])
def test_the_verdict_on_a_map_is_written_with_it(make_workflow, uncertainty):
    workflow = make_workflow(methods=("integral-mag",), uncertainty=uncertainty)
    found = edges(workflow)
    assert ("judge_integral_mag", "provenance", "write_integral_mag", "provenance") in found
    fields = {field for _, _, to, field in found if to == "judge_integral_mag"}
    expected = {"condmap_file", "provenance", "mask_file", "labels_file", "names_file"}
    assert fields == expected | ({"condstd_file"} if uncertainty else set())
    assert workflow.get_node("judge_integral_mag").inputs.frequency == pytest.approx(127.74e6)


def test_statistics_are_computed_for_the_mask_if_there_is_no_segmentation(make_workflow):
    workflow = make_workflow({"segmentation": False})
    assert not {"segmentation", "write_dseg", "write_labels"} & set(workflow.list_node_names())
    fields = {field for _, _, to, field in edges(workflow) if to.startswith("statistics_")}
    assert fields == {"condmap_file", "mask_file"}


def test_the_name_of_the_mask_contains_its_type(make_workflow):
    workflow = make_workflow(methods=("laplacian",))
    paths = workflow.get_node("write_mask").inputs.out_paths
    assert set(paths) == {"brain", "signal"}
    for kind, path in paths.items():
        assert path.endswith(f"sub-01/anat/sub-01_desc-{kind}_mask.nii.gz")
    assert ("mask", "mask_type", "write_mask", "variant") in edges(workflow)


@pytest.mark.parametrize(
    ("options", "origins"),
    [
        ({}, ["template", "signal"]),
        ({"mask": "brain"}, ["template"]),
        ({"mask": "signal"}, ["signal"]),
    ],
)
def test_a_mask_is_made_if_none_exists(make_workflow, options, origins):
    workflow = make_workflow({"mask": False}, methods=("laplacian",), **options)
    assert workflow.get_node("mask").inputs.origins == origins
    assert workflow.get_node("mask").inputs.requested == options.get("mask", "auto")


def test_every_node_declares_its_memory(make_workflow):
    workflow = make_workflow(methods=tuple(METHODS))
    memory = {name: workflow.get_node(name).mem_gb for name in workflow.list_node_names()}
    # 0.2 is nipype's default
    assert {name for name, gigabytes in memory.items() if gigabytes == 0.2} == set()


def test_nodes_with_threads_declare_them(make_workflow):
    workflow = make_workflow(methods=tuple(METHODS), omp_nthreads=3)
    for name in workflow.list_node_names():
        node = workflow.get_node(name)
        threads = 3 if name.startswith("reconstruct_") else 1
        assert node.n_procs == threads
        assert getattr(node.inputs, "n_threads", 1) == threads


def test_options_reach_the_nodes(make_workflow):
    workflow = make_workflow(methods=("integral",), phase_type="transmit", sign="-")
    node = workflow.get_node("reconstruct_integral")
    assert node.inputs.phase_type == "transmit"
    assert node.inputs.fit_radius == (3, 3, 3)
    assert node.inputs.integral_radius == (2, 2, 2)
    assert node.inputs.frequency == pytest.approx(127.74e6)
    assert workflow.get_node("sign").inputs.sign == "-"


@pytest.mark.parametrize("segmentation", [True, False])
def test_noise_maps_are_computed_only_for_tables_of_regions(make_workflow, segmentation):
    workflow = make_workflow({"segmentation": segmentation}, methods=("laplacian",))
    assert workflow.get_node("reconstruct_laplacian").inputs.noise_maps == segmentation
    users = [link for link in edges(workflow) if link[1] == "noise_maps_file"]
    assert bool(users) == segmentation


def test_automatic_radii_use_the_noise_even_without_uncertainty(make_workflow):
    methods = ("laplacian", "laplacian-fd")
    workflow = make_workflow(
        methods=methods, fit_radius="auto", integral_radius=None, target_std=0.3, uncertainty=False
    )
    with_noise = [link[2] for link in edges(workflow) if link[3] == "noise_file"]
    assert with_noise == ["reconstruct_laplacian"]
    inputs = workflow.get_node("reconstruct_laplacian").inputs
    assert (inputs.fit_radius, inputs.target_std, inputs.uncertainty) == ("auto", 0.3, False)


def test_all_outputs_are_written(make_workflow, tmp_path):
    workflow = make_workflow(methods=("laplacian", "laplacian-seg"), sign="+")
    workflow.base_dir = str(tmp_path / "work")
    workflow.config["execution"] = {"create_report": "false"}
    workflow.run(plugin="Linear")
    folder = tmp_path / "out" / "sub-01" / "anat"
    maps = [f"desc-laplacian{s}_cond{what}" for s in ("", "Seg") for what in ("map", "std")]
    stems = [*maps, "phi0map", "desc-brain_mask", "part-mag_desc-preproc_T2w", "seg-tissue_dseg"]
    expected = {f"sub-01_{s}.{e}" for s in stems for e in ("json", "nii.gz")}
    tables = [f"desc-laplacian{s}_cond{t}" for s in ("", "Seg") for t in ("stats", "regions")]
    expected |= {f"sub-01_{s}.{e}" for s in tables for e in ("json", "tsv")}
    assert {path.name for path in folder.iterdir()} == {*expected, "sub-01_seg-tissue_dseg.tsv"}
    conductivity = read_values(folder / "sub-01_desc-laplacian_condmap.nii.gz")
    assert np.nanmedian(conductivity) == pytest.approx(0.5, rel=1e-3)
    sidecar = json.loads((folder / "sub-01_desc-laplacianSeg_condstd.json").read_text())
    assert (sidecar["Units"], sidecar["Propagation"]) == ("S/m", "exact")
    sidecar = json.loads((folder / "sub-01_desc-laplacianSeg_condmap.json").read_text())
    assert (sidecar["Units"], sidecar["FitRadius"], sidecar["PhaseSign"]) == ("S/m", [3, 3, 3], "+")
    assert (sidecar["Verdict"], sidecar["ImplausibleFraction"]) == ("green", 0)
    assert sidecar["VerdictReasons"] == []
    assert sidecar["AlternateSlicesFlipped"] == []
    mask = "bids:seg:sub-01/anat/sub-01_desc-brain_mask.nii.gz"
    assert sidecar["Sources"][-2:] == ["bids:seg:sub-01/anat/sub-01_dseg.nii.gz", mask]
    for stem in ("desc-laplacian_condmap", "phi0map", "desc-brain_mask"):
        sidecar = json.loads((folder / f"sub-01_{stem}.json").read_text())
        told = [sidecar[f"Mask{key}"] for key in ("Type", "Origin", "Requested")]
        assert told == ["brain", "derivative", "auto"]


def test_a_later_mask_of_another_type_replaces_the_mask(make_workflow, tmp_path):
    folder = tmp_path / "out" / "sub-01" / "anat"
    for mask, there, gone in (("auto", "brain", "signal"), ("signal", "signal", "brain")):
        workflow = make_workflow(methods=("laplacian",), sign="+", mask=mask, uncertainty=False)
        workflow.base_dir = str(tmp_path / "work")
        workflow.config["execution"] = {"create_report": "false"}
        workflow.run(plugin="Linear")
        assert (folder / f"sub-01_desc-{there}_mask.json").exists()
        assert not list(folder.glob(f"sub-01_desc-{gone}_mask.*"))
        sidecar = json.loads((folder / "sub-01_phi0map.json").read_text())
        assert sidecar["MaskType"] == there


@pytest.fixture
def with_spaces(settings, datasets, make_plans):
    """Return a function that builds the workflow of a plan with two more spaces."""

    def with_spaces(coreg="rigid", **options):
        given = settings(methods=("integral-fd",), **options)
        (plan,) = make_plans(given)
        path = datasets["seg"] / "sub-01" / "anat" / "sub-01_dseg.nii.gz"
        alignment = Alignment(coreg=coreg, anatomical=path if coreg == "rigid" else None)
        t1w = T1wImage(path, alignment)
        template = OutputSpace("MNI152NLin2009aSym", t1w, None, registers_template=True)
        plan = replace(plan, t1w=t1w, spaces=(OutputSpace("T1w", t1w, path), template))
        return init_acquisition_wf(plan=plan, settings=given, datasets=datasets, name="one_wf")

    return with_spaces


@pytest.mark.parametrize("coreg", ["rigid", "header"])
def test_maps_and_labels_are_resampled_with_the_computed_transforms(with_spaces, coreg):
    workflow = with_spaces(coreg)
    found = edges(workflow)
    assert (("coregister", "pose", "transform", "pose") in found) == (coreg == "rigid")
    for name in ("xfm_to_t1w", "xfm_from_t1w"):
        assert ("transform", f"{name[4:]}_file", f"write_{name}", "in_file") in found
    for space in ("T1w", "MNI152NLin2009aSym"):
        resample = f"resample_integral_fd_{space}"
        assert ("reconstruct_integral_fd", "condstd_file", resample, "condstd_file") in found
        assert ("segmentation", "labels_file", f"resample_{space}", "labels_file") in found
        for node in (resample, f"resample_{space}"):
            assert ("transform", "to_t1w_file", node, "phase_file") in found
            registered = ("register_template", "to_template_file", node, "template_file") in found
            assert registered == (space != "T1w")
        assert (resample, "condmap_file", f"write_integral_fd_{space}", "in_file") in found
        assert (resample, "condstd_file", f"write_integral_fd_condstd_{space}", "in_file") in found
        assert (f"resample_{space}", "labels_file", f"write_dseg_{space}", "in_file") in found


def test_an_atlas_uses_the_registration_to_the_template(settings, datasets, make_plans):
    given = settings(methods=("integral-fd",))
    (plan,) = make_plans(given)
    path = datasets["seg"] / "sub-01" / "anat" / "sub-01_dseg.nii.gz"
    image = AuxiliaryImage((path,), datasets["seg"])
    atlas = Regions("x", image, Alignment(coreg="header", template_t1w=path), of_option=True)
    plan = replace(plan, regions=(atlas,))
    assert plan.template_t1w == path
    workflow = init_acquisition_wf(plan=plan, settings=given, datasets=datasets, name="one_wf")
    found = edges(workflow)
    assert ("register_template", "from_template_file", "regions", "template_file") in found
    assert ("register_template", "failure", "regions", "template_failure") in found


def test_sidecars_describe_the_resampling_to_a_space(with_spaces):
    workflow = with_spaces()
    of_t1w = workflow.get_node("write_integral_fd_T1w").inputs.metadata
    assert of_t1w["Method"] == "integral-fd"
    assert of_t1w["SpatialReference"] == "bids:seg:sub-01/anat/sub-01_dseg.nii.gz"
    to_t1w = "sub-01_from-T2w_to-T1w_mode-image_xfm.txt"
    assert of_t1w["SpaceTransforms"] == [to_t1w]
    of_template = workflow.get_node("write_dseg_MNI152NLin2009aSym").inputs.metadata
    to_template = "sub-01_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.h5"
    assert of_template["SpaceTransforms"] == [to_template, to_t1w]
    assert of_template["SpaceResampling"] == "nearest neighbour"
    assert of_template["SpatialReference"].startswith("https://")


def test_maps_in_spaces_of_an_earlier_run_are_removed_with_the_old_map(with_spaces, settings):
    anat = settings().output_dir / "sub-01/anat"
    anat.mkdir(parents=True)
    for space in ("T1w", "old"):
        for kind in ("desc-integralFD_condmap", "desc-integralFD_condstd", "seg-tissue_dseg"):
            (anat / f"sub-01_space-{space}_{kind}.nii.gz").touch()

    def outdated(workflow, node):
        return {path.rpartition("/")[2] for path in workflow.get_node(node).inputs.outdated}

    old = {"sub-01_space-old_desc-integralFD_condmap.nii.gz"}
    old |= {"sub-01_space-old_desc-integralFD_condmap.json"}
    workflow = with_spaces()
    assert outdated(workflow, "write_integral_fd") == old
    assert outdated(workflow, "write_integral_fd_T1w") == set()
    assert len(outdated(workflow, "write_dseg")) == 2
    # without uncertainty, the noise of the old map must not remain anywhere
    assert len(outdated(with_spaces(uncertainty=False), "write_integral_fd")) == 2 + 2 + 4


def test_a_transform_that_is_no_longer_used_is_removed(make_workflow, settings):
    anat = settings().output_dir / "sub-01/anat"
    anat.mkdir(parents=True)
    paths = [
        anat / f"sub-01_from-{one}_to-{other}_mode-image_xfm.txt"
        for one, other in (("T2w", "T1w"), ("T1w", "T2w"))
    ]
    for path in paths:
        path.write_text("old")
    workflow = make_workflow(methods=("integral-fd",))
    for name in ("xfm_to_t1w", "xfm_from_t1w"):
        workflow.get_node(f"remove_{name}").interface.run()
    assert not any(path.exists() for path in paths)
    assert workflow.get_node("transform") is None
