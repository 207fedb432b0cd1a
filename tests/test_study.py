"""A complete study of phantoms with known effects, from the images to the group page."""

import json

import numpy as np
import pandas as pd
import pytest

from bids_qcm.cli.phantom import main as phantom
from bids_qcm.cli.run import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

METHOD = "inversion-seg"


@pytest.fixture(scope="module")
def study(tmp_path_factory, in_process, without_pages):
    """The folder of a study of four participants with two sessions each."""
    root = tmp_path_factory.mktemp("study")
    raw, maps = str(root / "raw"), str(root / "maps")
    options = ["--participants", "4", "--sessions", "2", "--lesion", "--resolution", "4"]
    assert phantom(["create", raw, *options, "--snr", "150"]) == 0
    work = ["-w", str(root / "work")]
    with without_pages():
        assert main([raw, maps, "participant", *work, "--method", METHOD, *in_process]) == 0
    assert main([raw, maps, "group", *work, "--differences"]) == 0
    return root


def table(study, name):
    return pd.read_csv(study / "maps" / name, sep="\t")


@pytest.fixture(scope="module")
def medians(study):
    """Median conductivity of each tissue, by participant and session."""
    rows = table(study, "group_condmap.tsv")
    return rows.pivot_table("median", ["participant_id", "session_id"], "tissue")


def test_official_validator_passes(study, validate):
    for dataset in (study / "raw", study / "maps"):
        status, text = validate(dataset)
        assert status == 0, text


def test_group_effect_is_found(study, medians):
    """The maps reproduce the true white-matter conductivity of each participant."""
    truth = pd.read_csv(study / "raw/derivatives/phantom/participants.tsv", sep="\t")
    truth = truth.set_index("participant_id")
    found = medians["White Matter"].groupby("participant_id").mean()
    ratio = found / truth["conductivity_WM"]
    assert ratio.mean() == pytest.approx(1, abs=0.1)
    assert ratio.std() < 0.03
    patients = truth["group"] == "patient"
    expected = (
        truth["conductivity_WM"][patients].mean() / truth["conductivity_WM"][~patients].mean()
    )
    assert found[patients].mean() / found[~patients].mean() == pytest.approx(expected, abs=0.04)


def test_the_repeatability_of_a_study_is_correct(study, medians):
    rows = table(study, "group_repeatability.tsv")
    assert sorted(json.loads((study / "maps/group_repeatability.json").read_text())) == sorted(rows)
    white = rows[(rows["region"] == "White Matter") & (rows["erosion"] == 0)].iloc[0]
    assert (white["n_participants"], white["n_scans"], white["repeated"]) == (4, 8, "sessions")
    pairs = medians["White Matter"].unstack()
    # with two sessions, the variance within a participant is half the squared difference
    wsd = np.sqrt(np.mean((pairs["ses-02"] - pairs["ses-01"]) ** 2) / 2)
    assert white["wsd"] == pytest.approx(wsd, rel=1e-3)
    assert white["wcv"] < 0.03
    # the groups differ by 15 %
    assert white["icc"] > 0.9
    # only two participants have a lesion
    assert "Lesion" not in set(rows["region"])


def differences(study):
    paths = sorted((study / "maps").glob("sub-*/ses-02/anat/*_condzmap.json"))
    return [(path, json.loads(path.read_text())) for path in paths]


def test_noise_alone_causes_the_expected_differences(study):
    """Controls have no lesion, so only noise and position differ."""
    found = [
        sidecar
        for path, sidecar in differences(study)
        if "sub-01" in path.name or "sub-03" in path.name
    ]
    assert len(found) == 2
    for sidecar in found:
        assert sidecar["MeanMovement"] > 0.3
        assert len(sidecar["Sources"]) == 6
        assert sidecar["NumberOfVoxels"] > 20_000


def test_the_page_contains_the_repeated_scans(study):
    page = (study / "maps/group_condmap.html").read_text()
    for text in ('id="repeatability"', 'class="agreement"', 'id="differences"', "ses-02"):
        assert text in page
    assert len(list((study / "maps/figures").glob("*_condzmap.png"))) == 4


def test_an_unchanged_study_is_not_written_again(study, caplog):
    raw, maps = str(study / "raw"), str(study / "maps")
    with caplog.at_level("INFO"):
        assert main([raw, maps, "group", "-w", str(study / "work"), "--differences"]) == 0
    assert "unchanged: " in caplog.text
