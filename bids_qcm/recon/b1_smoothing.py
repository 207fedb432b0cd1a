"""Smooth a measured map of the magnitude of B1+ and extend it over a mask."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from bids_qcm.recon.kernels import Triple, as_triple

SMOOTHING_MM = 8.0
"""Full width at half maximum in mm of the Gaussian kernel that smooths measured maps."""

MEASURED = 0.5
"""Minimum measured fraction of a voxel for the voxel to count as measured."""

_FWHM_PER_SD = np.sqrt(8 * np.log(2))

# Minimum fraction of the kernel's weight that must lie on measured voxels; otherwise, a wider
# kernel is added. At a flat surface of a large measured region, the fraction is 0.5; at an edge, it
# is 0.25; at a corner, it is 0.125.
_LEAST_WEIGHT = 0.1

# A voxel counts as remote from the measured voxels if its fraction is below this value.
_REMOTE_WEIGHT = 0.01

# Weight of each kernel relative to the next narrower kernel. Where the narrow kernel lies on
# measured voxels, the wide kernel changes the result by at most this fraction of their difference.
_WIDER = 0.01
_MOST_KERNELS = 8


class SmoothB1(NamedTuple):
    """A smoothed map of the magnitude of B1+.

    Attributes
    ----------
    values : ndarray of float32, shape (X, Y, Z)
        Smoothed magnitude in the unit of the measured map; 0 outside the mask.
    filled : float
        Fraction of the mask's voxels that were not measured.
    remote : float
        Fraction of the mask's voxels for which less than 1 % of the kernel's weight lies on
        measured voxels. Near a plane border of the measured region, these are the voxels farther
        from the border than about the kernel's full width at half maximum.
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
    """Smooth a measured map of the magnitude of B1+ and extend it over a mask.

    Parameters
    ----------
    b1_map : array_like of float, shape (X, Y, Z)
        Magnitude of B1+ in any unit. Values of voxels that were not measured are ignored.
    measured : array_like of float, shape (X, Y, Z)
        Measured fraction of each voxel, 0 to 1.
    voxel_size : float or sequence of 3 floats
        Voxel size in mm.
    mask : array_like of bool, shape (X, Y, Z)
        Voxels for which the map is needed.
    fwhm : float
        Full width at half maximum of the Gaussian kernel in mm.

    Returns
    -------
    SmoothB1

    Raises
    ------
    ValueError
        If no voxel was measured.

    Notes
    -----
    The method is a normalised convolution: it averages measured voxels only, with Gaussian weights,
    so that an empty background does not bias the result. If the kernel at any voxel of the mask
    contains hardly any measured voxels, wider kernels are added: twice the width with a weight of
    0.01, four times the width with a weight of 0.0001, and so on. The sum extends the map smoothly.
    """
    share = np.clip(np.asarray(measured, dtype=np.float32), 0, 1)
    inside = np.asarray(mask, dtype=bool)
    if not share.any():
        raise ValueError("no voxel of the |B1+| map was measured")
    amount = np.where(share > 0, b1_map, np.float32(0)).astype(np.float32) * share
    size = np.array(as_triple(voxel_size, "voxel size"))
    sd = fwhm / _FWHM_PER_SD / size
    values, weight = (ndimage.gaussian_filter(v, sd, mode="constant") for v in (amount, share))
    n_voxels = max(1, int(np.count_nonzero(inside)))
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
    """Blur with three running means.

    Three running means approximate a Gaussian, at a cost that does not depend on its width.
    """
    widths = 2 * np.rint((np.sqrt(4 * sd**2 + 1) - 1) / 2).astype(int) + 1
    # uniform_filter uses running sums, which would accumulate rounding errors in float32
    values = values.astype(np.float64)
    for _ in range(3):
        values = ndimage.uniform_filter(values, widths.tolist(), mode="constant")
    # rounding can leave small negative values where all inputs are 0
    return np.maximum(values, 0).astype(np.float32)
