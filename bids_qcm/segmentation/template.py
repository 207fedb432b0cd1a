"""Registration of the MNI152 template to an image of a head with any contrast."""

from functools import cache
from itertools import product
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from nibabel.affines import apply_affine, from_matvec
from nibabel.processing import fwhm2sigma
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import isotropic_dilation

from bids_qcm.grids import Grid, Volume

if TYPE_CHECKING:
    import nibabel as nib

LEAST_RATIO = 1.6
"""Minimum mutual information of a head and the template, relative to the chance level.

The ratio is at most 1.49 for half a head and at most 1.28 for other images that do not match. Whole
heads have a ratio of at least 1.83.
"""

_GRID_MM = 4
# Width of the rim around the brain. The rim is compared with the image, because it contains the
# skull.
_RIM_MM = 6.0
_TEMPLATE_BINS = 12
_IMAGE_BINS = 24
_BRIGHTEST_PERCENTILE = 99.0
# Standard deviation of the Gaussian filter that estimates the coil sensitivity. With 25 mm, a head
# that was four times as bright at the surface as at the centre was registered incorrectly.
_BIAS_SD_MM = 14.0
# Constant, relative to the mean signal, that is added to the bias to suppress noise far from the
# head.
_LEAST_BIAS = 0.05
# Minimum fraction of the template that must lie inside the field of view.
_LEAST_INSIDE = 0.3

# Initial poses of the grid search: scales, pitches, shifts from the centre of the signal to the
# front, and depths below the top of the signal.
_SCALES = (0.85, 0.95, 1.05)
_PITCHES_DEGREES = (-20.0, 0.0, 20.0)
_SHIFTS_Y_MM = (-20.0, -5.0, 10.0, 25.0)
_DEPTHS_MM = range(15, 121, 12)
_N_STARTS = 3
_APART_MM = 13.0

# Scale that converts angles and strains to mm: an angle or a strain of 1/60 moves the brain surface
# by about 1 mm.
_REACH_MM = 60.0
_STEP_MM = 4.0
_SIMILARITY_STRIDE, _SIMILARITY_EVALUATIONS = 8, 260
_AFFINE_STRIDE, _AFFINE_EVALUATIONS = 4, 600

_FLIPS = (np.diag([1.0, 1.0, -1.0]), np.diag([1.0, -1.0, 1.0]))


class TemplateFit(NamedTuple):
    """Registration of the MNI152 template to an image.

    Attributes
    ----------
    pose : ndarray, shape (4, 4)
        Transform from template coordinates to image coordinates, both in mm.
    information : float
        Mutual information (nats) of template and image.
    chance : float
        Chance level: the larger mutual information of the image with a template that is flipped
        upside down or back to front and registered in the same way.
    """

    pose: NDArray[np.float64]
    information: float
    chance: float

    @property
    def ratio(self) -> float:
        """Mutual information divided by the chance level."""
        return self.information / self.chance if self.chance > 0 else 0.0

    @property
    def is_good(self) -> bool:
        """Whether the image shows a head in the orientation of its header."""
        return self.ratio >= LEAST_RATIO

    def require_good(self, image: str) -> None:
        """Raise ValueError if `is_good` is false; the message contains the name of the image."""
        if not self.is_good:
            raise ValueError(
                f"the MNI152 template fits {image} hardly better than a flipped template (mutual "
                f"information {self.information:.3f} and {self.chance:.3f})"
            )


class _Template(NamedTuple):
    """Template points relative to the centre of the brain, (N, 3) in mm, and intensity bins."""

    points: NDArray[np.float64]
    bins: NDArray[np.intp]
    centre: NDArray[np.float64]


class _Image(NamedTuple):
    """Image on a coarse isotropic grid, with values in units of intensity bins."""

    values: NDArray[np.float32]
    signal: NDArray[np.bool_]
    affine: NDArray[np.float64]


def fit_template(image: Volume, signal: NDArray[np.bool_]) -> TemplateFit:
    """Register the MNI152 template to an image by mutual information.

    Parameters
    ----------
    image : Volume of float
        Image in any unit and with any contrast. Values that are not finite are replaced by 0.
    signal : ndarray of bool, shape (X, Y, Z)
        Voxels with signal; at least one.

    Returns
    -------
    TemplateFit

    Notes
    -----
    Template and image are compared on a grid of 4 mm. A grid search evaluates about 300 similarity
    transforms around the signal. Powell's method refines the best three similarity transforms, and
    then an affine transform that starts from the best result. Template points outside the field of
    view reduce the mutual information.
    """
    template, coarse = _load_template(), _coarse_image(image, signal)
    pose, information = _register(template, coarse, np.eye(3))
    chance = max(_register(template, coarse, flip)[1] for flip in _FLIPS)
    lin = pose[:3, :3]
    return TemplateFit(
        from_matvec(lin, pose[:3, 3] - lin @ template.centre), information, float(chance)
    )


