import json
from dataclasses import replace
from importlib.metadata import version

import pytest

from bids_qcm import __version__
from bids_qcm.bids.anatomy.alignments import Alignment
from bids_qcm.bids.anatomy.datasets import SearchedDatasets
from bids_qcm.bids.anatomy.transforms import Step
from bids_qcm.bids.planning import plan_acquisition
from bids_qcm.bids.provenance import (
    condmap_metadata,
    condstd_metadata,
    mask_metadata,
    phi0_metadata,
    segmentation_metadata,
)
from bids_qcm.recon import METHODS

RAW = [f"bids:raw:sub-01/anat/sub-01_part-{part}_T2w.nii.gz" for part in ("mag", "phase")]
MASK = "bids:seg:sub-01/anat/sub-01_desc-brain_mask.nii.gz"
SEGMENTATION = "bids:seg:sub-01/anat/sub-01_dseg.nii.gz"


@pytest.fixture
def settings(dataset):
    return dataset.settings(methods=tuple(METHODS), phase_type="transmit")


@pytest.fixture
def datasets(dataset):
    return {"raw": dataset.root, "seg": dataset.root / "derivatives" / "seg"}


@pytest.fixture
def plan(dataset, settings, datasets):
    def plan():
        searched = SearchedDatasets.of(settings, {"seg": datasets["seg"]})
        return plan_acquisition(dataset.acquisition(), settings, searched)

    return plan


@pytest.fixture
def full_plan(dataset, plan, label_values):
    dataset.pair()
    dataset.segmentation()
    dataset.image("derivatives/seg/sub-01/anat/sub-01_desc-brain_mask.nii.gz", label_values)
    return plan()


def test_the_sidecar_of_phi0_is_complete(full_plan, settings, datasets):
    metadata = phi0_metadata(full_plan, settings, datasets)
    assert metadata["Units"] == "rad"
    assert metadata["Sources"] == RAW
    assert metadata["PhaseType"] == "transmit"
    assert metadata["PhaseUnits"] == ["rad"]
    assert metadata["EchoTime"] == [0.01]
    assert metadata["ImagingFrequency"] == pytest.approx(127.74)
    assert metadata["ImagingFrequencySource"] == "ImagingFrequency"
    assert metadata["SoftwareVersions"]["bids_qcm"] == __version__
    assert metadata["SoftwareVersions"]["numpy"] == version("numpy")
    assert json.loads(json.dumps(metadata)) == metadata


def test_an_unknown_echo_time_is_omitted(dataset, plan, settings, datasets):
    dataset.pair(EchoTime=None)
    assert "EchoTime" not in phi0_metadata(plan(), settings, datasets)


def test_the_unit_of_real_and_imaginary_parts_is_complex(dataset, plan, settings, datasets):
    dataset.pair(parts=("real", "imag"))
    metadata = phi0_metadata(plan(), settings, datasets)
    assert metadata["PhaseUnits"] == ["complex"]
    assert metadata["Sources"][0].endswith("part-real_T2w.nii.gz")


def test_warnings_are_kept(dataset, plan, settings, datasets):
    dataset.pair("sub-01_{}_MEGRE")
    (warning,) = phi0_metadata(plan(), settings, datasets)["Warnings"]
    assert "single gradient echo" in warning


@pytest.mark.parametrize("method", METHODS)
def test_the_sidecar_of_a_map_describes_the_method(full_plan, settings, datasets, method):
    metadata = condmap_metadata(full_plan, settings, datasets, method)
    uses_labels, uses_magnitude = METHODS[method].uses_labels, METHODS[method].uses_magnitude
    assert (metadata["Units"], metadata["Method"]) == ("S/m", method)
    assert metadata["Sources"] == [*RAW, *([SEGMENTATION] if uses_labels else [])]
    assert metadata.get("MagnitudeDelta") == (0.45 if uses_magnitude else None)
    assert json.loads(json.dumps(metadata)) == metadata


def test_the_sidecar_of_a_derivative_mask_names_its_source(full_plan, datasets):
    metadata = mask_metadata(full_plan, datasets, "derivative")
    assert (metadata["Type"], metadata["Sources"]) == ("Brain", [MASK])


