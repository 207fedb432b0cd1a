"""Where the signal is strong enough for its phase to mean something, and where it was deleted."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

_BLOCK = 3
_ROUNDING = 1e-6


def signal_mask(magnitude: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Find the reliable signal: the largest connected part above Otsu's threshold.

    Parameters
    ----------
    magnitude : ndarray of float, shape (X, Y, Z)
        Any unit; voxels that are not finite are outside.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)

    Raises
    ------
    ValueError
        If the magnitude is constant.
    """
    finite = np.isfinite(magnitude)
    values = np.where(finite, magnitude, 0)
    if not np.ptp(values) > 0:
        raise ValueError("the magnitude is constant: it shows no signal")
    above = finite & (values > threshold_otsu(values))
    components, _ = ndimage.label(above)
    sizes = np.bincount(components[above])
    return components == sizes.argmax()


def blank_phase(phase: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Tell where somebody deleted the phase: all voxels of a block have exactly one value.

    That is 0, or -pi, as which a stored 0 may come out. No noise does that to 3 x 3 x 3 voxels.

    Parameters
    ----------
    phase : ndarray of float, shape (X, Y, Z)
        In rad.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
    """
    block = tuple(min(_BLOCK, n) for n in phase.shape)
    blank = np.zeros(phase.shape, dtype=bool)
    for value in (0, np.float32(-np.pi)):
        equal = (np.abs(phase - value) < _ROUNDING).view(np.uint8)
        blank |= ndimage.grey_opening(equal, block, mode="constant") > 0
    return blank
