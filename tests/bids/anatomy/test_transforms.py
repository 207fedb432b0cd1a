import warnings

import h5py
import numpy as np
import pytest
from nibabel.affines import apply_affine, from_matvec
from scipy.spatial.transform import Rotation

from bids_qcm.bids.anatomy.transforms import (
    PointTransform,
    Step,
    check_transform,
    find_steps,
    read_transform,
    write_affine,
    write_deformation,
)
from bids_qcm.bids.errors import InputError
from bids_qcm.grids import Grid
from bids_qcm.segmentation.registration import Deformation

XFM = "derivatives/{}/sub-01/anat/sub-01_from-{}_to-{}_mode-image_xfm.{}"
LPS = np.array([-1, -1, 1])


@pytest.fixture
def steps(dataset):
    """Return the file names and directions of the chain of transforms."""
    dataset.pair("sub-01_ses-a_run-1_{}_MEGRE", folder="sub-01/ses-a/anat")

    def steps(start, end, *datasets):
        folders = [dataset.root / "derivatives" / name for name in datasets or ["a", "b"]]
        found = find_steps(start, end, dataset.acquisition(), folders)
        root = dataset.root / "derivatives"
        return found and [(s.path.relative_to(root).as_posix()[:1], s.inverse) for s in found]

    return steps


def test_points_are_mapped_opposite_to_the_image_direction(dataset, steps):
    dataset.json(XFM.format("a", "T1w", "MEGRE", "h5"), "")
    assert steps("MEGRE", "T1w") == [("a", False)]
    assert steps("T1w", "MEGRE") is None
    assert steps("T1w", "T1w") == ()


def test_linear_transforms_can_be_inverted(dataset, steps):
    dataset.json(XFM.format("a", "MEGRE", "T1w", "txt"), "")
    assert steps("MEGRE", "T1w") == [("a", True)]


def test_the_shortest_chain_is_used(dataset, steps):
    dataset.json(XFM.format("a", "MNI", "T1w", "h5"), "")
    dataset.json(XFM.format("b", "T1w", "MEGRE", "txt"), "")
    assert steps("MEGRE", "MNI") == [("b", False), ("a", False)]
    dataset.json(XFM.format("b", "MNI", "MEGRE", "h5"), "")
    assert steps("MEGRE", "MNI") == [("b", False)]


def test_the_first_dataset_and_the_session_have_priority(dataset, steps):
    for name in "ab":
        dataset.json(XFM.format(name, "T1w", "MEGRE", "txt"), "")
    assert steps("MEGRE", "T1w", "b", "a") == [("b", False)]
    of_session = "derivatives/a/sub-01/ses-a/anat/sub-01_ses-a_from-T1w_to-MEGRE_mode-image_xfm.txt"
    dataset.json(of_session, "")
    assert steps("MEGRE", "T1w", "b", "a") == [("a", False)]


@pytest.mark.parametrize(
    "name",
    [
        "sub-01_run-2_from-T1w_to-MEGRE_mode-image_xfm.txt",
        "sub-01_from-T1w_to-MEGRE_mode-points_xfm.txt",
        "sub-01_from-T1w_to-MEGRE_mode-image_xfm.json",
    ],
)
def test_transforms_of_other_images_are_ignored(dataset, steps, name):
    dataset.json(f"derivatives/a/sub-01/anat/{name}", "")
    assert steps("MEGRE", "T1w") is None


@pytest.fixture
def points():
    return np.random.default_rng(0).uniform(-30, 30, (40, 3))


@pytest.fixture
def sitk():
    return pytest.importorskip("SimpleITK")


@pytest.fixture
def linear(sitk):
    transform = sitk.AffineTransform(3)
    matrix = np.eye(3) + np.random.default_rng(1).normal(0, 0.05, (3, 3))
    transform.SetMatrix(matrix.ravel().tolist())
    transform.SetTranslation((3, 4, 5))
    transform.SetCenter((10, 20, 30))
    return transform


@pytest.fixture
def field(sitk):
    """Return a smooth displacement field in a rotated grid."""
    indices = np.moveaxis(np.indices((31, 33, 35)), 0, -1) / 12
    values = 4 * np.sin(indices + np.arange(3))
    image = sitk.GetImageFromArray(values, isVector=True)
    image.SetSpacing((5, 5, 6))
    image.SetOrigin((-80, -95, -90))
    turned = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]])
    image.SetDirection(turned.ravel().tolist())
    return sitk.DisplacementFieldTransform(image)


def by_itk(transform, points):
    return np.array([transform.TransformPoint(p.tolist()) for p in points * LPS]) * LPS


@pytest.mark.parametrize("extension", ["txt", "tfm", "mat"])
def test_linear_transforms_agree_with_itk(sitk, linear, points, tmp_path, extension):
    path = tmp_path / f"x.{extension}"
    sitk.WriteTransform(linear, str(path))
    mapped = PointTransform([Step(path)])(points)
    np.testing.assert_allclose(mapped, by_itk(linear, points), atol=1e-4)
    np.testing.assert_allclose(PointTransform([Step(path, True)])(mapped), points, atol=1e-4)


