"""Checks of the position and the tissue volumes of a segmentation."""

from collections.abc import Mapping

import numpy as np
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray

from bids_qcm.grids import Grid, Volume
from bids_qcm.segmentation.resampling import PointMap, identity, sample_nearest
from bids_qcm.segmentation.tissues import TISSUES

LEAST_OVERLAP = 0.2
"""Minimum overlap of a segmentation with the head, as a fraction of the smaller mask. A
segmentation with less overlap does not belong to this head."""

LEAST_AGREEMENT = 0.5
"""Minimum fraction of a brain mask that a segmentation of the same brain covers."""

EXPECTED_COVERAGE = 0.75
"""Expected fraction of a brain mask that a segmentation covers. A segmentation without the fluid
around the brain still covers more."""

LEAST_VOLUMES = {"GM": 300.0, "WM": 200.0, "CSF": 5.0}
"""Minimum tissue volumes in ml. A small child has more gray and white matter, and the ventricles
alone have more fluid."""

LARGEST_VOLUMES = {"GM": 1300.0, "WM": 900.0, "CSF": 900.0}
"""Maximum tissue volumes in ml, above the volumes of the largest heads. In the phantom at 4 mm,
gray matter has 1170 ml, including all mixed voxels of gray matter and fluid."""

BETTER_PLACE = 1.2
"""Maximum factor by which a shift of a segmentation may increase its mutual information with the
magnitude. For a segmentation in the right position, the factor is at most 0.76 for shifts of 4 to
16 mm. For a segmentation displaced by 8 mm, the factor of the shift back is 1.6; for a displacement
of two voxels of 2 mm, the factor is 1.2."""

_SHIFTS_MM = (6.0, 12.0)

# Minimum increase of the normalised mutual information by a shift, and minimum number of points.
# By chance, the mutual information of n points is (bins - 1) (labels - 1) / 2n nats. For 2000
# points and 6 labels, this is about 0.01 after normalisation.
_SHIFT_GAIN = 0.03
_LEAST_POINTS = 2000

_SIDES = {"left and right": "LR", "front and back": "PA", "top and bottom": "IS"}

# Minimum factor and minimum increase of the normalised mutual information for which a mirrored
# segmentation counts as the better match. Noise causes smaller differences.
_FLIP_FACTOR = 1.08
_FLIP_GAIN = 0.005

_MAGNITUDE_BINS = 32


def overlap(labelled: NDArray[np.bool_], head: NDArray[np.bool_]) -> float:
    """Return the fraction of the smaller mask that lies in the other mask; 0 if a mask is empty."""
    smaller = min(np.count_nonzero(labelled), np.count_nonzero(head))
    return float(np.count_nonzero(labelled & head) / smaller) if smaller else 0.0


def coverage(labels: NDArray[np.integer], mask: NDArray[np.bool_]) -> float:
    """Return the fraction of a mask that is labelled; 0 for an empty mask."""
    return float(np.count_nonzero(labels[mask]) / max(1, int(np.count_nonzero(mask))))


def volumes(
    labels: NDArray[np.integer], names: Mapping[int, str], voxel_size: tuple[float, float, float]
) -> dict[str, float]:
    """Return the volume of each label in ml, keyed by label name; the voxel size is in mm."""
    voxel = float(np.prod(voxel_size)) / 1000
    return {name: np.count_nonzero(labels == label) * voxel for label, name in names.items()}


def plausibility_warnings(covered: float | None, found: Mapping[str, float]) -> list[str]:
    """Return warnings about an implausible coverage or implausible tissue volumes.

    Parameters
    ----------
    covered : float or None
        Fraction of the brain mask that is labelled; None without a brain mask.
    found : mapping of str to float
        Volumes in ml from :func:`volumes`. They are not checked if there is no brain tissue.

    Returns
    -------
    list of str
        Warnings; empty if all values are plausible.
    """
    warnings = []
    if covered is not None and covered < EXPECTED_COVERAGE:
        warnings.append(f"the segmentation covers only {covered:.0%} of the brain mask")
    if not any(found.get(tissue.name) for tissue in TISSUES.values()):
        return warnings  # the segmentation shows another part of the body
    for tissue, least in LEAST_VOLUMES.items():
        name = TISSUES[tissue].name
        volume, largest = found.get(name, 0.0), LARGEST_VOLUMES[tissue]
        if not least <= volume <= largest:
            bound = f"less than the {least:.0f} ml expected for a small head"
            if volume > largest:
                bound = f"more than the {largest:.0f} ml expected for a large head"
            warnings.append(
                f"the segmentation has {volume:.0f} ml of {name} in the field of view of the "
                f"phase, {bound}"
            )
    return warnings


