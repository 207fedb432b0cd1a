"""Whether a segmentation lies where the head is, and holds what a head does."""

from collections.abc import Mapping

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray
from skimage.metrics import normalized_mutual_information

from bids_qcm.segmentation.resampling import PointMap, grid_points, sample_nearest, unmoved
from bids_qcm.segmentation.tissues import TISSUES

LEAST_OVERLAP = 0.2
"""Below this share of the smaller of both, a segmentation is not of this head."""

LEAST_AGREEMENT = 0.5
"""Below this share of a brain mask, the mask and the segmentation are not of one brain."""

EXPECTED_COVERAGE = 0.75
"""Share of a brain mask; a segmentation without the fluid around the brain has more."""

LEAST_VOLUMES = {"GM": 300.0, "WM": 200.0, "CSF": 5.0}
"""In ml; below that of a small child, and of the ventricles alone."""

LARGEST_VOLUMES = {"GM": 1300.0, "WM": 900.0, "CSF": 900.0}
"""In ml; above that of the largest heads. Gray matter with all voxels that it shares with
fluid, at 4 mm, has 1170 ml in the phantom."""

BETTER_PLACE = 1.2
"""How many times as much a shifted segmentation may tell of the magnitude. In its right place, no
shift by 4 to 16 mm tells more than 0.76 times as much; 8 mm beside it, the shift back tells 1.6
times as much, and two voxels of 2 mm beside it 1.2."""

_SHIFTS_MM = (6.0, 12.0)

# By chance, n points tell (bins - 1) (labels - 1) / 2n nats of the labels, 0.01 of all for 2000
# points and 6 labels. A gain must be above that, and fewer points are not judged.
_SHIFT_GAIN = 0.03
_LEAST_POINTS = 2000

_SIDES = {"left and right": "LR", "front and back": "PA", "top and bottom": "IS"}

# How much better a mirror image must fit, as a factor, and as a share of the information: what
# noise tells is below it.
_FLIP_FACTOR = 1.08
_FLIP_GAIN = 0.005

_MAGNITUDE_BINS = 32


def overlap(labelled: NDArray[np.bool_], head: NDArray[np.bool_]) -> float:
    """Give the share of the smaller of two masks that lies in the other; 0 if one is empty."""
    smaller = min(np.count_nonzero(labelled), np.count_nonzero(head))
    return float(np.count_nonzero(labelled & head) / smaller) if smaller else 0.0


def coverage(labels: NDArray[np.integer], mask: NDArray[np.bool_]) -> float:
    """Give the share of a mask that has a label; 0 for an empty mask."""
    return float(np.count_nonzero(labels[mask]) / max(1, np.count_nonzero(mask)))


def volumes(
    labels: NDArray[np.integer], names: Mapping[int, str], voxel_size: tuple[float, float, float]
) -> dict[str, float]:
    """Give the volume of each label in ml, by its name; voxel size in mm."""
    voxel = float(np.prod(voxel_size)) / 1000
    return {name: np.count_nonzero(labels == label) * voxel for label, name in names.items()}


def doubts(covered: float | None, found: Mapping[str, float]) -> list[str]:
    """Tell what is below sensible bounds.

    Parameters
    ----------
    covered : float or None
        Share of the brain mask that has labels; None without a brain mask.
    found : mapping of str to float
        From :func:`volumes`.

    Returns
    -------
    list of str
    """
    warnings = []
    if covered is not None and covered < EXPECTED_COVERAGE:
        warnings.append(f"the segmentation covers {covered:.0%} of the brain mask only")
    for tissue, least in LEAST_VOLUMES.items():
        name = TISSUES[tissue].name
        volume, largest = found.get(name, 0.0), LARGEST_VOLUMES[tissue]
        if not least <= volume <= largest:
            bound = f"less than the {least:.0f} ml of a small head"
            if volume > largest:
                bound = f"more than the {largest:.0f} ml of a large head"
            warnings.append(
                f"the segmentation has {volume:.0f} ml of {name} in the phase's field of view, "
                f"{bound}"
            )
    return warnings