@pytest.mark.parametrize("order", [1, -1])
def test_composite_transforms_agree_with_itk(sitk, linear, field, points, tmp_path, order):
    path = tmp_path / "x.h5"
    transform = sitk.CompositeTransform([linear, field][::order])
    sitk.WriteTransform(transform, str(path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mapped = PointTransform([Step(path)])(points)
    expected = by_itk(transform, points)
    assert np.abs(expected - points).max() > 3
    # ITK interpolates the field linearly, nitransforms by cubic splines
    np.testing.assert_allclose(mapped, expected, atol=0.05)


def test_the_pose_is_applied_before_the_transforms(linear, sitk, points, tmp_path):
    path = tmp_path / "x.txt"
    sitk.WriteTransform(linear, str(path))
    pose = from_matvec(np.eye(3), [1, 2, 3])
    mapped = PointTransform([Step(path)], pose)(points)
    np.testing.assert_allclose(mapped, by_itk(linear, apply_affine(pose, points)), atol=1e-4)


@pytest.mark.parametrize("extension", ["txt", "h5", "mat"])
def test_the_error_for_a_damaged_transform_names_its_file(tmp_path, extension):
    path = tmp_path / f"x.{extension}"
    path.write_text("nothing")
    with pytest.raises(InputError, match="cannot be read as an ITK transform") as error:
        read_transform(path)
    assert str(path) in str(error.value)


def test_hidden_files_are_not_transforms(dataset, steps):
    """macOS writes a ._NAME file for each file NAME."""
    path = dataset.json(XFM.format("a", "T1w", "MEGRE", "txt"), "")
    for name in (f"._{path.name}", f".{path.name}"):
        path.with_name(name).write_bytes(b"\x00\x05\x16\x07")
    assert steps("MEGRE", "T1w") == [("a", False)]
    path.unlink()
    assert steps("MEGRE", "T1w") is None


def test_the_space_of_the_participant_has_several_names(dataset, steps):
    """QSIPrep calls the participant's own space anat."""
    dataset.json(XFM.format("a", "MNI", "anat", "h5"), "")
    assert steps("T1w", "MNI") == [("a", False)]


def test_a_small_file_that_declares_a_field_of_gigabytes_is_refused(tmp_path):
    """HDF5 does not store values that were never written, but nitransforms would allocate them."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("TransformGroup/1")
        group.create_dataset("TransformParameters", (5 * 10**8,), "f8", chunks=(1 << 20,))
    assert path.stat().st_size < 10_000
    for read in (check_transform, read_transform):
        with pytest.raises(InputError, match=r"x\.h5: states 4e\+09 bytes"):
            read(path)


def test_a_linear_transform_of_megabytes_is_refused(tmp_path):
    path = tmp_path / "x.txt"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(InputError, match="too many for a linear transform"):
        check_transform(path)


POSE = from_matvec(Rotation.from_euler("xyz", [5, -8, 11], degrees=True).as_matrix(), [3, -7, 9])
POINTS = np.random.default_rng(0).uniform(-20, 20, (50, 3))


def test_an_affine_is_the_same_for_itk_and_for_this_app(tmp_path, sitk):
    path = tmp_path / "one.txt"
    write_affine(path, POSE)
    expected = apply_affine(POSE, POINTS)
    np.testing.assert_allclose(by_itk(sitk.ReadTransform(str(path)), POINTS), expected, atol=1e-4)
    np.testing.assert_allclose(PointTransform([Step(path)])(POINTS), expected, atol=1e-4)
    back = PointTransform([Step(path, inverse=True)])(expected)
    np.testing.assert_allclose(back, POINTS, atol=1e-4)


@pytest.mark.parametrize("affine_first", [True, False])
def test_a_deformation_is_the_same_for_itk_and_for_this_app(tmp_path, sitk, affine_first):
    grid = Grid((33, 31, 35), from_matvec(np.diag([-2.0, 2.0, 2.0]), [33, -30, -34]))
    points = grid.points()

    def shift(points):
        return 3 * np.sin(points[:, [1, 2, 0]] / 15) + [1, 0, -2]

    path = tmp_path / "two.h5"
    field = Deformation(shift(points).reshape(*grid.shape, 3), grid)
    write_deformation(path, field, POSE, affine_first=affine_first)
    near = POINTS / 2
    if affine_first:
        moved = apply_affine(POSE, near)
        expected = moved + shift(moved)
    else:
        expected = apply_affine(POSE, near + shift(near))
    check_transform(path)
    np.testing.assert_allclose(by_itk(sitk.ReadTransform(str(path)), near), expected, atol=0.05)
    np.testing.assert_allclose(PointTransform([Step(path)])(near), expected, atol=0.05)
