import json

import pandas as pd
import pytest

from bids_qcm.bids.acquisitions import group_acquisitions
from bids_qcm.bids.derivatives import write_dataset_files
from bids_qcm.bids.errors import NoInputError, SelectionError
from bids_qcm.bids.results import duplicate_maps, find_results, map_warnings, reported_participants
from bids_qcm.bids.run_records import Failure, Step, new_record, read_records, write_record
from bids_qcm.bids.tables import CONDREGIONS, CONDSTATS, write_table
from bids_qcm.checks.verdict import Verdict

PHI0 = {
    "MaskType": "brain",
    "PhaseSign": "+",
    "PhaseType": "transceive",
    "ImagingFrequency": 127.7,
    "Segmentation": ["bids:seg:sub-01/anat/sub-01_dseg.nii.gz"],
}


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    write_dataset_files(folder, {"raw": tmp_path})
    return folder


@pytest.fixture
def add(out):
    """Return a function that adds an empty derivative file and its sidecar."""

    def add(name, **sidecar):
        session = "".join(f"{part}/" for part in name.split("_") if part.startswith("ses-"))
        folder = out / name.split("_")[0] / session / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
        stem = name.partition(".")[0]
        (folder / f"{stem}.json").write_text(json.dumps(PHI0 | sidecar))

    return add


def acquisition(tmp_path, name):
    return group_acquisitions(
        [tmp_path / f"{name.replace('{}', f'part-{part}')}.nii.gz" for part in ("mag", "phase")]
    )[0]


def test_results_contain_all_files_of_an_acquisition(out, add, tmp_path):
    for name in (
        "sub-01_ses-a_acq-x_desc-laplacian_condmap.nii.gz",
        "sub-01_ses-a_acq-x_desc-integralMag_condmap.nii.gz",
        "sub-01_ses-a_acq-x_desc-integralMag_condstd.nii.gz",
        "sub-01_ses-a_acq-x_desc-integralMag_condstats.tsv",
        "sub-01_ses-a_acq-x_phi0map.nii.gz",
        "sub-01_ses-a_acq-x_desc-brain_mask.nii.gz",
        "sub-01_ses-a_acq-x_part-mag_desc-preproc_T1w.nii.gz",
        "sub-01_ses-a_acq-xy_seg-tissue_dseg.nii.gz",
        "sub-01_ses-a_acq-xy_desc-laplacian_condmap.nii.gz",
    ):
        add(name)
    row = dict.fromkeys(CONDSTATS, 1) | {"tissue": "whole mask"}
    table = out / "sub-01/ses-a/anat/sub-01_ses-a_acq-x_desc-integralMag_condstats.tsv"
    write_table(table, pd.DataFrame([row]), CONDSTATS)
    one = acquisition(tmp_path, "sub-01_ses-a_acq-x_{}_T1w")
    write_record(out, new_record(one, date="2026", command="bids-qcm"))
    first, second = find_results(out, "sub-01")
    assert (first.source, first.name) == ("sub-01_ses-a_acq-x", "sub-01_ses-a_acq-x_T1w")
    assert (second.source, second.name) == ("sub-01_ses-a_acq-xy", "sub-01_ses-a_acq-xy")
    assert first.session == second.session == "a"
    assert [one.method for one in first.maps] == ["laplacian", "integral-mag"]
    assert [bool(one.condstd) for one in first.maps] == [False, True]
    assert [bool(one.condstats) for one in first.maps] == [False, True]
    assert first.mask.name == "sub-01_ses-a_acq-x_desc-brain_mask.nii.gz"
    assert first.magnitude.name == "sub-01_ses-a_acq-x_part-mag_desc-preproc_T1w.nii.gz"
    assert first.segmentation is None
    assert second.segmentation is not None
    assert second.phi0 is None
    assert second.magnitude is None


def test_a_segmentation_of_an_earlier_run_is_ignored(out, add):
    add("sub-01_seg-tissue_dseg.nii.gz")
    add("sub-01_phi0map.nii.gz", Segmentation=[])
    add("sub-01_desc-laplacian_condmap.nii.gz", Segmentation=[])
    add("sub-01_desc-laplacianSeg_condmap.nii.gz")
    (result,) = find_results(out, "sub-01")
    assert result.segmentation is None
    (caveat,) = map_warnings(result)
    assert "desc-laplacianSeg_condmap.nii.gz is from an earlier run and differs from phi0" in caveat


def test_a_participant_without_maps_has_no_results(out):
    assert find_results(out, "sub-09") == []


