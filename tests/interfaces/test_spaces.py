from pathlib import Path

import numpy as np
import pytest
from nibabel.affines import apply_affine, from_matvec

from bids_qcm.bids.anatomy.alignments import Alignment
from bids_qcm.bids.anatomy.spaces import OutputSpace, T1wImage
from bids_qcm.bids.anatomy.transforms import (
    PointTransform,
    Step,
    read_transform,
    write_affine,
    write_deformation,
)
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_grid, read_integers, read_values, save_array
from bids_qcm.grids import Grid, Volume
from bids_qcm.interfaces import spaces
from bids_qcm.interfaces.spaces import (
    MakeTransforms,
    RegisterTemplate,
    ResampleLabels,
    ResampleMaps,
)
from bids_qcm.segmentation.normalisation import Normalisation
from bids_qcm.segmentation.registration import Deformation
from bids_qcm.segmentation.template import shipped_template

POSE = from_matvec(np.eye(3), [2, 0, -2])
FLIPPED = ["image.nii", "is flipped", "convert it again"]


@pytest.fixture
def t1w(ball):
    """A T1w image on a different grid, shifted by one voxel of the phase."""
    path = ball.folder / "t1w.nii.gz"
    affine = POSE @ read_grid(Path(ball.files["phi0"])).affine
    save_array(path, ball.magnitude, affine)
    return T1wImage(path, Alignment(coreg="rigid", anatomical=path))


@pytest.fixture
def to_t1w(ball):
    path = ball.folder / "to_t1w.txt"
    write_affine(path, np.linalg.inv(POSE))
    return str(path)


def test_the_two_transforms_of_a_pose_are_inverses(make_node):
    transforms = make_node(MakeTransforms(pose=POSE.tolist())).run().outputs
    points = np.random.default_rng(0).uniform(-50, 50, (20, 3))
    # a file maps points against the direction in which it resamples images
    image, back = (
        read_transform(Path(file)) for file in (transforms.to_t1w_file, transforms.from_t1w_file)
    )
    np.testing.assert_allclose(back.map(points), apply_affine(POSE, points), atol=1e-4)
    np.testing.assert_allclose(image.map(back.map(points)), points, atol=1e-4)


def test_without_a_pose_the_headers_are_used(make_node):
    found = make_node(MakeTransforms()).run().outputs
    assert PointTransform([Step(Path(found.to_t1w_file))]).matrix == pytest.approx(np.eye(4))


def test_a_failed_registration_writes_no_transform(make_node):
    found = make_node(MakeTransforms(pose=POSE.tolist(), pose_failure=FLIPPED)).run().outputs
    assert (found.to_t1w_file, found.from_t1w_file) == (None, None)
    assert found.failure == FLIPPED


def test_a_map_is_aligned_with_the_t1w_image(make_node, ball, t1w, to_t1w):
    values = np.where(ball.mask, ball.labels * 0.4, 0).astype(np.float32)
    values[4, 4, 3] = np.nan
    path = ball.folder / "condmap.nii.gz"
    save_array(path, values, np.diag([1.0, 1.5, 2.0, 1.0]))
    given = {
        "space": OutputSpace("T1w", t1w, t1w.path),
        "phase_file": to_t1w,
    }
    maps = make_node(
        ResampleMaps(
            **given,
            condmap_file=str(path),
            condstd_file=str(path),
            mask_file=ball.files["mask"],
        )
    )
    found = maps.run().outputs
    # the T1w image has the grid of the phase in another place
    for file in (found.condmap_file, found.condstd_file):
        np.testing.assert_allclose(read_values(Path(file)), values, atol=1e-3)
        assert read_grid(Path(file)).matches(read_grid(t1w.path))
    labels = make_node(ResampleLabels(**given, labels_file=ball.files["labels"])).run().outputs
    np.testing.assert_array_equal(read_integers(Path(labels.labels_file)), ball.labels)


def test_a_map_reaches_the_template_through_the_t1w_image(make_node, ball, t1w, to_t1w):
    """The deformation is a shift, so that the result is known."""
    path = ball.folder / "to_template.h5"
    grid = Grid((120, 120, 120), from_matvec(2 * np.eye(3), [-120, -120, -120]))
    shift = np.broadcast_to([10.0, -20.0, 30.0], (*grid.shape, 3))
    write_deformation(path, Deformation(shift, grid), np.eye(4))
    inputs = {"condmap_file": ball.files["mask"], "mask_file": ball.files["mask"]}
    interface = ResampleMaps(
        **inputs,
        space=OutputSpace("MNI152NLin2009aSym", t1w, None, registers_template=True),
        phase_file=to_t1w,
        template_file=str(path),
    )
    found = Path(make_node(interface).run().outputs.condmap_file)
    values, template = read_values(found), shipped_template().grid
    assert read_grid(found).matches(template)
    assert set(np.unique(values)) == {0, 1}
    source = Volume(ball.mask, read_grid(Path(ball.files["mask"])))
    middle = source.grid.at(np.argwhere(source.values)).mean(axis=0)
    moved = template.at(np.argwhere(values)).mean(axis=0)
    np.testing.assert_allclose(moved, middle - [8, -20, 32], atol=0.6)


def test_a_map_far_from_the_t1w_image_is_refused(make_node, ball, t1w):
    far = ball.folder / "far.txt"
    write_affine(far, from_matvec(np.eye(3), [500, 0, 0]))
    interface = ResampleMaps(
        condmap_file=ball.files["phi0"],
        mask_file=ball.files["mask"],
        space=OutputSpace("T1w", T1wImage(t1w.path, Alignment(), (Step(far),)), t1w.path),
    )
    with pytest.raises(InputError, match="does not overlap with the map in the space T1w"):
        interface.run()


def test_a_failed_registration_stops_the_resampling(ball, t1w):
    interface = ResampleLabels(
        labels_file=ball.files["labels"],
        space=OutputSpace("T1w", t1w, t1w.path),
        pose_failure=FLIPPED,
    )
    with pytest.raises(InputError, match=r"image\.nii: is flipped"):
        interface.run()


def test_both_transforms_of_the_template_are_written(make_node, ball, t1w, monkeypatch):
    grid = Grid((30, 30, 30), from_matvec(2 * np.eye(3), [-30, -30, -30]))
    shift = np.broadcast_to([3.0, -2.0, 1.0], (*grid.shape, 3))
    known = Normalisation(POSE, Deformation(shift, grid), Deformation(-shift, grid))
    monkeypatch.setattr(spaces, "register_to_template", lambda *_: known)
    found = make_node(RegisterTemplate(t1w_file=str(t1w.path))).run().outputs
    points = np.random.default_rng(0).uniform(-10, 10, (20, 3))
    there = PointTransform([Step(Path(found.to_template_file))])(points)
    np.testing.assert_allclose(
        there - points, np.broadcast_to([5.0, -2.0, -1.0], (20, 3)), atol=1e-3
    )
    back = PointTransform([Step(Path(found.from_template_file))])(there)
    np.testing.assert_allclose(back, points, atol=1e-3)


def test_an_image_without_a_head_cannot_be_registered(t1w):
    outputs = RegisterTemplate(t1w_file=str(t1w.path)).run().outputs
    assert outputs.failure[0] == str(t1w.path)
    assert outputs.failure[1].startswith("cannot be registered to the MNI152 template")
    assert outputs.to_template_file is outputs.from_template_file is None
