"""The conductivity and permittivity of every voxel of a head."""

import numpy as np
from scipy import ndimage

from bids_qcm.phantom.anatomy import Anatomy
from bids_qcm.phantom.grids import Grid, grid_around, resample
from bids_qcm.phantom.tissues import TISSUE_ORDER, TISSUES, conductivities, permittivities
from bids_qcm.physics import VACUUM_PERMITTIVITY

CORRELATION_LENGTH = 18.0
"""Distance at which the variation's correlation falls to 1/e, mm."""

LARGEST_DEVIATION = 2.5
"""In standard deviations of the variation; it keeps every conductivity positive."""

_COARSE = 4.0
"""Voxel size of the variation, mm."""

_BOX = ((-112.0, -148.0, -112.0), (112.0, 112.0, 124.0))
"""Corners of a box that the head does not fill, so that the variation may be periodic, mm."""


def conductivity_map(
    anatomy: Anatomy,
    frequency: float,
    lesion_conductivity: float,
    variation: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the conductivity of every voxel.

    Parameters
    ----------
    anatomy
        The head.
    frequency
        Hz.
    lesion_conductivity
        Of the tumour and of the small lesions, S/m; it does not vary.
    variation
        Standard deviation of the conductivity within each tissue, as a fraction of its mean.
    rng
        Source of the variation.

    Returns
    -------
    ndarray
        (X, Y, Z) float64, S/m: the mean over the tissues, weighted with their fractions; 0 outside
        the head.
    """
    total = np.zeros(anatomy.grid.shape)
    values = conductivities(frequency, lesion_conductivity)
    for tissue, fraction, value in zip(TISSUES, anatomy.fractions, values, strict=True):
        if variation > 0 and tissue.dispersion is not None:
            total += fraction * (value * (1 + variation * smooth_field(anatomy.grid, rng)))
        else:
            total += fraction * value
    lesion = anatomy.small_lesion_fraction
    return total * (1 - lesion) + lesion_conductivity * lesion


def complex_permittivity(
    anatomy: Anatomy, conductivity: np.ndarray, frequency: float
) -> np.ndarray:
    """Return the complex relative permittivity of every voxel.

    Parameters
    ----------
    anatomy
        The head.
    conductivity
        Of its voxels, see :func:`conductivity_map`, S/m.
    frequency
        Hz.

    Returns
    -------
    ndarray
        `eps_r - i sigma / (omega eps_0)`, (X, Y, Z) complex128; eps_r is the mean over the tissues,
        weighted with their fractions, and 1 outside the head.
    """
    values = permittivities(frequency)
    relative = 1 + np.tensordot(values - 1, anatomy.fractions.astype(np.float64), axes=1)
    lesion = anatomy.small_lesion_fraction
    relative = relative * (1 - lesion) + values[TISSUE_ORDER["L"]] * lesion
    return relative - 1j * conductivity / (2 * np.pi * frequency * VACUUM_PERMITTIVITY)


def smooth_field(grid: Grid, rng: np.random.Generator) -> np.ndarray:
    """Return a smooth random function of the position, at the voxels of a grid.

    Parameters
    ----------
    grid
        The voxels; the function itself hardly depends on their size.
    rng
        Source of the function.

    Returns
    -------
    ndarray
        Shape of `grid`, float32; mean 0 and standard deviation 1 over many functions, a correlation
        of `exp(-(distance / CORRELATION_LENGTH)^2)`.
    """
    # White noise after a Gaussian of this sd has that correlation.
    sd = CORRELATION_LENGTH / 2 / _COARSE
    coarse = grid_around(*_BOX, _COARSE, margin=0)
    field = ndimage.gaussian_filter(rng.standard_normal(coarse.shape), sd, mode="wrap")
    field *= (2 * np.sqrt(np.pi) * sd) ** 1.5
    return resample(field.clip(-LARGEST_DEVIATION, LARGEST_DEVIATION), coarse, grid)