def test_participants_with_folders_or_records_are_listed(out, add, tmp_path):
    add("sub-02_desc-laplacian_condmap.nii.gz")
    failed = acquisition(tmp_path, "sub-01_{}_T1w")
    write_record(out, new_record(failed, date="2026", command="x"))
    assert reported_participants(out) == ["sub-01", "sub-02"]
    assert reported_participants(out, ["02"]) == ["sub-02"]
    with pytest.raises(SelectionError, match="sub-03"):
        reported_participants(out, ["02", "03"])


def test_another_dataset_is_refused(out, tmp_path):
    with pytest.raises(NoInputError, match="not a derivative dataset of bids_qcm"):
        reported_participants(tmp_path)
    with pytest.raises(NoInputError, match="has no participant"):
        reported_participants(out)


def test_records_are_read_back_and_the_newest_is_kept(out, tmp_path):
    one = acquisition(tmp_path, "sub-01_ses-b_{}_T1w")
    failures = (Failure("phi0", "<no voxel>", "logs/crash.txt"), Failure("checks", "ä"))
    steps = (Step("phi0", 1.0, 0.3), Step("mask", 0.5))
    told = {"plan": {"methods": "laplacian"}, "environment": {"Python": "3.12"}}
    old = new_record(one, date="1", command="a b", failures=failures, steps=steps, **told)
    assert old.seconds == 1.5
    write_record(out, old)
    assert read_records(out, "sub-01") == [old]
    assert old.session == "b"
    assert read_records(out, "sub-0") == []
    new = new_record(one, date="2", command="c")
    write_record(out, new)
    assert read_records(out, "sub-01") == [new]


def test_warnings_of_maps_are_unique_and_include_derived_warnings(out, add):
    add(
        "sub-01_phi0map.nii.gz",
        Warnings=["one gradient echo"],
        PhaseSignWeak=True,
        PhaseSignAgreement=0.55,
    )
    add("sub-01_seg-tissue_dseg.nii.gz", Warnings=["covers 60%"])
    add(
        "sub-01_desc-laplacian_condmap.nii.gz",
        Warnings=["one gradient echo"],
        InvalidFraction=0.6,
        TargetStd=0.1,
        PredictedStd=0.3,
    )
    add("sub-01_desc-integralMag_condmap.nii.gz", InvalidFraction=0.1, PhaseSign="-")
    (result,) = find_results(out, "sub-01")
    found = map_warnings(result)
    expected = [
        "one gradient",
        "55%",
        "covers",
        "laplacian (60%)",
        "0.3 S/m",
        "differs from phi0 in PhaseSign",
    ]
    assert len(found) == len(expected)
    for caveat, words in zip(found, expected, strict=True):
        assert words in caveat


def test_a_good_map_has_no_warnings(out, add):
    add("sub-01_phi0map.nii.gz", Warnings=[], PhaseSignWeak=False)
    add("sub-01_desc-laplacian_condmap.nii.gz", Warnings=[], InvalidFraction=0.01)
    (result,) = find_results(out, "sub-01")
    assert map_warnings(result) == []


def test_maps_of_the_same_images_under_two_names_are_found(out, add):
    images = ["bids:raw:sub-01_part-mag_T2w.nii.gz", "bids:raw:sub-01_part-phase_T2w.nii.gz"]
    for name, sources in (
        ("sub-01", images),
        ("sub-01_acq-T2w", [*images, "bids:seg:mask.nii.gz"]),
        ("sub-01_acq-PDw", [one.replace("T2w", "PDw") for one in images]),
    ):
        add(f"{name}_desc-laplacian_condmap.nii.gz", Sources=sources)
    (warning,) = duplicate_maps(find_results(out, "sub-01"))
    assert warning.startswith("sub-01_* and sub-01_acq-T2w_* were computed from the same images")


def test_hidden_files_are_not_results(out, add):
    add("sub-01_desc-integral_condmap.nii.gz")
    add("sub-01_part-mag_desc-preproc_T2w.nii.gz")
    anat = out / "sub-01" / "anat"
    for path in list(anat.iterdir()):
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05")
    for name in (".sub-02", "logs"):
        (out / name).mkdir(exist_ok=True)
    (out / "logs" / "._sub-03_T2w.json").write_bytes(b"\x00\x05")
    assert reported_participants(out) == ["sub-01"]
    (result,) = find_results(out, "sub-01")
    assert [one.condmap.name for one in result.maps] == ["sub-01_desc-integral_condmap.nii.gz"]
    assert result.magnitude.name == "sub-01_part-mag_desc-preproc_T2w.nii.gz"


