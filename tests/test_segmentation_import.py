"""Segmentations from each software package, planned and resampled to the grid of the phase."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from nipype.pipeline.engine import Workflow

from bids_qcm.bids.acquisitions import group_acquisitions
from bids_qcm.bids.anatomy.datasets import SearchedDatasets, derivative_datasets
from bids_qcm.bids.images import read_integers
from bids_qcm.bids.planning import plan_acquisition
from bids_qcm.settings import Settings
from bids_qcm.workflows.acquisition import init_acquisition_wf
from tests import segmentation_trees as trees
from tests.synthetic import Dataset

pytestmark = pytest.mark.slow

# At 4 mm, the fluid around the brain is thinner than a voxel, so the limit for fluid is lower.
AT_4_MM = {"GM": 0.95, "WM": 0.95, "CSF": 0.8}

# a small movement that is large enough to require registration
DEGREES, SHIFT = 3, (3, -3.5, 2)


@pytest.fixture(scope="module")
def heads():
    @cache
    def head(degrees=DEGREES, shift=SHIFT):
        return trees.make_head(4, degrees, shift, voxel_size=(2, 2, 2.5))

    return head


@pytest.fixture(scope="module")
def slab():
    """A slab through the ventricles at the voxel sizes of a study.

    At these voxel sizes, the whole head takes more than four times as long.
    """
    return trees.make_head(1, DEGREES, SHIFT, (0.7, 0.7, 0.8), slices=slice(80, 120))


@pytest.fixture
def plan_tree(tmp_path):
    """Write datasets of a head, and plan its acquisition."""

    def plan_tree(
        head, producers, transform=False, methods=("integral-seg", "laplacian"), **options
    ):
        raw = trees.write_raw(tmp_path / "raw", head)
        for name in producers:
            trees.PRODUCERS[name](raw / "derivatives" / name, head)
        if transform:
            trees.write_transform(raw / "derivatives" / "xfms", head)
        settings = Settings(raw, tmp_path / "out", tmp_path / "w", methods=methods, **options)
        (acquisition,) = group_acquisitions((raw / "sub-01/anat").glob("*_part-*.nii.gz"))
        datasets = derivative_datasets(raw, [], settings.output_dir)
        plan = plan_acquisition(acquisition, settings, SearchedDatasets.of(settings, datasets))
        return plan, settings, {"raw": raw, **datasets}

    return plan_tree


def plan_tree_again(plan, root):
    """Plan the acquisition again after a file has been changed."""
    settings = Settings(
        root / "raw", root / "out", root / "w", methods=("integral-seg", "laplacian")
    )
    datasets = derivative_datasets(settings.bids_dir, [], settings.output_dir)
    again = plan_acquisition(plan.acquisition, settings, SearchedDatasets.of(settings, datasets))
    return again, settings, datasets


@pytest.fixture
def import_tree(plan_tree, tmp_path):
    """Import the segmentation of a head. Return the labels and the messages about them."""

    def import_tree(*args, **options):
        plan, settings, datasets = plan_tree(*args, **options)
        assert plan.refused == {}
        whole = init_acquisition_wf(plan=plan, settings=settings, datasets=datasets, name="whole")
        part = Workflow("part", base_dir=str(tmp_path / "work"))
        part.config["execution"] = {"create_report": "false"}
        names = {"check_images", "phi0", "mask", "segmentation"}
        names |= {"coregister", "coregister_segmentation"}
        mask = whole.get_node("mask")
        if "derivative" not in mask.inputs.origins:  # this is slow and is tested elsewhere
            mask.inputs.origins = ["signal"]
        wanted = [node for node in whole._graph.nodes if node.name in names]
        part.add_nodes(wanted)
        for one, other, data in whole._graph.edges(data=True):
            if one in wanted and other in wanted:
                part.connect([(one, other, data["connect"])])
        done = {node.name: node.result.outputs for node in part.run(plugin="Linear").nodes}
        outputs = done["segmentation"]
        return read_integers(Path(outputs.labels_file)), outputs.provenance, plan

    return import_tree


def below(limits, found, head):
    """Return the Dice coefficients of the tissues that are below their limits."""
    dices = {
        tissue: trees.dice(found == label, head.labels == label)
        for tissue, label in trees.TISSUE_LABELS.items()
    }
    return {tissue: dice for tissue, dice in dices.items() if dice < limits[tissue]}


@pytest.mark.parametrize("producer", trees.PRODUCERS)
def test_segmentations_of_each_software_are_imported_with_a_known_transform(
    heads, import_tree, producer
):
    head = heads()
    found, told, plan = import_tree(head, [producer], transform=True)
    assert plan.segmentation_alignment.coreg is None
    assert set(np.unique(found)) == {0, 1, 2, 3}
    assert below(AT_4_MM, found, head) == {}
    assert "Coregistration" not in told


@pytest.mark.parametrize("producer", ["fmriprep", "freesurfer", "synthseg"])
def test_t1w_images_of_each_software_are_registered(heads, import_tree, producer):
    head = heads()
    found, told, _ = import_tree(head, [producer])
    assert (told["CoregistrationRequested"], told["Coregistration"]) == ("auto", "rigid")
    assert told["MutualInformationRegistered"] > told["MutualInformationHeader"]
    assert below(AT_4_MM, found, head) == {}


def test_the_alignment_of_accurate_headers_is_kept(heads, import_tree):
    head = heads(0, (0, 0, 0))
    found, told, _ = import_tree(head, ["fmriprep"])
    assert (told["CoregistrationRequested"], told["Coregistration"]) == ("auto", "header")
    assert told["RegisteredShift"] < 1
    assert below(AT_4_MM, found, head) == {}
    assert told["MaskCoverage"] > 0.99
    truth = np.count_nonzero(head.labels == 2) * 0.064
    assert told["TissueVolumes"]["White Matter"] == pytest.approx(truth, rel=0.03)


def test_a_segmentation_in_template_space_needs_a_transform(
    heads, plan_tree, import_tree, tmp_path
):
    head = heads()
    raw = tmp_path / "raw" / "derivatives" / "fmriprep"
    Dataset(raw)
    name = "sub-01_space-MNI152Lin_dseg.nii.gz"
    trees.save(raw / "sub-01/anat" / name, head.brain_labels, head.t1w_affine)
    plan, *_ = plan_tree(head, [])
    assert f"{name}: is in the space MNI152Lin, but no transform" in plan.refused["integral-seg"]
    assert "sub-01_from-MNI152Lin_to-T1w_mode-image_xfm" in plan.refused["integral-seg"]
    trees.write_transform(raw, head, "sub-01_from-MNI152Lin_to-T1w_mode-image_xfm.txt")
    found, _, plan = import_tree(head, [], coreg="header")
    assert [step.path.name for step in plan.segmentation_alignment.steps] == [
        "sub-01_from-MNI152Lin_to-T1w_mode-image_xfm.txt"
    ]
    assert below(AT_4_MM, found, head) == {}


def test_swapped_sides_of_a_segmentation_are_detected(heads, plan_tree, tmp_path):
    head = heads()
    plan, *_ = plan_tree(head, ["fmriprep"], transform=True)
    assert plan.refused == {}
    path = plan.segmentation.path
    trees.save(path, head.brain_labels[::-1], head.t1w_affine)
    plan, *_ = plan_tree_again(plan, tmp_path)
    assert "left and right swapped" in plan.refused["integral-seg"]
    assert str(path) in plan.refused["integral-seg"]


def test_a_segmentation_that_disagrees_with_the_mask_is_refused(heads, plan_tree, tmp_path):
    head = heads()
    plan, *_ = plan_tree(head, ["fmriprep"], transform=True)
    labels = np.where(head.left(), head.brain_labels, 0)
    labels[:, :, : labels.shape[2] // 2] = 0
    trees.save(plan.segmentation.path, labels, head.t1w_affine)
    plan, *_ = plan_tree_again(plan, tmp_path)
    assert "disagrees with the brain mask" in plan.refused["integral-seg"]
    assert str(plan.mask.path) in plan.refused["integral-seg"]


def test_the_alignment_of_inaccurate_headers_is_kept_on_request(heads, import_tree):
    head = heads()
    found, _, plan = import_tree(head, ["fmriprep"], coreg="header")
    assert plan.segmentation_alignment.coreg == "header"
    assert set(below(AT_4_MM, found, head)) == set(AT_4_MM)


@pytest.mark.parametrize("producer", ["fmriprep", "smriprep", "freesurfer"])
def test_segmentations_at_1_mm_are_imported_with_a_known_transform(slab, import_tree, producer):
    found, _, _ = import_tree(slab, [producer], transform=True)
    assert below(dict.fromkeys(trees.TISSUE_LABELS, 0.95), found, slab) == {}


def test_a_segmentation_at_1_mm_is_imported_by_registration(slab, import_tree):
    found, _, _ = import_tree(slab, ["fmriprep"])
    assert below(dict.fromkeys(trees.TISSUE_LABELS, 0.9), found, slab) == {}
