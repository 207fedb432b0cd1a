"""Where the signal is strong enough for its phase to mean something."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu


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
