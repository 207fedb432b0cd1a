import json

import numpy as np
import pytest

from bids_qcm.bids.group_maps import write_group_maps
from bids_qcm.bids.images import read_values, save_array
from bids_qcm.bids.results import find_results

SHAPE = (6, 5, 4)
SPACE = "MNI152NLin2009aSym"


def write(path, values, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_array(path, np.asarray(values, np.float32), np.eye(4) if affine is None else affine)
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(
        '{"SpatialReference": "https://template"}'
    )


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "dataset_description.json").write_text(
        '{"Name": "x", "BIDSVersion": "1.10.0", "GeneratedBy": [{"Name": "bids_qcm"}]}'
    )
    return tmp_path


@pytest.fixture
def maps():
    """Five maps of three participants, who have two sessions, one session and two runs."""
    values = np.random.default_rng(0).normal(0.4, 0.1, (5, *SHAPE)).astype(np.float32)
    values[:, 0] = 0
    values[1, 0, 0, 0] = 0.5
    values[2, 1] = np.nan
    values[:, 2, 0, 0] = np.nan
    return values


NAMES = ("sub-1_ses-a", "sub-1_ses-b", "sub-2_ses-a", "sub-3_ses-a_run-1", "sub-3_ses-a_run-2")


def add(dataset, name, values, *, space=SPACE, affine=None):
    subject, session = name.split("_")[:2]
    folder = dataset / subject / session / "anat"
    write(folder / f"{name}_desc-integralMag_condmap.nii.gz", np.ones((2, 2, 2)))
    write(folder / f"{name}_space-{space}_desc-integralMag_condmap.nii.gz", values, affine)


def run(dataset):
    damaged = []
    results = [one for n in "123" for one in find_results(dataset, f"sub-{n}")]
    return write_group_maps(dataset, results, damaged), damaged


def test_each_participant_counts_once(dataset, maps):
    for name, values in zip(NAMES, maps, strict=True):
        add(dataset, name, values)
        add(dataset, name, values, space="T1w")
    [found], damaged = run(dataset)
    assert not damaged
    assert (found.template, found.method, found.n_participants, found.n_maps) == (
        *(SPACE, "integral-mag"),
        *(3, 5),
    )
    read = {name: read_values(path) for name, path in found.files.items()}
    valid = np.where(maps == 0, np.nan, maps.astype(float))
    of_participants = [valid[:2], valid[2:3], valid[3:]]
    each = np.ma.stack([np.ma.masked_invalid(one).mean(axis=0) for one in of_participants])
    mean, sd = each.mean(axis=0).filled(np.nan), each.std(axis=0, ddof=1).filled(np.nan)
    n = each.count(axis=0)
    sd[n < 2] = np.nan
    np.testing.assert_array_equal(read["N"], n)
    assert n[0, 0, 0] == 1
    assert n[0, 1, 0] == 0
    assert n[2, 0, 0] == 0
    inside = (maps != 0).any(axis=0)
    assert not inside[0, 1, 0]
    np.testing.assert_allclose(read["Mean"], np.where(inside, mean, 0), rtol=1e-5)
    np.testing.assert_allclose(read["Sd"], np.where(inside, sd, 0), rtol=1e-4, atol=1e-7)
    # in the masks, but invalid in all participants
    assert inside[2, 0, 0]
    assert all(np.isnan(read[name][2, 0, 0]) for name in ("Mean", "Sd", "Cv"))
    np.testing.assert_allclose(read["Cv"][3], (sd / mean)[3], rtol=1e-4)
    path = found.files["Mean"]
    assert path == dataset / f"tpl-{SPACE}/anat/tpl-{SPACE}_desc-integralMagMean_condmap.nii.gz"
    sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    assert sidecar["NumberOfParticipants"] == 3
    assert sidecar["NumberOfMaps"] == 5
    assert sidecar["SpatialReference"] == "https://template"
    assert sidecar["Sources"][0] == (
        f"bids::sub-1/ses-a/anat/sub-1_ses-a_space-{SPACE}_desc-integralMag_condmap.nii.gz"
    )
    assert sidecar["Units"] == "S/m"


def test_damaged_maps_and_maps_on_another_grid_are_reported_and_left_out(dataset, maps):
    add(dataset, NAMES[0], maps[0][:-1])
    add(dataset, NAMES[1], maps[1])
    add(dataset, NAMES[2], maps[2], affine=np.diag([1, 1, 2, 1]))
    for name, values in zip(NAMES[3:], maps[3:], strict=True):
        add(dataset, name, values)
    path = next(dataset.glob("sub-3/**/*run-2*space*.nii.gz"))
    path.write_bytes(path.read_bytes()[:-40])
    [found], damaged = run(dataset)
    assert (found.n_participants, found.n_maps) == (2, 2)
    texts = sorted(map(str, damaged))
    assert len(texts) == 3
    assert (
        "has a different grid from most maps in this space (shape (5, 5, 4) instead of (6, 5, 4)"
        in (texts[0])
    )
    assert "sub-2_ses-a" in texts[1]
    assert "run-2" in texts[2]
    np.testing.assert_array_equal(read_values(found.files["N"])[4], 2)


def test_without_resampled_maps_nothing_is_written(dataset, maps):
    add(dataset, NAMES[0], maps[0], space="T1w")
    assert run(dataset) == ([], [])
    assert not list(dataset.glob("tpl-*"))


def test_without_a_readable_map_nothing_is_written(dataset, maps):
    add(dataset, NAMES[0], maps[0])
    next(dataset.glob("sub-1/**/*space*.nii.gz")).write_bytes(b"\x1f")
    found, damaged = run(dataset)
    assert (found, len(damaged)) == ([], 1)


def test_kinds_of_acquisitions_are_averaged_separately(dataset, maps):
    add(dataset, "sub-1_ses-a_acq-fast", maps[0])
    add(dataset, "sub-2_ses-a_acq-slow_run-1", maps[1])
    found, _ = run(dataset)
    assert [one.kind for one in found] == ["acq-fast", "acq-slow"]
    assert found[1].files["N"].name == (f"tpl-{SPACE}_acq-slow_desc-integralMagN_condmap.nii.gz")