def template_brain(pose: NDArray[np.floating], grid: Grid) -> NDArray[np.bool_]:
    """Return the brain mask of the MNI152 template on the grid of an image.

    Parameters
    ----------
    pose : ndarray, shape (4, 4)
        Transform from template coordinates to image coordinates, in mm.
    grid : Grid
        Grid of the image.

    Returns
    -------
    ndarray of bool, shape of `grid`
    """
    from nilearn import datasets

    return _in_grid(datasets.load_mni152_brain_mask(resolution=2), pose, grid)


def template_regions(grid: Grid) -> dict[str, NDArray[np.bool_]]:
    """Return masks of the brain and white matter of the MNI152 template on a grid, keyed by name.

    The grid must be in template coordinates.
    """
    from nilearn import datasets

    images = {
        "brain of the template": datasets.load_mni152_brain_mask(resolution=1),
        "white matter of the template": datasets.load_mni152_wm_template(resolution=1),
    }
    return {name: _in_grid(image, np.eye(4), grid) for name, image in images.items()}


def is_mni152(space: str) -> bool:
    """Whether the label of a space names a version of the MNI152 template."""
    return space.startswith("MNI152")


@cache
def shipped_template(resolution: int = 1) -> Volume:
    """Return nilearn's MNI152NLin2009aSym template at a resolution in mm; 0 outside the brain."""
    from nilearn import datasets

    image = datasets.load_mni152_template(resolution=resolution)
    mask = datasets.load_mni152_brain_mask(resolution=resolution)
    # Set the template to 0 outside the brain, because it contains a few voxels of skull.
    values = np.where(np.asarray(mask.dataobj) > 0, np.asarray(image.dataobj, np.float32), 0)
    return Volume(values, Grid(image.shape, image.affine))


def _in_grid(image: "nib.Nifti1Image", pose: NDArray[np.floating], grid: Grid) -> NDArray[np.bool_]:
    """Return the voxels of a grid where a probability map of the template exceeds one half."""
    to_template = np.linalg.inv(pose @ image.affine) @ grid.affine
    values = np.asarray(image.dataobj, np.float32)
    return ndimage.affine_transform(values, to_template, output_shape=grid.shape, order=1) > 0.5


@cache
def _load_template() -> _Template:
    """Return the template brain and a surrounding rim in which the template is 0."""
    # import here, because nilearn is slow to import
    from nilearn import datasets

    template = shipped_template(_GRID_MM)
    values, affine = template.values, template.grid.affine
    inside = np.asarray(datasets.load_mni152_brain_mask(resolution=_GRID_MM).dataobj) > 0
    region = isotropic_dilation(inside, _RIM_MM, spacing=_GRID_MM)
    bins = (values[region] / values.max() * _TEMPLATE_BINS).astype(np.intp)
    centre = apply_affine(affine, np.argwhere(inside)).mean(axis=0)
    points = apply_affine(affine, np.argwhere(region)) - centre
    return _Template(points, np.minimum(bins, _TEMPLATE_BINS - 1), centre)


def _coarse_image(image: Volume, signal: NDArray[np.bool_]) -> _Image:
    """Resample an image to the coarse grid, and remove the bias of the coils."""
    size, shape = image.grid.spacing, np.array(image.grid.shape)
    # Blur the image to the resolution of the coarse grid, to avoid aliasing.
    blur = fwhm2sigma(_GRID_MM) / size * np.sqrt(np.clip(1 - (size / _GRID_MM) ** 2, 0, 1))
    coarse_shape = np.maximum(np.ceil(shape * size / _GRID_MM).astype(int), 1)
    linear = image.grid.affine[:3, :3] / size * _GRID_MM
    centre = image.grid.at((shape - 1) / 2)
    coarse_affine = from_matvec(linear, centre - linear @ ((coarse_shape - 1) / 2))
    to_fine = np.linalg.inv(image.grid.affine) @ coarse_affine
    finite = np.nan_to_num(np.asarray(image.values, np.float32), posinf=0, neginf=0)
    values, inside = (
        ndimage.affine_transform(
            ndimage.gaussian_filter(volume, blur),
            to_fine,
            output_shape=tuple(coarse_shape),
            order=1,
            mode="nearest",
        )
        for volume in (finite, signal.astype(np.float32))
    )
    sd = _BIAS_SD_MM / _GRID_MM
    # Weight the local mean by the signal, so that air around the head does not contribute.
    bias = ndimage.gaussian_filter(values**2, sd) / np.maximum(
        ndimage.gaussian_filter(values, sd), np.finfo(np.float32).tiny
    )
    # Increase the bias, so that noise far from the head is not amplified to look like tissue.
    bias += _LEAST_BIAS * values[inside > 0.5].mean()
    uniform = values / bias
    brightest = np.percentile(uniform[inside > 0.5], _BRIGHTEST_PERCENTILE)
    scaled = np.asarray(uniform * ((_IMAGE_BINS - 2) / brightest), np.float32)
    return _Image(scaled, inside > 0.5, coarse_affine)


