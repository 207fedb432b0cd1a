"""Simulation of a scanner's complex images from anatomy and phase."""

import math
from functools import reduce

import numpy as np

from bids_qcm.phantom.anatomy import Anatomy
from bids_qcm.phantom.grids import IsotropicGrid
from bids_qcm.phantom.tissues import TISSUES

_FIELD_CENTRE = (0.0, 45.0, -25.0)
"""Centre of the off-resonance field, above the nasal sinuses, MNI152 coordinates in mm."""

_FIELD_SD = 25.0
"""Standard deviation of the Gaussian off-resonance field in mm."""

_HEAD_RADIUS = 90.0
"""Length scale of the receive bias in mm."""

SMALL_LESION_CONTRAST = 0.1
"""Relative signal increase in a small lesion, compared with the surrounding tissue."""


def make_signal(
    anatomy: Anatomy,
    phi0: np.ndarray,
    echo_time: float | None,
    off_resonance: float,
    weighting: np.ndarray | None = None,
) -> np.ndarray:
    """Return the noiseless complex image of one echo.

    Parameters
    ----------
    anatomy
        Anatomy of the head. There is no signal outside the head.
    phi0
        Phase at echo time zero in rad, (X, Y, Z).
    echo_time
        Echo time of a gradient echo in s. None simulates a spin echo, without off-resonance phase
        and T2* decay.
    off_resonance
        Maximum absolute off-resonance frequency in the brain, in Hz.
    weighting
        Weighting of the magnitude by the transmit and receive fields, (X, Y, Z), around 1. None
        applies a smooth receive bias.

    Returns
    -------
    ndarray
        Complex image, (X, Y, Z) complex128; the magnitude of CSF is about 1.
    """
    weights = np.array(
        [
            tissue.magnitude * (1 if echo_time is None else math.exp(-echo_time / tissue.t2_star))
            for tissue in TISSUES
        ]
    )
    magnitude = np.tensordot(weights, anatomy.fractions, axes=1)
    magnitude *= 1 + SMALL_LESION_CONTRAST * anatomy.small_lesion_fraction
    magnitude *= _receive_bias(anatomy.grid) if weighting is None else weighting
    phase = phi0
    if echo_time is not None:
        field = off_resonance_field(anatomy.brain, anatomy.grid, off_resonance)
        phase = phi0 + 2 * math.pi * echo_time * field
    return magnitude * np.exp(1j * phase)


def off_resonance_field(brain: np.ndarray, grid: IsotropicGrid, peak: float) -> np.ndarray:
    """Return a smooth off-resonance field: a Gaussian above the sinuses minus its mean.

    Parameters
    ----------
    brain
        Brain mask, (X, Y, Z) bool.
    grid
        Grid of the brain mask.
    peak
        Maximum absolute value in the brain, in Hz.

    Returns
    -------
    ndarray
        Off-resonance in Hz, (X, Y, Z) float64. The mean over the brain is 0.
    """
    field = np.exp(-_squared_distance(grid, _FIELD_CENTRE) / (2 * _FIELD_SD**2))
    field -= field[brain].mean()
    return field * (peak / np.abs(field[brain]).max())


def add_noise(signal: np.ndarray, sd: float, rng: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise to the real and the imaginary channels.

    Parameters
    ----------
    signal
        Complex array of any shape.
    sd
        Standard deviation in each channel, in the unit of the signal.
    rng
        Random number generator. The generator advances even if `sd` is 0.

    Returns
    -------
    ndarray
        Noisy signal with the shape of `signal`, complex128.
    """
    real, imaginary = rng.standard_normal((2, *signal.shape))
    return signal + sd * (real + 1j * imaginary)


def to_magnitude_and_phase(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the magnitude and the wrapped phase of a complex image.

    Parameters
    ----------
    image
        Complex array of any shape.

    Returns
    -------
    magnitude, phase : ndarray
        Arrays with the shape of `image`, float32. The phase is in rad, from -pi to pi.
    """
    # In float32, pi is rounded up, and a range above 2 pi would look like an unwrapped phase.
    limit = np.nextafter(np.float32(math.pi), np.float32(0))
    phase = np.angle(image).astype(np.float32)
    return np.abs(image).astype(np.float32), phase.clip(-limit, limit)


def _receive_bias(grid: IsotropicGrid) -> np.ndarray:
    """Return a receive sensitivity that rises by about a quarter from the centre to the surface."""
    return 0.85 + 0.2 * _squared_distance(grid, (0.0, 0.0, 0.0)) / _HEAD_RADIUS**2


def _squared_distance(grid: IsotropicGrid, centre: tuple[float, float, float]) -> np.ndarray:
    """Return the squared distance of each voxel from a point, in mm^2."""
    return reduce(np.add, np.ix_(*((grid.centres(axis) - centre[axis]) ** 2 for axis in range(3))))
