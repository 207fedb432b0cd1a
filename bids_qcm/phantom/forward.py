"""From conductivity to transceive phase."""

import math

import numpy as np
from scipy import fft

from bids_qcm.physics import conductivity_factor


def transceive_phase(
    conductivity: np.ndarray, voxel_size: tuple[float, float, float], frequency: float
) -> np.ndarray:
    """Solve `laplacian(phi0) = 2 * omega * mu0 * sigma` on the voxel grid.

    The solution is exact for the 7-point Laplacian, with phi0 = 0 on the layer of voxels around the
    array: finite differences of the result return the conductivity to rounding, everywhere. The
    discrete sine transform diagonalises that operator.

    Parameters
    ----------
    conductivity
        (X, Y, Z), S/m.
    voxel_size
        Three numbers, mm.
    frequency
        Larmor frequency, Hz.

    Returns
    -------
    ndarray
        phi0, (X, Y, Z) float64, rad, not wrapped.
    """
    source = np.asarray(conductivity, dtype=np.float64) / conductivity_factor(frequency)
    spectrum = fft.dstn(source, type=1)
    spectrum /= _laplacian_eigenvalues(source.shape, voxel_size)
    return fft.idstn(spectrum, type=1)


def _laplacian_eigenvalues(
    shape: tuple[int, ...], voxel_size: tuple[float, float, float]
) -> np.ndarray:
    """Return the eigenvalues (1/m^2) of the 7-point Laplacian, in the order of the transform."""
    per_axis = [
        -((2 / (size * 1e-3) * np.sin(math.pi * np.arange(1, n + 1) / (2 * (n + 1)))) ** 2)
        for n, size in zip(shape, voxel_size, strict=True)
    ]
    return sum(np.ix_(*per_axis))
