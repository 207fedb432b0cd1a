import numpy as np
import pytest
from nibabel.affines import apply_affine, from_matvec
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_qcm.grids import Grid, Volume
from bids_qcm.segmentation.normalisation import register_to_template
from bids_qcm.segmentation.registration import Deformation
from bids_qcm.segmentation.template import shipped_template, template_regions

# map of points from the image to the template: rotation, scaling and shift
_TURN = Rotation.from_euler("xyz", [6, -4, 8], degrees=True).as_matrix()
AFFINE = from_matvec(_TURN * [1.08, 0.95, 1.04], [4, -6, 5])


def bend(points):
    """Shift the points of the image by up to 5 mm, over distances of about 60 mm."""
    return (
        points + 2.5 * np.sin(points[:, [1, 2, 0]] / 20) + 2.5 * np.cos(points[:, [2, 0, 1]] / 25)
    )


def to_template(points):
    return apply_affine(AFFINE, bend(points))


def sample(volume, points):
    index = apply_affine(np.linalg.inv(volume.grid.affine), points)
    return ndimage.map_coordinates(volume.values.astype(np.float32), index.T, order=1)


@pytest.fixture(scope="module")
def t1w():
    """The template at 2 mm after a known deformation, with a scalp and a bias field."""
    grid = Grid((104, 122, 108), from_matvec(2 * np.eye(3), [-104, -132, -96]))
    points = grid.points()
    template = shipped_template(2)
    brain = sample(template, to_template(points)).reshape(grid.shape)
    inside = brain > 0
    depth = ndimage.distance_transform_edt(~inside, sampling=2)
    values = np.where(inside, brain, np.where((depth > 8) & (depth < 14), 0.9, 0.02))
    bias = 1 + points[:, 1].reshape(grid.shape) / 400
    noise = np.random.default_rng(0).normal(0, 0.01, grid.shape)
    return Volume(np.abs(values * bias + noise).astype(np.float32) * 300, grid)


def apply(deformation: Deformation, points):
    moves = [
        sample(Volume(deformation.displacement[..., axis], deformation.grid), points)
        for axis in range(3)
    ]
    return points + np.stack(moves, axis=1)


@pytest.mark.slow
def test_a_known_deformation_is_found(t1w):
    found = register_to_template(t1w, n_threads=2)
    grid = shipped_template(2).grid
    regions = template_regions(grid)
    points = grid.at(np.argwhere(regions["brain of the template"]))
    there = apply_affine(found.affine, apply(found.deformation, points))
    error = np.linalg.norm(to_template(there) - points, axis=1)
    affine_only = np.linalg.norm(to_template(apply_affine(found.affine, points)) - points, axis=1)
    assert np.median(error) < 1.3
    assert np.mean(error) < 0.6 * np.mean(affine_only)
    for region, least in zip(regions.values(), (0.98, 0.94), strict=True):
        # compare the registered region of the image with the same region of the template
        moved = sample(Volume(region, grid), to_template(there)) > 0.5
        own = region[regions["brain of the template"]]
        assert 2 * (moved & own).sum() / (moved.sum() + own.sum()) >= least
    back = apply(found.inverse, apply_affine(np.linalg.inv(found.affine), there))
    assert np.quantile(np.linalg.norm(back - points, axis=1), 0.95) < 0.5


def test_an_image_without_a_head_is_refused():
    noise = np.random.default_rng(0).uniform(0, 1, (40, 40, 40)).astype(np.float32)
    with pytest.raises(ValueError, match="template fits the image hardly better"):
        register_to_template(Volume(noise, Grid((40, 40, 40), np.diag([4.0, 4.0, 4.0, 1.0]))))
