"""Conductivity and permittivity maps of a head."""

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from bids_qcm.phantom.anatomy import Anatomy
from bids_qcm.phantom.grids import IsotropicGrid, grid_around, resample
from bids_qcm.phantom.tissues import TISSUE_ORDER, TISSUES, conductivities, permittivities
from bids_qcm.physics import complex_permittivity

CORRELATION_LENGTH = 18.0
"""Distance at which the correlation of the variation falls to 1/e, in mm."""

LARGEST_DEVIATION = 2.5
"""Maximum deviation from the mean, in standard deviations. This limit ensures that all
conductivities are positive."""

_COARSE = 4.0
"""Voxel size, in mm, of the grid on which the variation is generated."""

_BOX = ((-112.0, -148.0, -112.0), (112.0, 112.0, 124.0))
"""Corners, in mm, of the box in which the variation is generated. The variation is periodic, so the
box is larger than the head."""


def conductivity_map(
    anatomy: Anatomy,
    frequency: float,
    lesion_conductivity: float,
    variation: float,
    rng: np.random.Generator,
    tissue_factors: Mapping[str, float] | None = None,
) -> np.ndarray:
    """Return the conductivity map of a head.

    Parameters
    ----------
    anatomy
        Anatomy of the head.
    frequency
        Larmor frequency in Hz.
    lesion_conductivity
        Conductivity, in S/m, of the tumour and of the small lesions, which do not have variation.
    variation
        Standard deviation of the conductivity within each tissue, as a fraction of its mean.
    rng
        Random number generator for the variation.
    tissue_factors
        Factor by which the conductivity of each tissue is multiplied, keyed by tissue abbreviation;
        1 for other tissues.

    Returns
    -------
    ndarray
        Conductivity in S/m, (X, Y, Z) float64; 0 outside the head. In each voxel, it is the mean
        over the tissues, weighted by their fractions.
    """
    total = np.zeros(anatomy.grid.shape)
    values = conductivities(frequency, lesion_conductivity)
    for abbreviation, factor in (tissue_factors or {}).items():
        values[TISSUE_ORDER[abbreviation]] *= factor
    for tissue, fraction, value in zip(TISSUES, anatomy.fractions, values, strict=True):
        if variation > 0 and tissue.dispersion is not None:
            total += fraction * (value * (1 + variation * smooth_field(anatomy.grid, rng)))
        else:
            total += fraction * value
    lesion = anatomy.small_lesion_fraction
    return total * (1 - lesion) + lesion_conductivity * lesion


def permittivity_map(anatomy: Anatomy, conductivity: np.ndarray, frequency: float) -> np.ndarray:
    """Return the complex relative permittivity of each voxel.

    Parameters
    ----------
    anatomy
        Anatomy of the head.
    conductivity
        Conductivity map of the head from :func:`conductivity_map`, in S/m.
    frequency
        Larmor frequency in Hz.

    Returns
    -------
    ndarray
        `eps_r - i sigma / (omega eps_0)`, (X, Y, Z) complex128. In the head, eps_r is the mean over
        the tissues, weighted by their fractions; eps_r is 1 outside the head.
    """
    values = permittivities(frequency)
    relative = 1 + np.tensordot(values - 1, anatomy.fractions.astype(np.float64), axes=1)
    lesion = anatomy.small_lesion_fraction
    relative = relative * (1 - lesion) + values[TISSUE_ORDER["L"]] * lesion
    return complex_permittivity(relative, conductivity, frequency)


def smooth_field(grid: IsotropicGrid, rng: np.random.Generator) -> np.ndarray:
    """Return a smooth random function of position, sampled on a grid.

    Parameters
    ----------
    grid
        Grid of the result. The function itself is nearly independent of the voxel size.
    rng
        Random number generator.

    Returns
    -------
    ndarray
        Values with the shape of `grid`, float32. Over many random functions, the mean is 0, the
        standard deviation is 1, and the correlation is `exp(-(distance / CORRELATION_LENGTH)^2)`.
    """
    # White noise has the correlation above after filtering with a Gaussian of this standard
    # deviation.
    sd = CORRELATION_LENGTH / 2 / _COARSE
    coarse = grid_around(*_BOX, _COARSE, margin=0)
    field = ndimage.gaussian_filter(rng.standard_normal(coarse.shape), sd, mode="wrap")
    field *= (2 * np.sqrt(np.pi) * sd) ** 1.5
    return resample(field.clip(-LARGEST_DEVIATION, LARGEST_DEVIATION), coarse, grid)
