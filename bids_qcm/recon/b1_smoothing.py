"""A measured |B1+| map, made smooth and extended over the mask."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from bids_qcm.recon.kernels import Triple, as_triple

SMOOTHING_MM = 8.0
"""Full width at half maximum of the Gaussian that measured |B1+| maps are smoothed with."""

MEASURED = 0.5
"""Share of a voxel above which the voxel counts as measured."""

_FWHM_PER_SD = 2.355

# Share of the kernel's weight that must lie on measured voxels; on the plane surface of a large
# measured region it is 0.5, at an edge 0.25, at a corner 0.125.
_LEAST_WEIGHT = 0.1
_REMOTE_WEIGHT = 0.01

# Weight of each kernel relative to the next narrower one: where the narrow kernel has measured
# voxels, the wide one changes the result by no more than this share of their difference.
_WIDER = 0.01
_MOST_KERNELS = 8


class SmoothB1(NamedTuple):
    """A smooth map of the magnitude of B1+.

    Attributes
    ----------
    values : ndarray of float32, shape (X, Y, Z)
        In the unit of the map; 0 outside the mask.
    filled : float
        Share of the mask that was not measured.
    remote : float
        Share of the mask where the kernel has less than 1 % of its weight on measured voxels. That
        is the case from the kernel's width on beyond a plane border of what was measured.
    """

    values: NDArray[np.float32]
    filled: float
    remote: float


def smooth_b1(
    b1_map: ArrayLike,
    measured: ArrayLike,
    voxel_size: float | Triple,
    mask: ArrayLike,
    *,
    fwhm: float = SMOOTHING_MM,
) -> SmoothB1:
    """Smooth a measured map of the magnitude of B1+, and extend it over a mask.

    Parameters
    ----------
    b1_map : array_like of float, shape (X, Y, Z)
        Magnitude of B1+ in any unit; ignored where nothing was measured.
    measured : array_like of float, shape (X, Y, Z)
        Share of each voxel in which it was measured, 0 to 1.
    voxel_size : float or sequence of 3 floats
        In mm.
    mask : array_like of bool, shape (X, Y, Z)
        Where the map is needed.
    fwhm : float
        Full width at half maximum of the Gaussian kernel, mm.

    Returns
    -------
    SmoothB1

    Raises
    ------
    ValueError
        If nothing was measured.

    Notes
    -----
    A normalised convolution: the Gaussian mean of the measured voxels alone, so that an empty
    background does not enter. Where the kernel holds hardly any measured voxel, kernels of twice
    the width, four times and so on are added with weights of 0.01, 0.0001 and so on. The sum
    continues the map without a step.
    """
    share = np.clip(np.asarray(measured, dtype=np.float32), 0, 1)
    inside = np.asarray(mask, dtype=bool)
    if not share.any():
        raise ValueError("no voxel of the |B1+| map was measured")
    amount = np.where(share > 0, b1_map, np.float32(0)).astype(np.float32) * share
    size = np.array(as_triple(voxel_size, "voxel size"))
    sd = fwhm / _FWHM_PER_SD / size
    values, weight = (ndimage.gaussian_filter(v, sd, mode="constant") for v in (amount, share))
    n_voxels = max(1, np.count_nonzero(inside))
    missing = np.count_nonzero(share[inside] < MEASURED) / n_voxels
    remote = np.count_nonzero(weight[inside] < _REMOTE_WEIGHT) / n_voxels
    for power in range(_MOST_KERNELS):
        if (weight[inside] >= _LEAST_WEIGHT * _WIDER**power).all():
            break
        wider = sd * 2 ** (power + 1)
        values += _WIDER ** (power + 1) * _box_blur(amount, wider)
        weight += _WIDER ** (power + 1) * _box_blur(share, wider)
    smooth = np.divide(values, weight, out=np.zeros_like(values), where=inside & (weight > 0))
    return SmoothB1(smooth, float(missing), float(remote))


def _box_blur(values: NDArray[np.float32], sd: NDArray[np.float64]) -> NDArray[np.float32]:
    """Blur by three running means, which approximate a Gaussian of any width at the same cost."""
    widths = 2 * np.rint((np.sqrt(4 * sd**2 + 1) - 1) / 2).astype(int) + 1
    # running sums in float32 would drift
    values = values.astype(np.float64)
    for _ in range(3):
        values = ndimage.uniform_filter(values, widths.tolist(), mode="constant")
    # running means leave rounding errors where all values are 0
    return np.maximum(values, 0).astype(np.float32)
