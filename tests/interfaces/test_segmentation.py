from pathlib import Path

import numpy as np
import pytest
from nibabel.affines import from_matvec

from bids_qcm.bids.anatomy.alignments import Alignment
from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.label_tables import read_names
from bids_qcm.bids.anatomy.regions import Regions
from bids_qcm.bids.anatomy.transforms import write_affine
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_integers, save_array
from bids_qcm.interfaces.segmentation import ImportRegions, ImportSegmentation
from tests.synthetic import AFFINE


@pytest.fixture
def segmentation(ball, tmp_path, monkeypatch):
    """An interface that imports the ball's labels."""
    monkeypatch.chdir(tmp_path)

    def segmentation(name="labels", alignment=None, **options):
        path = Path(ball.files.get(name, name))
        return ImportSegmentation(
            auxiliary=AuxiliaryImage((path,), ball.folder),
            alignment=alignment or Alignment(same_grid=True),
            in_files=[str(path)],
            reference_file=ball.files["magnitude"],
            signal_file=ball.files["mask"],
            mask_file=ball.files["mask"],
            mask_is_brain=True,
            **options,
        )

    return segmentation


def test_labels_are_written_with_their_names(segmentation, ball, tmp_path):
    table = tmp_path / "t.tsv"
    table.write_text("index\tname\tcolor\n1\tleft\tx\n2\tWM\tx\n9\tabsent\ty\n")
    outputs = segmentation(label_table=str(table)).run().outputs
    expected = np.where(ball.labels == 1, 100, 2)
    np.testing.assert_array_equal(read_integers(Path(outputs.labels_file)), expected)
    written = Path(outputs.table_file).read_text()
    assert written == "index\tname\n2\tWhite Matter\n100\tleft\n"


def test_without_a_label_table_labels_have_bids_numbers(segmentation):
    outputs = segmentation().run().outputs
    assert Path(outputs.table_file).read_text() == "index\tname\n1\tGray Matter\n2\tWhite Matter\n"


def test_the_provenance_describes_the_segmentation(segmentation, ball):
    told = segmentation(provenance={"Coregistration": "rigid"}).run().outputs.provenance
    assert told["MaskCoverage"] == 1
    assert told["Coregistration"] == "rigid"
    volume = (ball.labels == 1).sum() * 3 / 1000
    assert told["TissueVolumes"]["Gray Matter"] == pytest.approx(volume, abs=0.01)
    # the ball is not a head
    assert [warning.split(" ml of ")[1].split(" in")[0] for warning in told["Warnings"]] == [
        "Gray Matter",
        "White Matter",
        "Cerebrospinal Fluid",
    ]


def test_a_pose_maps_phase_coordinates_to_label_coordinates(segmentation, ball):
    shift = from_matvec(np.eye(3), [50, -20, 7])
    path = ball.folder / "moved.nii.gz"
    save_array(path, ball.labels, shift @ AFFINE)
    interface = segmentation(str(path), Alignment(coreg="rigid"), pose=shift.tolist())
    found = read_integers(Path(interface.run().outputs.labels_file))
    np.testing.assert_array_equal(found, ball.labels)
    with pytest.raises(InputError, match="does not overlap enough with the head"):
        segmentation(str(path), Alignment(coreg="rigid")).run()


@pytest.mark.parametrize("option", ["pose_failure", "labels_failure"])
def test_a_failure_of_an_earlier_step_is_raised(segmentation, option):
    with pytest.raises(InputError, match=r"the file: is a knee\. Remedy: scan the head"):
        segmentation(**{option: ["the file", "is a knee", "scan the head"]}).run()


@pytest.mark.parametrize("output", ["labels_file", "table_file"])
def test_the_segmentation_is_imported_again_after_an_output_was_deleted(
    segmentation, check_rerun, output
):
    check_rerun(segmentation, output)


def test_regions_in_several_spaces_are_imported(ball, make_node):
    shift = from_matvec(np.eye(3), [50, -20, 7])
    path = ball.folder / "moved.nii.gz"
    save_array(path, ball.labels, shift @ AFFINE)
    (ball.folder / "names.tsv").write_text("index\tname\n1\tThalamus\n")
    same = AuxiliaryImage((Path(ball.files["labels"]),), ball.folder)
    moved = AuxiliaryImage((path,), ball.folder)
    registered = Alignment(coreg="rigid", anatomical=path)
    regions = [
        Regions("one", same, Alignment(same_grid=True), True, ball.folder / "names.tsv"),
        Regions("two", moved, registered, True),
    ]
    given = {"regions": regions, "reference_file": ball.files["magnitude"]}
    outputs = make_node(ImportRegions(pose=shift.tolist(), **given)).run().outputs
    assert outputs.atlases == ["one", "two"]
    for file in outputs.labels_files:
        np.testing.assert_array_equal(read_integers(Path(file)), ball.labels)
    names = [read_names(Path(file)) for file in outputs.table_files]
    assert [one[1] for one in names] == ["Thalamus", "label 1"]
    assert outputs.provenance == {}


def test_an_atlas_is_resampled_with_the_registration_to_the_template(ball, make_node, tmp_path):
    shift = from_matvec(np.eye(3), [3, 0, 0])
    path, transform = ball.folder / "atlas.nii.gz", tmp_path / "from_template.txt"
    save_array(path, ball.labels, shift @ AFFINE)
    # resampling an image uses the map of points in the opposite direction
    write_affine(transform, shift)
    image = AuxiliaryImage((path,), ball.folder)
    atlas = Regions("x", image, Alignment(coreg="header", template_t1w=path), True)
    given = {"regions": [atlas], "reference_file": ball.files["magnitude"]}
    node = make_node(ImportRegions(template_file=str(transform), **given))
    found = node.run().outputs.labels_files[0]
    np.testing.assert_array_equal(read_integers(Path(found)), ball.labels)
    with pytest.raises(InputError, match="cannot be registered"):
        ImportRegions(template_failure=[str(path), "cannot be registered", "omit"], **given).run()


def test_an_atlas_that_cannot_be_used_does_not_remove_the_others(ball, make_node):
    path = ball.folder / "elsewhere.nii.gz"
    save_array(path, ball.labels, from_matvec(np.eye(3), [500, 0, 0]) @ AFFINE)
    labels = AuxiliaryImage((Path(ball.files["labels"]),), ball.folder)
    bad = [
        Regions("far", AuxiliaryImage((path,), ball.folder), Alignment(coreg="header"), True),
        Regions("knee", labels, Alignment(coreg="rigid", anatomical=path), True),
    ]
    good = Regions("good", labels, Alignment(same_grid=True), True)
    given = {
        "reference_file": ball.files["magnitude"],
        "pose_failure": ["the file", "is a knee", "scan the head"],
    }
    outputs = make_node(ImportRegions(regions=[bad[0], good, bad[1]], **given)).run().outputs
    assert outputs.atlases == ["good"]
    np.testing.assert_array_equal(read_integers(Path(outputs.labels_files[0])), ball.labels)
    first, second = outputs.provenance["Warnings"]
    assert first.startswith("no statistics of the regions of far: ")
    assert "has no region in the field of view" in first
    assert second.startswith("no statistics of the regions of knee: the file: is a knee")
    with pytest.raises(InputError, match="has no region in the field of view"):
        ImportRegions(regions=bad, **given).run()
