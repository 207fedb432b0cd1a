"""Registration of the MNI152 template to an image of a head, of any contrast."""

from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
from nibabel.affines import apply_affine, from_matvec, voxel_sizes
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

LEAST_RATIO = 1.6
"""Least mutual information of a head and the template, in units of the chance level.

Between the largest ratio of a template that does not fit, 1.49 for half a head and 1.28 otherwise,
and the smallest ratio of a whole head, 1.83.
"""

_GRID_MM = 4
# The skull around the brain belongs to the pattern that is compared.
_RIM_MM = 6.0
_TEMPLATE_BINS = 12
_IMAGE_BINS = 24
_BRIGHTEST_PERCENTILE = 99.0
# Narrower than the sensitivity of a coil: with 25 mm, a head whose rim was four times as bright as
# its centre was registered wrongly.
_BIAS_SD_MM = 14.0
_LEAST_BIAS = 0.05
_LEAST_INSIDE = 0.3

# The start is searched around the centre of the signal and below its top.
_SCALES = (0.85, 0.95, 1.05)
_PITCHES_DEGREES = (-20.0, 0.0, 20.0)
_SHIFTS_Y_MM = (-20.0, -5.0, 10.0, 25.0)
_DEPTHS_MM = range(15, 121, 12)
_N_STARTS = 3
_APART_MM = 13.0

# Parameters of a pose are in mm: an angle or a strain of 1/60 moves the brain's surface by about 1.
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
        Template coordinates to image coordinates, both in mm.
    information : float
        Mutual information (nats) of template and image.
    chance : float
        Chance level: the largest mutual information of the image and a template that is upside
        down or back to front, registered in the same way.
    """

    pose: NDArray[np.float64]
    information: float
    chance: float

    @property
    def ratio(self) -> float:
        """Mutual information in units of the chance level."""
        return self.information / self.chance if self.chance > 0 else 0.0

    @property
    def is_good(self) -> bool:
        """Whether the image shows a head in the orientation of its header."""
        return self.ratio >= LEAST_RATIO

    def require_good(self, image: str) -> None:
        """Raise ValueError, with the name of the image in the message, unless `is_good`."""
        if not self.is_good:
            raise ValueError(
                f"the MNI152 template fits {image} hardly better than a flipped template (mutual "
                f"information {self.information:.3f} and {self.chance:.3f})"
            )


class _Template(NamedTuple):
    """Points of the template, (N, 3) in mm from the brain's centre, and their intensity bins."""

    points: NDArray[np.float64]
    bins: NDArray[np.intp]
    centre: NDArray[np.float64]


class _Image(NamedTuple):
    """An image on a coarse isotropic grid; values are in units of intensity bins."""

    values: NDArray[np.float32]
    signal: NDArray[np.bool_]
    affine: NDArray[np.float64]


def fit_template(
    image: NDArray[np.floating], affine: NDArray[np.floating], signal: NDArray[np.bool_]
) -> TemplateFit:
    """Register the MNI152 template to an image by mutual information.

    Parameters
    ----------
    image : ndarray of float, shape (X, Y, Z)
        Any unit and any contrast; values that are not finite count as 0.
    affine : ndarray, shape (4, 4)
        Voxel indices to mm, with the axes right, anterior and superior.
    signal : ndarray of bool, shape (X, Y, Z)
        Voxels with signal; at least one.

    Returns
    -------
    TemplateFit

    Notes
    -----
    Both images are compared on a grid of 4 mm. The start is the best of some 1,000 similarity
    transforms around the signal; Powell's method refines the best three, and then an affine
    transform from the best one. Voxels outside the field of view count as not informative.
    """
    template, coarse = _load_template(), _coarse_image(image, affine, signal)
    pose, information = _register(template, coarse, np.eye(3))
    chance = max(_register(template, coarse, flip)[1] for flip in _FLIPS)
    lin = pose[:3, :3]
    return TemplateFit(
        from_matvec(lin, pose[:3, 3] - lin @ template.centre), information, float(chance)
    )


