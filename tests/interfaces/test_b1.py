from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bids_qcm.bids.anatomy.alignments import Alignment
from bids_qcm.bids.anatomy.auxiliary import SCANNER, AuxiliaryImage
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_values, save_array
from bids_qcm.checks.b1 import DeclaredB1
from bids_qcm.interfaces.b1 import MakeB1

SHAPE = (24, 26, 22)
AFFINE = np.diag([6.0, 6.0, 6.0, 1.0])
AUTO = ["measured", "model", "none"]


@pytest.fixture
def head(tmp_path):
    """Files of a head of 60 to 70 mm, its brain, and a |B1+| map in percent, lower at the rim."""
    axes = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in SHAPE)]
    radius = sum(np.square(axis) for axis in axes)
    percent = np.where(radius < 1, 110 - 30 * radius, 0).astype(np.float32)
    volumes = {
        "magnitude": np.where(radius < 0.9, 100, 1).astype(np.float32),
        # the signal mask excludes bone
        "signal": (radius < 0.9) & ~((radius > 0.6) & (radius < 0.7)),
        "mask": radius < 0.6,
        "percent": percent,
        "negative": -percent,
    }
    files = {name: tmp_path / "in" / f"{name}.nii.gz" for name in volumes}
    for name, values in volumes.items():
        save_array(files[name], values, AFFINE)
    return SimpleNamespace(**volumes, files=files)


@pytest.fixture
def make(tmp_path, head, monkeypatch):
    def make(origins, percent="percent", **inputs):
        monkeypatch.chdir(tmp_path)
        path = head.files[percent]
        files = {f"{n}_file": str(head.files[n]) for n in ("magnitude", "signal", "mask")}
        given = {
            "frequency": 127.74e6,
            "is_brain": True,
            "source": "sub-01_part-mag_T2w.nii.gz",
            "auxiliary": AuxiliaryImage((path,), path.parent, "b1", SCANNER),
            "declared": DeclaredB1("percent"),
            "alignment": Alignment(same_grid=True),
            "metadata": {one: {"Sources": [one]} for one in ("measured", "model")},
        }
        return MakeB1(origins=origins, **files | given | inputs)

    return make


def test_a_measured_map_is_smoothed_and_normalised(head, make):
    found = make(AUTO).run().outputs
    assert found.origin == found.provenance["B1Map"] == "measured"
    assert found.provenance["Sources"] == ["measured"]
    assert found.provenance["B1MapUnits"] == "percent"
    assert found.provenance["B1MapSmoothing"] == 8.0
    values = read_values(Path(found.b1_file))
    inside = head.percent[head.mask]
    np.testing.assert_allclose(values[head.mask], inside / np.median(inside), rtol=0.02)
    assert np.all(values[~head.mask] == 0)


def test_the_unit_does_not_change_the_map(tmp_path, head, make):
    paths = []
    for factor, unit in ((1, "percent"), (0.01, "ratio"), (0.6, "degrees")):
        save_array(head.files["percent"], (factor * head.percent).astype(np.float32), AFFINE)
        found = make(["measured"], declared=DeclaredB1(unit)).run().outputs
        paths.append(read_values(Path(found.b1_file)))
    for other in paths[1:]:
        np.testing.assert_allclose(other, paths[0], rtol=1e-5)


def test_an_unusable_map_is_an_error_only_on_request(make):
    found = make(AUTO, "negative").run().outputs
    assert found.origin == "model"
    [warning] = found.provenance["Warnings"]
    assert "negative.nii.gz: is negative in 100% of the mask" in warning
    assert "Sources" not in found.provenance
    assert found.metadata["Sources"] == ["model"]
    with pytest.raises(InputError, match="is negative"):
        make(["measured"], "negative", requested="raw").run()


def test_the_model_includes_the_whole_head(head, make):
    """Bone has no signal, but is part of the body."""
    found = make(["model"], requested="model").run().outputs
    assert found.provenance["B1ModelVolume"] == pytest.approx(
        np.count_nonzero(head.signal | head.mask) * 216e-6, rel=0.25
    )
    values = read_values(Path(found.b1_file))
    outer = head.mask & ~(read_values(head.files["percent"]) > 100)
    assert np.median(values[~outer & head.mask]) > np.median(values[outer])


def test_the_model_is_not_used_if_the_object_may_not_be_a_head(make):
    found = make(["model", "none"], is_brain=False).run().outputs
    assert (found.origin, found.b1_file, found.provenance["Warnings"]) == ("none", None, [])
    known = {"is_brain": False, "head_expected": True}
    assert make(["model", "none"], **known).run().outputs.origin == "model"
    assert make(["model"], is_brain=False, requested="model").run().outputs.origin == "model"


def test_a_body_without_a_model_is_an_error_only_on_request(tmp_path, head, make):
    thin = np.zeros(SHAPE, bool)
    thin[:, :, 3] = True
    save_array(head.files["signal"], thin, AFFINE)
    with pytest.raises(InputError, match=r"has no modelled .*three voxels"):
        make(["model"], requested="model").run()
    found = make(["model", "none"]).run().outputs
    assert found.origin == "none"
    assert len(found.provenance["Warnings"]) == 1


def test_the_map_is_computed_again_after_it_was_deleted(make, check_rerun):
    check_rerun(lambda: make(["measured"]), "b1_file")