def check_signal_order(
    labels: NDArray[np.integer], names: Mapping[int, str], magnitude: NDArray[np.floating]
) -> list[str]:
    """Check that the signal of gray matter is between the signals of white matter and fluid.

    Parameters
    ----------
    labels : ndarray of int, shape (X, Y, Z)
        Tissue labels.
    names : mapping of int to str
        Name of each label.
    magnitude : ndarray of float, shape (X, Y, Z)
        Any unit.

    Returns
    -------
    list of str
        One warning if the magnitude contradicts the labels; otherwise empty.

    Notes
    -----
    The water content and the relaxation times of gray matter are between the values of white matter
    and fluid. Therefore the signal of gray matter is also between the signals of white matter and
    fluid, with T1, T2 and proton density contrast. If these contrasts cancel, all three signals are
    similar. Therefore, a warning requires that the signal of gray matter differs from each of the
    other two signals by more than the difference between these two signals.
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
        f"the signal of gray matter ({gray:.4g}) is not between the signals of white matter "
        f"({white:.4g}) and fluid ({fluid:.4g}): labels may have been swapped"
    ]


def better_flip(
    labels: Volume, magnitude: Volume, point_map: PointMap = identity, step: int = 1
) -> str | None:
    """Return the sides to swap if a mirrored segmentation fits the magnitude better.

    The segmentation is mirrored about the middle of its grid along each axis, and also from left to
    right about the origin of the coordinates. The mutual information of the magnitude with
    the mirrored segmentations is compared with the mutual information of the magnitude with the
    original segmentation.

    Parameters
    ----------
    labels : Volume of int
        Segmentation.
    magnitude : Volume of float
    point_map : callable
        Function that maps points from magnitude coordinates to coordinates of the labels, in mm.
    step : int
        Subsampling step of the magnitude along each axis, in voxels.

    Returns
    -------
    str or None
        Sides to swap, such as "left and right"; None if no mirrored segmentation fits better.
    """
    points, values = magnitude.grid.points(step), _sampled(magnitude.values, step)
    affine = labels.grid.affine

    def information(placed: NDArray[np.float64]) -> float:
        there = Volume(labels.values, Grid(labels.grid.shape, placed))
        return _information(sample_nearest(there, points, point_map), values)

    codes = aff2axcodes(affine)
    others = {"left and right": information(np.diag([-1.0, 1, 1, 1]) @ affine)}
    for sides, letters in _SIDES.items():
        axis = [code in letters for code in codes].index(True)
        in_grid = np.eye(4)
        in_grid[axis, axis], in_grid[axis, 3] = -1, labels.grid.shape[axis] - 1
        others[sides] = max(others.get(sides, 0.0), information(affine @ in_grid))
    best = max(others, key=lambda sides: others[sides])
    own = information(affine)
    return best if others[best] > max(_FLIP_FACTOR * own, own + _FLIP_GAIN) else None


def better_shift(
    labels: Volume, magnitude: Volume, point_map: PointMap = identity, step: int = 1
) -> tuple[float, tuple[float, float, float]]:
    """Return the shift for which a segmentation fits the magnitude best.

    Parameters
    ----------
    labels, magnitude, point_map, step
        As for :func:`better_flip`.

    Returns
    -------
    gain : float
        Mutual information at the best shift, divided by the mutual information without a shift; at
        least 1.
    shift : tuple of 3 floats
        Best shift to the right, to the front and to the top in the coordinates of the magnitude,
        mm. Zeros if no shift is clearly better.
    """
    points, values = magnitude.grid.points(step), _sampled(magnitude.values, step)
    if len(points) < _LEAST_POINTS:
        return 1.0, (0.0, 0.0, 0.0)
    # registration errors may be as large as two voxels, so test only larger shifts
    least = 2 * float(magnitude.grid.spacing.max())
    shifts = [np.zeros(3)]
    for distance in _SHIFTS_MM:
        length = max(distance, least)
        shifts += [sign * length * axis for axis in np.eye(3) for sign in (-1, 1)]
    information = [
        _information(sample_nearest(labels, points - shift, point_map), values) for shift in shifts
    ]
    best = int(np.argmax(information))
    if information[best] < information[0] + _SHIFT_GAIN:
        return 1.0, (0.0, 0.0, 0.0)
    x, y, z = shifts[best].tolist()
    return information[best] / max(information[0], 1e-6), (x, y, z)


def _sampled(values: NDArray[np.floating], step: int) -> NDArray[np.floating]:
    """Return every `step`-th value along each axis, in the order of :meth:`Grid.points`."""
    return values[(slice(step // 2, None, step),) * 3].ravel()


def _information(labels: NDArray[np.integer], values: NDArray[np.floating]) -> float:
    """Return the normalised mutual information of labels and values, from 0 to 1."""
    # import here, because scipy.stats, which skimage.metrics imports, is slow to import
    from skimage.metrics import normalized_mutual_information

    _, ranks = np.unique(labels, return_inverse=True)
    if not ranks.any():
        return 0.0
    limit = np.percentile(values, 99.5)
    bins = (ranks.max() + 1, _MAGNITUDE_BINS)
    return normalized_mutual_information(ranks, np.clip(values, 0, limit), bins=bins) - 1
