from pathlib import Path

import numpy as np
import pytest
from nibabel.affines import from_matvec

from bids_qcm.bids.anatomy.alignments import Alignment
from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_integers, save_array
from bids_qcm.interfaces.masks import MakeMask
from tests.synthetic import AFFINE

ORIGINS = ("derivative", "T1w", "template", "signal")


@pytest.fixture
def make_mask(ball, tmp_path, monkeypatch):
    """Run the interface on the ball, which is too small for a head."""
    monkeypatch.chdir(tmp_path)

    def make_mask(*origins, path=None, **options):
        path = path or Path(ball.files["mask"])
        interface = MakeMask(
            origins=list(origins),
            magnitude_file=ball.files["magnitude"],
            signal_file=ball.files["mask"],
            source="sub-01_part-mag_T2w.nii.gz",
            auxiliary=AuxiliaryImage((path,), ball.folder, "mask"),
            **{"alignment": Alignment(same_grid=True)} | options,
            metadata={one: {"Type": one, "Sources": [f"bids:{one}"]} for one in ORIGINS},
        )
        return interface.run().outputs

    return make_mask


def test_a_mask_of_a_derivative_dataset_is_used(make_mask, ball):
    outputs = make_mask("derivative", requested="seg")
    np.testing.assert_array_equal(read_integers(Path(outputs.mask_file)), ball.mask)
    assert (outputs.mask_type, outputs.is_brain) == ("brain", True)
    told = {"MaskType": "brain", "MaskOrigin": "derivative", "MaskRequested": "seg"}
    assert outputs.metadata == {"Type": "derivative", "Sources": ["bids:derivative"], **told}
    found = {"Sources": ["bids:derivative"], "SignalCoverage": 1, "Warnings": [], **told}
    assert outputs.provenance == found


@pytest.mark.parametrize("image_checks", ["stop", "warn"])
def test_a_mask_of_air_is_refused_unless_the_checks_only_warn(make_mask, ball, image_checks):
    path = ball.folder / "air.nii.gz"
    save_array(path, ~ball.mask, AFFINE)
    if image_checks == "stop":
        with pytest.raises(InputError, match="use --image-checks warn"):
            make_mask("derivative", path=path)
        return
    found = make_mask("derivative", path=path, image_checks=image_checks).provenance
    assert len(found["FailedImageChecks"]) == 1
    assert found["FailedImageChecks"] == found["Warnings"]


def test_a_pose_moves_the_mask(make_mask, ball):
    shift = from_matvec(np.eye(3), [50, -20, 7])
    path = ball.folder / "moved.nii.gz"
    save_array(path, ball.mask, shift @ AFFINE)
    found = make_mask(
        "derivative", path=path, alignment=Alignment(coreg="rigid"), pose=shift.tolist()
    )
    np.testing.assert_array_equal(read_integers(Path(found.mask_file)), ball.mask)


def test_the_hull_of_the_tissue_classes_is_filled(make_mask, ball):
    inner = np.where(ball.mask, 1, 0).astype(np.int16)
    inner[4, 4, 3] = 0
    path = ball.folder / "classes.nii.gz"
    save_array(path, inner, AFFINE)
    outputs = make_mask("T1w", labels_file=str(path), path=path)
    np.testing.assert_array_equal(read_integers(Path(outputs.mask_file)), ball.mask)
    assert outputs.metadata["MaskOverlap"] > 0.3


@pytest.mark.parametrize("expected", [True, False])
def test_the_next_origin_is_tried_after_a_failure(make_mask, ball, expected):
    failed = ["t1w.nii", "cannot be segmented", "give another"]
    options = {"labels_failure": failed, "head_expected": expected}
    outputs = make_mask("T1w", "template", "signal", **options)
    np.testing.assert_array_equal(read_integers(Path(outputs.mask_file)), ball.mask)
    assert (outputs.mask_type, outputs.is_brain) == ("signal", False)
    assert outputs.metadata["MaskOrigin"] == "signal"
    told = "; ".join(outputs.metadata["Warnings"]) if expected else outputs.metadata["MaskNote"]
    assert "t1w.nii: cannot be segmented" in told
    assert "ml of signal, less than the" in told
    # There is no warning, because nothing suggests that the object is a head.
    assert bool(outputs.provenance["Warnings"]) is expected


def test_a_required_brain_mask_that_cannot_be_made_is_an_error(make_mask):
    with pytest.raises(InputError, match=r"no brain mask can be made .* use --mask signal"):
        make_mask("template", requested="brain")
    with pytest.raises(InputError, match="one of them seems flipped"):
        make_mask("derivative", pose_failure=["a", "one of them seems flipped", "b"])


def test_a_mask_of_air_is_refused(make_mask, ball):
    path = ball.folder / "air.nii.gz"
    save_array(path, ~ball.mask, AFFINE)
    with pytest.raises(InputError, match=r"air.nii.gz: .*in only .* of its voxels") as caught:
        make_mask("derivative", path=path)
    assert "looks inverted" in str(caught.value)
    assert "--mask signal" in str(caught.value)


def test_warnings_of_the_images_are_kept(make_mask, ball):
    shifted = ball.folder / "shifted.nii.gz"
    save_array(shifted, np.roll(ball.mask, 1, axis=0), AFFINE)
    found = make_mask("derivative", path=shifted, provenance={"Warnings": ["a"], "x": 1}).provenance
    assert found["x"] == 1
    first, second = found["Warnings"]
    assert first == "a"
    assert second.startswith("shifted.nii.gz has signal in")
    assert found["SignalCoverage"] == pytest.approx(5 / 6, abs=1e-3)
