import numpy as np
import pytest
from nibabel.affines import apply_affine, from_matvec
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_qcm.grids import Grid, Volume
from bids_qcm.phantom.anatomy import make_anatomy
from bids_qcm.segmentation.template import LEAST_RATIO, fit_template, template_brain
from tests.segmentation_trees import dice

SIZE = 4.0
# signal of gray matter, white matter, fluid, bone, soft tissue and lesion
CONTRASTS = {"T1w": (60, 100, 20, 10, 80, 60), "T2w": (80, 65, 100, 8, 60, 95)}


def scanned(contrast, flip=(1, 1, 1)):
    """Return a volume of a rotated, scaled head with noise and coil bias, and its brain mask."""
    anatomy = make_anatomy(3)
    signal = np.tensordot(np.array(CONTRASTS[contrast], np.float32), anatomy.fractions, axes=1)
    turn = Rotation.from_euler("xyz", [10, -6, 8], degrees=True).as_matrix()
    linear = turn @ np.diag([1.08, 0.92, 1.0]) @ np.diag(flip)
    centre = apply_affine(anatomy.grid.affine, np.array(signal.shape) / 2)
    pose = from_matvec(linear, np.array([12.0, -20, 9]) - linear @ centre)
    grid = Grid((54, 64, 56), from_matvec(SIZE * np.eye(3), [-98, -146, -103]))
    points = grid.points()
    index = apply_affine(np.linalg.inv(pose @ anatomy.grid.affine), points).T
    image, brain = (
        ndimage.map_coordinates(volume.astype(np.float32), index, order=1).reshape(grid.shape)
        for volume in (signal, anatomy.brain)
    )
    image *= 1 + points[:, 0].reshape(grid.shape) / 400
    noise = np.random.default_rng(0).normal(0, 2, (2, *grid.shape))
    return Volume(np.hypot(image + noise[0], noise[1]), grid), brain > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("contrast", CONTRASTS)
def test_a_head_of_any_contrast_is_registered(contrast):
    image, brain = scanned(contrast)
    fit = fit_template(image, image.values > 15)
    assert fit.ratio > 1.2 * LEAST_RATIO
    assert fit.is_good
    assert dice(template_brain(fit.pose, image.grid), brain) > 0.95


@pytest.mark.slow
def test_a_head_that_is_upside_down_is_detected():
    image, _ = scanned("T2w", flip=(-1, 1, -1))
    fit = fit_template(image, image.values > 15)
    assert not fit.is_good
    assert fit.ratio < 0.8


@pytest.mark.slow
@pytest.mark.parametrize("radii", [(85, 85, 85), (68, 85, 65)])
def test_an_ellipsoid_matches_the_template_only_at_chance_level(radii):
    grid = Grid((50, 50, 50), from_matvec(SIZE * np.eye(3), [-98, -98, -98]))
    squares = ((grid.points() / radii) ** 2).sum(axis=1).reshape(grid.shape)
    noise = np.random.default_rng(0).normal(0, 2, (2, *grid.shape))
    image = np.hypot(np.where(squares < 1, 100, 0) + noise[0], noise[1])
    fit = fit_template(Volume(image, grid), image > 15)
    assert not fit.is_good
    assert fit.ratio < 1.1


def test_the_template_brain_follows_the_pose():
    grid = Grid((50, 59, 48), from_matvec(SIZE * np.eye(3), [-98, -134, -72]))
    brain = template_brain(np.eye(4), grid)
    assert brain.sum() * SIZE**3 / 1000 == pytest.approx(1880, rel=0.01)
    moved = template_brain(from_matvec(np.eye(3), [SIZE, 0, -2 * SIZE]), grid)
    np.testing.assert_array_equal(moved[1:, :, :-2], brain[:-1, :, 2:])