def order_of_signal(
    labels: NDArray[np.integer], names: Mapping[int, str], magnitude: NDArray[np.floating]
) -> list[str]:
    """Check that gray matter's signal lies between those of white matter and fluid.

    Parameters
    ----------
    labels : ndarray of int, shape (X, Y, Z)
    names : mapping of int to str
        Of the labels.
    magnitude : ndarray of float, shape (X, Y, Z)

    Returns
    -------
    list of str
        A warning, if the magnitude contradicts the labels in every contrast.

    Notes
    -----
    Gray matter holds more water than white matter and less than fluid, and its relaxation times
    lie between theirs. So its signal does, in T1, T2 and proton density contrast. Where these
    contrasts balance each other, tissues look alike; only a gray matter that differs from both by
    more than they differ from each other is a contradiction.
    """
    medians = {}
    for label, name in names.items():
        voxels = labels == label
        if voxels.any():
            medians[name] = float(np.median(magnitude[voxels]))
    try:
        gray, white, fluid = (medians[TISSUES[tissue].name] for tissue in ("GM", "WM", "CSF"))
    except KeyError:
        return []
    if min(abs(gray - white), abs(gray - fluid)) <= abs(white - fluid) or min(
        white, fluid
    ) <= gray <= max(white, fluid):
        return []
    return [
        f"the signal of gray matter ({gray:.4g}) does not lie between that of white matter "
        f"({white:.4g}) and fluid ({fluid:.4g}): labels may have been exchanged"
    ]


def better_flip(
    labels: NDArray[np.integer],
    affine: NDArray[np.floating],
    magnitude: NDArray[np.floating],
    magnitude_affine: NDArray[np.floating],
    point_map: PointMap = unmoved,
    step: int = 1,
) -> str | None:
    """Find whether a segmentation fits the magnitude better when it is mirrored along an axis.

    Its mirror images about the middle of its own grid, and for left and right also about the middle
    of the coordinates, are compared with it by their mutual information with the magnitude.

    Parameters
    ----------
    labels : ndarray of int, shape (X, Y, Z)
    affine : ndarray, shape (4, 4)
    magnitude, magnitude_affine
        The image to compare with.
    point_map : callable
        From the magnitude's coordinates to those of the labels.
    step : int
        Every which voxel of the magnitude to look at, along each axis.

    Returns
    -------
    str or None
        The sides to swap, such as "left and right"; None for a segmentation that fits.
    """
    points = grid_points(magnitude.shape, magnitude_affine, step)
    values = magnitude[(slice(step // 2, None, step),) * 3].ravel()

    def told(placed: NDArray[np.floating]) -> float:
        return _information(sample_nearest(labels, placed, points, point_map), values)

    codes = aff2axcodes(affine)
    others = {"left and right": told(np.diag([-1.0, 1, 1, 1]) @ affine)}
    for sides, letters in _SIDES.items():
        axis = [code in letters for code in codes].index(True)
        in_grid = np.eye(4)
        in_grid[axis, axis], in_grid[axis, 3] = -1, labels.shape[axis] - 1
        others[sides] = max(others.get(sides, 0.0), told(affine @ in_grid))
    best = max(others, key=lambda sides: others[sides])
    own = told(affine)
    return best if others[best] > max(_FLIP_FACTOR * own, own + _FLIP_GAIN) else None


def better_shift(
    labels: NDArray[np.integer],
    affine: NDArray[np.floating],
    magnitude: NDArray[np.floating],
    magnitude_affine: NDArray[np.floating],
    point_map: PointMap = unmoved,
    step: int = 1,
) -> tuple[float, tuple[float, float, float]]:
    """Find whether a segmentation fits the magnitude better when it is shifted.

    Parameters
    ----------
    labels, affine, magnitude, magnitude_affine, point_map, step
        As for :func:`better_flip`.

    Returns
    -------
    gain : float
        Mutual information at the best shift over that of the segmentation as it is; at least 1.
    shift : tuple of 3 floats
        In mm along the magnitude's right, anterior and superior directions; zeros for no shift.
    """
    points = grid_points(magnitude.shape, magnitude_affine, step)
    values = magnitude[(slice(step // 2, None, step),) * 3].ravel()
    if len(points) < _LEAST_POINTS:
        return 1.0, (0.0, 0.0, 0.0)
    # a shift below two voxels is within the error of a registration
    least = 2 * float(voxel_sizes(magnitude_affine).max())
    shifts = [np.zeros(3)]
    for distance in _SHIFTS_MM:
        length = max(distance, least)
        shifts += [sign * length * axis for axis in np.eye(3) for sign in (-1, 1)]
    told = [
        _information(sample_nearest(labels, affine, points - shift, point_map), values)
        for shift in shifts
    ]
    best = int(np.argmax(told))
    if told[best] < told[0] + _SHIFT_GAIN:
        return 1.0, (0.0, 0.0, 0.0)
    x, y, z = shifts[best].tolist()
    return told[best] / max(told[0], 1e-6), (x, y, z)


def _information(labels: NDArray, values: NDArray[np.floating]) -> float:
    """Give what labels and values tell of each other: 0 for nothing, 1 for all."""
    _, ranks = np.unique(labels, return_inverse=True)
    if not ranks.any():
        return 0.0
    limit = np.percentile(values, 99.5)
    bins = (ranks.max() + 1, _MAGNITUDE_BINS)
    return normalized_mutual_information(ranks, np.clip(values, 0, limit), bins=bins) - 1