@pytest.mark.parametrize(
    ("origin", "type_", "sources"), [("template", "Brain", RAW[:1]), ("signal", "ROI", RAW)]
)
def test_the_sidecar_of_a_mask_from_the_magnitude_names_its_sources(
    dataset, plan, datasets, origin, type_, sources
):
    dataset.pair()
    metadata = mask_metadata(plan(), datasets, origin)
    assert (metadata["Type"], metadata["Sources"]) == (type_, sources)


def test_the_sidecar_of_a_mask_from_the_t1w_image_names_its_source(
    dataset, plan, datasets, label_values
):
    dataset.pair()
    dataset.image("sub-01/anat/sub-01_T1w.nii.gz", label_values)
    metadata = mask_metadata(plan(), datasets, "T1w")
    assert metadata["Type"] == "Brain"
    assert metadata["Sources"] == ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz"]


def test_the_sidecar_of_a_segmentation_names_its_source(full_plan, datasets):
    assert segmentation_metadata(full_plan, datasets)["Sources"] == [SEGMENTATION]


def test_the_sidecar_describes_the_alignment_of_a_segmentation(
    full_plan, dataset, plan, affine, datasets
):
    metadata = segmentation_metadata(full_plan, datasets)
    assert metadata["Resampling"] == "none, same grid as the phase"
    affine[0, 3] = 0.1
    dataset.segmentation(affine=affine)
    metadata = segmentation_metadata(plan(), datasets)
    assert metadata["Resampling"] == "linear for each label, largest fraction wins"
    assert metadata["Coregistration"] == "header"


def test_the_sidecar_of_a_map_names_its_segmentation(full_plan, settings, datasets):
    metadata = {
        method: condmap_metadata(full_plan, settings, datasets, method)
        for method in ("laplacian", "laplacian-seg")
    }
    # The statistics of every map use the tissues of the segmentation.
    assert metadata["laplacian"]["Segmentation"] == [SEGMENTATION]
    assert "Resampling" not in metadata["laplacian"]
    assert metadata["laplacian-seg"]["Resampling"] == "none, same grid as the phase"


def test_transforms_are_sources(full_plan, settings, datasets):
    path = datasets["seg"] / "sub-01/anat/sub-01_from-a_to-b_xfm.txt"
    alignment = Alignment(steps=(Step(path),))
    moved = replace(full_plan, segmentation_alignment=alignment, mask_alignment=alignment)
    uri = "bids:seg:sub-01/anat/sub-01_from-a_to-b_xfm.txt"
    for metadata in (
        mask_metadata(moved, datasets, "derivative"),
        segmentation_metadata(moved, datasets),
        condmap_metadata(moved, settings, datasets, "integral-seg"),
    ):
        assert metadata["Sources"][-1] == uri


@pytest.mark.parametrize(
    ("method", "way"),
    [
        ("laplacian-seg", "exact"),
        ("laplacian-mag", "exact for the phase noise, first order for the magnitude noise"),
        ("integral", "32 noise replicates"),
        ("inversion", "16 noise replicates, to first order"),
    ],
)
def test_the_sidecar_of_a_standard_deviation_describes_the_propagation(
    full_plan, settings, datasets, method, way
):
    metadata = condstd_metadata(full_plan, settings, datasets, method)
    assert metadata["Propagation"] == way
    assert "least-squares line" not in metadata["PhaseNoiseEstimate"]
    several = replace(full_plan, echoes=full_plan.echoes * 2)
    metadata = condstd_metadata(several, settings, datasets, method)
    assert "to echo time zero by the least-squares line" in metadata["PhaseNoiseEstimate"]


def test_a_segmentation_of_the_t1w_image_is_marked(dataset, datasets, label_values):
    dataset.pair()
    dataset.image("sub-01/anat/sub-01_T1w.nii.gz", label_values)
    settings = dataset.settings(segmentation="t1w", methods=("integral-seg", "integral"))
    found = plan_acquisition(dataset.acquisition(), settings, SearchedDatasets.of(settings, {}))
    (warning,) = found.warnings
    assert "low confidence" in warning
    metadata = segmentation_metadata(found, datasets)
    assert "low confidence" in metadata["Description"]
    assert metadata["Sources"] == ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz"]
    metadata = condmap_metadata(found, settings, datasets, "integral-seg")
    assert metadata["SegmentationConfidence"] == "low"
    metadata = condmap_metadata(found, settings, datasets, "integral")
    assert "SegmentationConfidence" not in metadata
