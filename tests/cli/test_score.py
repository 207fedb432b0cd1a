import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_qcm.bids.images import save_array
from bids_qcm.cli.phantom import main

TRUTH = "derivatives/phantom/{0}/anat/{1}_desc-truth_condmap.nii.gz"


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    out = tmp_path_factory.mktemp("score") / "phantom"
    options = ["--lesion", "--small-lesions", "--tissue-variation", "0.15"]
    assert main(["create", str(out), "--resolution", "4", "--participants", "2", *options]) == 0
    return out


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    out = tmp_path_factory.mktemp("plain") / "phantom"
    assert main(["create", str(out), "--resolution", "4"]) == 0
    return out


def put_map(phantom, maps, scan, desc, factor=1.0, offset=0.0):
    """Write a map that is a linear function of the true conductivity in the brain."""
    folder = scan.replace("_", "/")
    truth = nib.load(phantom / TRUTH.format(folder, scan))
    mask = nib.load(str(truth.get_filename()).replace("truth_condmap", "brain_mask"))
    values = truth.get_fdata(dtype=np.float32) * factor + offset
    values[mask.get_fdata() == 0] = 0
    path = maps / folder / "anat" / f"{scan}_desc-{desc}_condmap.nii.gz"
    save_array(path, values, truth.affine)
    return path


def score(*arguments):
    return main(["score", *map(str, arguments)])


def read(folder, table):
    return pd.read_csv(folder / f"{table}.tsv", sep="\t")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_tables_figures_and_text_are_written(phantom, tmp_path, capsys):
    maps = tmp_path / "maps"
    for participant in ("sub-01", "sub-02"):
        put_map(phantom, maps, participant, "integralMagSeg", 0.5)
        put_map(phantom, maps, participant, "laplacian", 1.0, 0.25)
        put_map(phantom, maps, participant, "mine")
    assert score(phantom, maps) == 0
    said = capsys.readouterr()
    out = tmp_path / "maps-score"
    tables = [f"{name}.{kind}" for name in ("brain", "lesions", "tissues", "variation")
              for kind in ("json", "tsv")]  # fmt: skip
    assert names(out) == sorted([*tables, "sub-01_maps.png", "sub-02_maps.png"])
    assert not said.err
    assert f"Scores of 6 map(s), in {out}" in said.out

    brain = read(out, "brain")
    assert brain.participant_id.tolist() == ["sub-01"] * 3 + ["sub-02"] * 3
    assert brain.method.tolist() == ["laplacian", "integral-magseg", "mine"] * 2
    assert brain.filename[0] == "sub-01/anat/sub-01_desc-laplacian_condmap.nii.gz"
    assert brain.mae[0] == pytest.approx(0.25)
    assert brain.nrmse[1] == brain.nrmse_best99[1] == pytest.approx(0.5)
    assert (brain.mae[2], brain.invalid_fraction[2]) == (0, 0)
    tissues = read(out, "tissues")
    assert set(tissues.tissue) == {"Gray Matter", "White Matter", "Cerebrospinal Fluid", "Lesion"}
    assert len(tissues) == 6 * 4 * 3
    assert read(out, "lesions").groupby("method").recovered.median().tolist() == pytest.approx(
        [0.5, 1, 1]
    )
    assert read(out, "variation").groupby("method").slope.median().tolist() == pytest.approx(
        [0.5, 1, 1]
    )
    for line in (
        r"laplacian +0\.250 +\d\.\d{3} +\d\.\d{3} +0\.000",  # the brain
        r"truth +0\.6\d\d +0\.\d{3} +- +0\.\d{3}",  # tissues; gray matter is too thin for 4 voxels
        r"integral-magseg( +0\.500){5}",  # lesions
        r"integral-magseg( +0\.500){2}",  # variation
    ):
        assert re.search(f"^{line}", said.out, re.MULTILINE), line


def test_a_phantom_without_lesions_and_variation_has_fewer_tables(plain, tmp_path, capsys):
    put_map(plain, tmp_path / "maps", "sub-01", "integral")
    out = tmp_path / "elsewhere" / "deep"
    assert score(plain, tmp_path / "maps", "--output-dir", out) == 0
    assert names(out) == [
        "brain.json",
        "brain.tsv",
        "sub-01_maps.png",
        "tissues.json",
        "tissues.tsv",
    ]
    assert "that lesions show" not in capsys.readouterr().out
    assert names(tmp_path) == ["elsewhere", "maps"]


