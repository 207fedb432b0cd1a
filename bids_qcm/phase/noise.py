"""The noise of the phase, from the phase itself."""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, correlate1d

_SECOND_DIFFERENCE = np.array([1.0, -2.0, 1.0])

# The median of |x| of a normal x with unit standard deviation.
_NORMAL_MEDIAN = 0.6744897501960817


def noise_level(
    phase: NDArray[np.floating], mask: NDArray[np.bool_], relative: NDArray[np.floating]
) -> float:
    """Estimate the level of the phase's noise.

    Parameters
    ----------
    phase : ndarray of float, shape (X, Y, Z)
        Unwrapped phase in rad.
    mask : ndarray of bool, shape (X, Y, Z)
        Where the phase is known.
    relative : ndarray of float, shape (X, Y, Z)
        The standard deviation of the phase's noise up to a common factor, positive in the mask:
        ``1 / magnitude`` for the phase of one image.

    Returns
    -------
    float
        That factor; for the phase of one image it is the standard deviation of the noise of its
        magnitude, in the magnitude's unit.

    Raises
    ------
    ValueError
        If the mask holds no square of 3 by 3 voxels.

    Notes
    -----
    The common factor is estimated from the mixed second differences in each plane of the grid,
    ``(1, -2, 1)`` along one axis and then along the other: smooth phase, even one whose curvature
    jumps between tissues, hardly passes them. They are divided by the standard deviation that
    `relative` gives them; the median of their absolute values estimates the factor robustly
    (Rousseeuw and Croux 1993, doi:10.1080/01621459.1993.10476408). Of the planes' results the
    middle one is taken, as scanners may leave out the corners of k-space in one plane. Noise that
    the scanner smoothed or interpolated is underestimated.
    """
    known = np.where(mask, phase, 0).astype(np.float64)
    variance = np.where(mask, relative, 0).astype(np.float64) ** 2
    factors = []
    for axes in combinations(range(3), 2):
        square = np.ones([3 if axis in axes else 1 for axis in range(3)], dtype=bool)
        whole = binary_erosion(mask, square)
        if whole.any():
            difference = _correlate(known, _SECOND_DIFFERENCE, axes)[whole]
            expected = np.sqrt(_correlate(variance, _SECOND_DIFFERENCE**2, axes)[whole])
            factors.append(np.median(np.abs(difference) / expected) / _NORMAL_MEDIAN)
    if not factors:
        raise ValueError(
            "the mask holds no square of 3 by 3 voxels, from which the noise could be estimated"
        )
    return float(np.median(factors))


def _correlate(
    volume: NDArray[np.float64], stencil: NDArray[np.float64], axes: tuple[int, int]
) -> NDArray[np.float64]:
    for axis in axes:
        volume = correlate1d(volume, stencil, axis=axis)
    return volume