def _information(
    template: _Template,
    image: _Image,
    pose: NDArray[np.float64],
    stride: int = 1,
) -> float:
    """Return the mutual information, multiplied by the fraction of points in the field of view."""
    points, bins = template.points[::stride], template.bins[::stride]
    to_index = np.linalg.inv(image.affine) @ pose
    index = points @ to_index[:3, :3].T + to_index[:3, 3]
    inside = np.all((index > -0.5) & (index < np.array(image.values.shape) - 0.5), axis=1)
    n_inside = np.count_nonzero(inside)
    if n_inside < _LEAST_INSIDE * len(points):
        return 0.0
    values = ndimage.map_coordinates(image.values, index[inside].T, order=1, mode="nearest")
    counts = np.bincount(
        bins[inside] * _IMAGE_BINS + np.clip(values, 0, _IMAGE_BINS - 1).astype(np.intp),
        minlength=_TEMPLATE_BINS * _IMAGE_BINS,
    ).reshape(_TEMPLATE_BINS, _IMAGE_BINS)
    joint = counts / n_inside
    independent = joint.sum(axis=1, keepdims=True) @ joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    information = np.sum(joint[filled] * np.log(joint[filled] / independent[filled]))
    return float(n_inside / len(points) * information)


def _register(
    template: _Template, image: _Image, flip: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Flip the template, register it, and return its pose and the mutual information."""
    _, parameters = max(
        (
            _refine(template, image, start, flip, _SIMILARITY_STRIDE, _SIMILARITY_EVALUATIONS)
            for start in _starts(template, image, flip)
        ),
        key=itemgetter(0),
    )
    affine = np.concatenate([parameters[:6], np.repeat(parameters[6], 3), np.zeros(3)])
    _, affine = _refine(template, image, affine, flip, _AFFINE_STRIDE, _AFFINE_EVALUATIONS)
    pose = _pose(affine, flip)
    return pose, _information(template, image, pose)


def _starts(
    template: _Template, image: _Image, flip: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Return the best similarity transforms of a grid search that are not close to each other."""
    points = apply_affine(image.affine, np.argwhere(image.signal))
    low, high = np.percentile(points, [1, 99], axis=0)
    middle = (low + high) / 2
    rated = []
    for scale, pitch, y, depth in product(_SCALES, _PITCHES_DEGREES, _SHIFTS_Y_MM, _DEPTHS_MM):
        centre = [middle[0], middle[1] + y, high[2] - depth]
        turn = [np.deg2rad(pitch) * _REACH_MM, 0, 0]
        start = np.array([*centre, *turn, np.log(scale) * _REACH_MM])
        rated.append((_information(template, image, _pose(start, flip), _SIMILARITY_STRIDE), start))
    chosen: list[NDArray[np.float64]] = []
    for _, start in sorted(rated, key=lambda one: -one[0]):
        if all(np.linalg.norm(start - other) > _APART_MM for other in chosen):
            chosen.append(start)
        if len(chosen) == _N_STARTS:
            break
    return chosen


def _refine(
    template: _Template,
    image: _Image,
    start: NDArray[np.float64],
    flip: NDArray[np.float64],
    stride: int,
    n_evaluations: int,
) -> tuple[float, NDArray[np.float64]]:
    """Maximise the mutual information with Powell's method; return the maximum and the pose."""
    # import here, because scipy.optimize is slow to import
    from scipy.optimize import minimize

    def cost(parameters: NDArray[np.float64]) -> float:
        return -_information(template, image, _pose(parameters, flip), stride)

    found = minimize(
        cost,
        start,
        method="Powell",
        options={
            "maxfev": n_evaluations,
            "xtol": 0.02,
            "ftol": 1e-3,
            "direc": _STEP_MM * np.eye(len(start)),
        },
    )
    return -float(found.fun), found.x


def _pose(parameters: NDArray[np.float64], flip: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix for 7 parameters (similarity) or 12 parameters (affine).

    The parameters are the centre (mm), a rotation vector, and the logarithm of the scale
    (similarity) or of the stretch tensor (affine). The rotation and the logarithm are scaled to mm.
    """
    # import here, because scipy.spatial is slow to import
    from scipy.spatial.transform import Rotation

    angles, strain = parameters[3:6] / _REACH_MM, parameters[6:] / _REACH_MM
    rotation = Rotation.from_rotvec(angles).as_matrix()
    if len(strain) == 1:
        linear = rotation * np.exp(strain[0])
    else:
        xx, yy, zz, xy, xz, yz = strain
        stretches, axes = np.linalg.eigh([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        linear = rotation @ (axes * np.exp(stretches)) @ axes.T
    return from_matvec(linear @ flip, parameters[:3])
