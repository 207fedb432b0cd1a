import pytest

from bids_qcm.bids.acquisitions import group_acquisitions
from bids_qcm.bids.outputs import OUTPUTS
from bids_qcm.bids.provenance import planned_sidecar
from bids_qcm.bids.sidecar_schema import list_fields
from bids_qcm.bids.tables import CONDREGIONS

XFMS = ("xfm_to_t1w", "xfm_from_t1w")


@pytest.fixture
def acquisitions(tmp_path):
    names = ("sub-01_part-phase_T1w.nii", "sub-01_ses-b_run-1_part-phase_T1w.nii")
    return group_acquisitions([tmp_path / "raw" / name for name in names])


@pytest.mark.parametrize(
    ("output", "desc", "expected"),
    [
        ("phi0", None, "anat/{}_phi0map.nii.gz"),
        ("condmap", "x", "anat/{}_desc-x_condmap.nii.gz"),
        ("condstats", "x", "anat/{}_desc-x_condstats.tsv"),
        ("magnitude", None, "anat/{}_part-mag_desc-preproc_T1w.nii.gz"),
        ("b1", "model", "fmap/{}_desc-model_TB1map.nii.gz"),
        ("labels", None, "anat/{}_seg-tissue_dseg.tsv"),
    ],
)
def test_the_path_depends_on_the_session(acquisitions, tmp_path, output, desc, expected):
    paths = [OUTPUTS[output].path(tmp_path, one, desc) for one in acquisitions]
    assert paths == [
        tmp_path / "sub-01" / expected.format("sub-01"),
        tmp_path / "sub-01/ses-b" / expected.format("sub-01_ses-b_run-1"),
    ]


@pytest.mark.parametrize(
    ("output", "desc", "expected"),
    [
        ("condmap", "x", "{}_space-MNI_desc-x_condmap.nii.gz"),
        ("dseg", None, "{}_space-MNI_seg-tissue_dseg.nii.gz"),
    ],
)
def test_the_path_in_another_space_contains_the_space(
    acquisitions, tmp_path, output, desc, expected
):
    path = OUTPUTS[output].path(tmp_path, acquisitions[1], desc, "MNI")
    start = "sub-01_ses-b_run-1"
    assert path.name == expected.format(start)
    path.parent.mkdir(parents=True)
    for one in (path, OUTPUTS[output].path(tmp_path, acquisitions[1], desc)):
        one.touch()
    assert OUTPUTS[output].in_all_spaces(path.parent, start, desc) == {"MNI": path}


@pytest.mark.parametrize(("suffix", "label"), [("MEGRE", "MEGRE"), ("T1w", "orig")])
def test_the_space_of_the_phase_has_a_unique_label(suffix, label):
    names = [OUTPUTS[name].file_name("sub-1", None, suffix) for name in XFMS]
    assert names == [
        f"sub-1_from-{label}_to-T1w_mode-image_xfm.txt",
        f"sub-1_from-T1w_to-{label}_mode-image_xfm.txt",
    ]


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_written_file_is_found_in_the_folder_of_the_maps(acquisitions, tmp_path, name):
    output = OUTPUTS[name]
    folder = tmp_path / "sub-01/ses-b/anat"
    desc = next(iter(output.variants), "x" if output.of_method else None)
    found = output.beside(folder, "sub-01_ses-b_run-1", desc)
    assert output.path(tmp_path, acquisitions[1], desc).match(str(found))


def test_every_variant_is_selected_by_a_node():
    for output in OUTPUTS.values():
        assert bool(output.variants) == bool(output.variant)
        assert not output.variant or output.completed_by
        assert not output.completed_by or output.schema


def test_planned_sidecars_have_the_fields_of_the_schema(dataset):
    from bids_qcm.bids.anatomy.datasets import SearchedDatasets
    from bids_qcm.bids.planning import plan_acquisition

    dataset.pair()
    dataset.segmentation()
    settings = dataset.settings(methods=("integral-magseg",))
    datasets = {"raw": dataset.root, "seg": dataset.root / "derivatives" / "seg"}
    searched = SearchedDatasets.of(settings, {"seg": datasets["seg"]})
    plan = plan_acquisition(dataset.acquisition(), settings, searched)
    for name, output in OUTPUTS.items():
        planned = planned_sidecar(name, plan, settings, datasets, "integral-magseg")
        if output.schema and not output.variants:
            columns = CONDREGIONS.keys() if name == "condregions" else set()
            fields = {field.key for field in list_fields(output.schema)}
            assert planned.keys() <= fields | columns