def test_the_magnitude_of_the_last_run_is_used(out, add, tmp_path):
    add("sub-01_desc-integral_condmap.nii.gz")
    for suffix in ("MEGRE", "T2w"):
        add(f"sub-01_part-mag_desc-preproc_{suffix}.nii.gz")
    write_record(out, new_record(acquisition(tmp_path, "sub-01_{}_T2w"), date="1", command="c"))
    (result,) = find_results(out, "sub-01")
    assert result.magnitude.name == "sub-01_part-mag_desc-preproc_T2w.nii.gz"


@pytest.fixture
def add_map(out, add):
    """Return a function that adds a map with a verdict and a statistics table."""

    def add_map(desc, sidecar, **medians):
        name = f"sub-01_desc-{desc}_condmap.nii.gz"
        add(name, **sidecar)
        rows = [
            {"label": label, "tissue": tissue.replace("_", " "), "erosion": erosion, "n": 9}
            | dict.fromkeys(("mean", "sd", "iqr", "invalid_fraction"), 0.0)
            | {"median": median if erosion == 0 else 9.0}
            for label, (tissue, median) in enumerate(medians.items())
            for erosion in (0, 2)
        ]
        table = pd.DataFrame(rows)[list(CONDSTATS)]
        write_table(out / "sub-01/anat" / name.replace("map.nii.gz", "stats.tsv"), table, CONDSTATS)

    return add_map


def test_disagreement_is_computed_for_uneroded_gray_and_white_matter(out, add_map):
    """The medians of cerebrospinal fluid and of the whole mask are not compared."""
    others = {"whole_mask": 0.5, "White_Matter": 0.4}
    add_map("laplacian", {}, **others, Gray_Matter=0.6, Cerebrospinal_Fluid=1.0)
    add_map("integral", {}, **others | {"whole_mask": 0.9}, Gray_Matter=0.66)
    (result,) = find_results(out, "sub-01")
    assert result.disagreements == pytest.approx({"laplacian": 0.06 / 0.66, "integral": 0.1})


def test_disagreement_is_computed_for_the_whole_mask_if_there_are_no_tissues(out, add_map):
    add_map("laplacian", {}, whole_mask=0.5)
    add_map("integral", {}, whole_mask=1.0)
    (result,) = find_results(out, "sub-01")
    assert result.disagreements == pytest.approx({"laplacian": 0.5, "integral": 1.0})


def test_the_verdict_of_a_result_includes_the_disagreement(out, add_map):
    add_map("laplacian", {"Verdict": "green", "VerdictReasons": []}, whole_mask=0.5)
    add_map("integral", {"Verdict": "red", "VerdictReasons": ["bad"]}, whole_mask=1.0)
    (result,) = find_results(out, "sub-01")
    assert result.maps[0].own_verdict == Verdict("green")
    assert result.verdicts["laplacian"].colour == "amber"
    assert result.verdicts["integral"].colour == "red"
    assert result.verdicts["integral"].reasons[0] == "bad"


def test_a_map_from_an_older_version_has_no_verdict(out, add):
    add("sub-01_desc-laplacian_condmap.nii.gz")
    (result,) = find_results(out, "sub-01")
    assert result.verdicts == {"laplacian": None}


@pytest.mark.parametrize(("higher", "colour"), [(0.8, "green"), (1.0, "amber")])
def test_part_of_the_disagreement_comes_from_neglecting_b1(out, add_map, higher, colour):
    verdict = {"Verdict": "green", "VerdictReasons": []}
    add_map("integral", verdict, whole_mask=higher)
    add_map("inversion", verdict | {"B1Map": "model"}, whole_mask=0.5)
    (result,) = find_results(out, "sub-01")
    assert result.verdicts["integral"].colour == colour


def test_methods_are_compared_with_methods_with_the_same_use_of_b1(out, add_map):
    add_map("laplacian", {"B1Map": "none"}, whole_mask=1.0)
    add_map("integral", {}, whole_mask=0.8)
    add_map("inversion", {"B1Map": "measured"}, whole_mask=0.4)
    (result,) = find_results(out, "sub-01")
    expected = {"laplacian": 0.25, "integral": 0.2, "inversion": 0.5 / 0.9}
    assert result.disagreements == pytest.approx(expected)


def test_warnings_of_a_region_table_are_warnings_of_its_map(out, add):
    add("sub-01_desc-laplacian_condmap.nii.gz")
    add("sub-01_phi0map.nii.gz")
    path = out / "sub-01/anat/sub-01_desc-laplacian_condregions.tsv"
    write_table(path, pd.DataFrame(columns=list(CONDREGIONS)), CONDREGIONS)
    (result,) = find_results(out, "sub-01")
    assert map_warnings(result) == []
    content = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(content | {"Warnings": ["no x"]}))
    (result,) = find_results(out, "sub-01")
    assert map_warnings(result) == ["no x"]