def template_brain(
    pose: NDArray[np.floating], shape: tuple[int, int, int], affine: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """Return the brain mask of the MNI152 template in the grid of an image.

    Parameters
    ----------
    pose : ndarray, shape (4, 4)
        Template coordinates to image coordinates, in mm.
    shape, affine
        Grid of the image.

    Returns
    -------
    ndarray of bool, `shape`
    """
    from nilearn import datasets

    brain = datasets.load_mni152_brain_mask(resolution=2)
    to_template = np.linalg.inv(pose @ brain.affine) @ affine
    values = np.asarray(brain.dataobj, np.float32)
    return ndimage.affine_transform(values, to_template, output_shape=shape, order=1) > 0.5


@cache
def _load_template() -> _Template:
    """Return the brain of the template and a rim around it, where the template is 0."""
    # slow to import
    from nilearn import datasets

    image = datasets.load_mni152_template(resolution=_GRID_MM)
    mask = datasets.load_mni152_brain_mask(resolution=_GRID_MM)
    inside = np.asarray(mask.dataobj) > 0
    # The template holds a few voxels of skull.
    values = np.where(inside, image.dataobj, 0)
    region = ndimage.distance_transform_edt(~inside, sampling=_GRID_MM) <= _RIM_MM
    bins = (values[region] / values.max() * _TEMPLATE_BINS).astype(np.intp)
    centre = apply_affine(image.affine, np.argwhere(inside)).mean(axis=0)
    points = apply_affine(image.affine, np.argwhere(region)) - centre
    return _Template(points, np.minimum(bins, _TEMPLATE_BINS - 1), centre)


def _coarse_image(
    image: NDArray[np.floating], affine: NDArray[np.floating], signal: NDArray[np.bool_]
) -> _Image:
    """Resample an image to the grid of the comparison, and remove the bias of the coils."""
    size = voxel_sizes(affine)
    # The blur makes a voxel of the coarse grid out of smaller voxels.
    blur = _GRID_MM / 2.355 / size * np.sqrt(np.clip(1 - (size / _GRID_MM) ** 2, 0, 1))
    shape = np.maximum(np.ceil(np.array(image.shape) * size / _GRID_MM).astype(int), 1)
    linear = affine[:3, :3] / size * _GRID_MM
    centre = apply_affine(affine, (np.array(image.shape) - 1) / 2)
    coarse_affine = from_matvec(linear, centre - linear @ ((shape - 1) / 2))
    to_fine = np.linalg.inv(affine) @ coarse_affine
    finite = np.nan_to_num(np.asarray(image, np.float32), posinf=0, neginf=0)
    values, inside = (
        ndimage.affine_transform(
            ndimage.gaussian_filter(volume, blur),
            to_fine,
            output_shape=tuple(shape),
            order=1,
            mode="nearest",
        )
        for volume in (finite, signal.astype(np.float32))
    )
    sd = _BIAS_SD_MM / _GRID_MM
    # The mean is weighted by the signal itself, so that air around the head does not count.
    bias = ndimage.gaussian_filter(values**2, sd) / np.maximum(
        ndimage.gaussian_filter(values, sd), np.finfo(np.float32).tiny
    )
    # Far from the head, the noise must not look like tissue.
    bias += _LEAST_BIAS * values[inside > 0.5].mean()
    uniform = values / bias
    brightest = np.percentile(uniform[inside > 0.5], _BRIGHTEST_PERCENTILE)
    return _Image(uniform * ((_IMAGE_BINS - 2) / brightest), inside > 0.5, coarse_affine)


def _information(
    template: _Template,
    image: _Image,
    pose: NDArray[np.float64],
    stride: int = 1,
) -> float:
    """Return the mutual information of template and image, times the share of points inside."""
    points, bins = template.points[::stride], template.bins[::stride]
    to_index = np.linalg.inv(image.affine) @ pose
    index = points @ to_index[:3, :3].T + to_index[:3, 3]
    inside = np.all((index > -0.5) & (index < np.array(image.values.shape) - 0.5), axis=1)
    n_inside = np.count_nonzero(inside)
    if n_inside < _LEAST_INSIDE * len(points):
        return 0.0
    values = ndimage.map_coordinates(image.values, index[inside].T, order=1, mode="nearest")
    joint = np.bincount(
        bins[inside] * _IMAGE_BINS + np.clip(values, 0, _IMAGE_BINS - 1).astype(np.intp),
        minlength=_TEMPLATE_BINS * _IMAGE_BINS,
    ).reshape(_TEMPLATE_BINS, _IMAGE_BINS)
    joint = joint / n_inside
    independent = joint.sum(axis=1, keepdims=True) @ joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    information = np.sum(joint[filled] * np.log(joint[filled] / independent[filled]))
    return float(n_inside / len(points) * information)


def _register(
    template: _Template, image: _Image, flip: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Register a template that is flipped first; return its pose and the mutual information."""
    best, parameters = 0.0, None
    for start in _starts(template, image, flip):
        found, refined = _refine(
            template, image, start, flip, _SIMILARITY_STRIDE, _SIMILARITY_EVALUATIONS
        )
        if parameters is None or found > best:
            best, parameters = found, refined
    affine = np.concatenate([parameters[:6], np.repeat(parameters[6], 3), np.zeros(3)])
    _, affine = _refine(template, image, affine, flip, _AFFINE_STRIDE, _AFFINE_EVALUATIONS)
    pose = _pose(affine, flip)
    return pose, _information(template, image, pose)


def _starts(
    template: _Template, image: _Image, flip: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Return the best similarity transforms of a coarse search, apart from each other."""
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
    """Maximise the mutual information by Powell's method; return it and the parameters."""
    found = minimize(
        lambda parameters: -_information(template, image, _pose(parameters, flip), stride),
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
    """Return the matrix of 7 (similarity) or 12 (affine) parameters.

    They are the centre (mm), a rotation vector, and the logarithm of a scale or of a stretch.
    """
    angles, strain = parameters[3:6] / _REACH_MM, parameters[6:] / _REACH_MM
    rotation = Rotation.from_rotvec(angles).as_matrix()
    if len(strain) == 1:
        linear = rotation * np.exp(strain[0])
    else:
        xx, yy, zz, xy, xz, yz = strain
        stretches, axes = np.linalg.eigh([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        linear = rotation @ (axes * np.exp(stretches)) @ axes.T
    return from_matvec(linear @ flip, parameters[:3])