def test_a_map_on_another_grid_does_not_affect_the_other_maps(plain, tmp_path, capsys):
    maps = tmp_path / "maps"
    put_map(plain, maps, "sub-01", "integral")
    broken = maps / "sub-01/anat/sub-01_desc-laplacian_condmap.nii.gz"
    save_array(broken, np.ones((3, 3, 3), np.float32), np.eye(4))
    assert score(plain, maps, "-o", tmp_path / "out") == 1
    assert f"error: {broken}: has a different grid from the true" in capsys.readouterr().err
    assert read(tmp_path / "out", "brain").method.tolist() == ["integral"]


def test_a_run_with_only_maps_on_another_grid_fails(plain, tmp_path, capsys):
    path = tmp_path / "maps/sub-01/anat/sub-01_desc-integral_condmap.nii.gz"
    save_array(path, np.ones((3, 3, 3), np.float32), np.eye(4))
    assert score(plain, tmp_path / "maps") == 1
    assert "different grid" in capsys.readouterr().err
    assert names(tmp_path) == ["maps"]


def test_participants_without_maps_or_without_truth_are_reported(phantom, tmp_path, capsys):
    maps = tmp_path / "maps"
    put_map(phantom, maps, "sub-02", "integral")
    shutil.copytree(maps / "sub-02", maps / "sub-03")
    for path in (maps / "sub-03/anat").iterdir():
        path.rename(path.with_name(path.name.replace("sub-02", "sub-03")))
    assert score(phantom, maps) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"error: {maps / 'sub-01'}: has no conductivity map")
    missing = phantom / TRUTH.format("sub-03", "sub-03")
    assert second.startswith(f"error: {missing}: is missing, so there is no true")
    assert score(phantom, maps, "--participant-label", "sub-02") == 0
    assert not capsys.readouterr().err


@pytest.mark.slow
def test_each_session_is_compared_with_its_own_truth(tmp_path):
    phantom, maps = tmp_path / "phantom", tmp_path / "maps"
    options = ["--sessions", "2", "--participants", "2", "--lesion"]
    assert main(["create", str(phantom), "--resolution", "8", *options]) == 0
    scans = ["sub-01_ses-01", "sub-02_ses-01", "sub-02_ses-02"]
    for number, scan in enumerate(scans):
        put_map(phantom, maps, scan, "mine", offset=number / 10)
    assert score(phantom, maps) == 0
    out = tmp_path / "maps-score"
    brain = read(out, "brain")
    np.testing.assert_allclose(brain.mae, [0, 0.1, 0.2], atol=1e-6)
    assert brain.participant_id.tolist() == [scan.split("_")[0] for scan in scans]
    assert {path.name for path in out.glob("*.png")} == {f"{scan}_maps.png" for scan in scans}


def test_two_maps_of_the_same_method_are_refused(plain, tmp_path, capsys):
    path = put_map(plain, tmp_path / "maps", "sub-01", "integral")
    again = Path(shutil.copy(path, path.parent.parent))
    assert score(plain, tmp_path / "maps") == 1
    assert f"{again}: is a second map of the same method" in capsys.readouterr().err


def test_a_dataset_without_maps_is_an_error(phantom, tmp_path, capsys):
    assert score(phantom, tmp_path) == 66
    assert "has no conductivity map" in capsys.readouterr().err
    assert not tmp_path.with_name(f"{tmp_path.name}-score").exists()


def test_a_phantom_without_truth_is_an_error(tmp_path, capsys):
    assert score(tmp_path, tmp_path) == 66
    assert f"{tmp_path}/derivatives/phantom: is missing" in capsys.readouterr().err


def test_an_unknown_participant_is_an_error(phantom, tmp_path, capsys):
    assert score(phantom, tmp_path, "--participant-label", "09") == 18
    assert "choose from 01, 02" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_an_error(plain, tmp_path, capsys):
    put_map(plain, tmp_path / "maps", "sub-01", "integral")
    (tmp_path / "file").write_text("mine")
    assert score(plain, tmp_path / "maps", "-o", tmp_path / "file") == 73
    assert "cannot write" in capsys.readouterr().err


def test_folders_that_do_not_exist_are_usage_errors(tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        score(tmp_path / "nowhere", tmp_path)
    assert error.value.code == 64
    assert "nowhere is not a folder" in capsys.readouterr().err
