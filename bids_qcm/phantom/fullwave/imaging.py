"""Phase, magnitude weighting and B1 map measured by a scanner for given B1+ and B1- fields."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.phantom.fullwave.fields import CircularFields
from bids_qcm.phantom.grids import IsotropicGrid, grid_around, resample

NOMINAL_FLIP_ANGLE = 90.0
"""Flip angle of the excitation at the centre of the brain in degrees."""

B1_MAP_RESOLUTION = 5.0
"""Minimum voxel size of the ``|B1+|`` map in mm. If the images have larger voxels, the ``|B1+|``
map has the same voxel size."""

B1_MAP_NOISE = 2.0
"""Standard deviation of the noise in the ``|B1+|`` map, in percent of the nominal flip angle."""

_CENTRE_RADIUS = 10.0
"""Radius, in mm, of the ball around the brain centre in which the mean of each field is 1."""


@dataclass(frozen=True, eq=False)
class B1Map:
    """Simulated measurement of a ``|B1+|`` map.

    Parameters
    ----------
    percent
        Flip angle in percent of the nominal flip angle, (X, Y, Z) float32; 0 outside the head.
    grid
        Grid of the map.
    """

    percent: NDArray[np.float32]
    grid: IsotropicGrid


def relative_to_centre(
    fields: CircularFields, brain: NDArray[np.bool_], grid: IsotropicGrid
) -> CircularFields:
    """Return the fields divided by their means at the centre of the brain.

    Parameters
    ----------
    fields
        Fields on `grid`.
    brain
        Brain mask, (X, Y, Z).
    grid
        Grid of the fields and the brain mask.

    Returns
    -------
    CircularFields
        Fields whose magnitude is about 1 and whose phase is about 0 at the centre of the brain.
    """
    centre = np.argwhere(brain).mean(axis=0)
    reach = max(_CENTRE_RADIUS, grid.resolution) / grid.resolution
    squares = [(np.arange(n) - c) ** 2 for n, c in zip(brain.shape, centre, strict=True)]
    ball = sum(np.ix_(*squares)) <= reach**2
    return CircularFields(*(field / field[ball].mean() for field in fields))


def transceive_phase(
    fields: CircularFields, head: NDArray[np.bool_], brain: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the unwrapped sum of the transmit and the receive phase.

    Parameters
    ----------
    fields
        Fields, (X, Y, Z); see :func:`relative_to_centre`.
    head
        Mask of the voxels with signal, (X, Y, Z).
    brain
        Brain mask, (X, Y, Z).

    Returns
    -------
    ndarray
        Phase in rad, (X, Y, Z) float64; 0 outside the head. The median over the brain is between
        -pi and pi. Unwrapping is ambiguous around lines on which B1+ or B1- is zero. At 7 T, such
        lines occur near the surface of the head.
    """
    # Import here, because skimage is slow to import and only this function needs it.
    from skimage.restoration import unwrap_phase

    (box,) = ndimage.find_objects(head.astype(np.uint8))
    transmit, receive = (field[box].astype(np.complex128) for field in fields)
    wrapped = np.ma.masked_array(np.angle(transmit * receive), ~head[box])
    unwrapped = np.zeros(head.shape)
    unwrapped[box] = unwrap_phase(wrapped, rng=0).filled(0)
    turns = np.rint(np.median(unwrapped[brain]) / (2 * np.pi))
    return np.where(head, unwrapped - 2 * np.pi * turns, 0)


def signal_weighting(fields: CircularFields) -> NDArray[np.float64]:
    """Return the factor by which the fields weight the magnitude, `|B1-| sin(flip angle)`.

    Parameters
    ----------
    fields
        Fields, (X, Y, Z); see :func:`relative_to_centre`.

    Returns
    -------
    ndarray
        Weighting, (X, Y, Z) float64, about 1 at the centre of the brain.
    """
    flip_angle = np.deg2rad(NOMINAL_FLIP_ANGLE) * np.abs(fields.transmit).astype(np.float64)
    return np.abs(fields.receive) * np.sin(flip_angle)


def measure_b1_map(
    b1: NDArray[np.floating], head: NDArray[np.bool_], grid: IsotropicGrid, rng: np.random.Generator
) -> B1Map:
    """Simulate the measurement of a noisy ``|B1+|`` map on a coarse grid.

    Parameters
    ----------
    b1
        ``|B1+|`` divided by its nominal value, (X, Y, Z).
    head
        Mask of the voxels with signal, (X, Y, Z).
    grid
        Grid of `b1` and `head`.
    rng
        Random number generator for the noise.

    Returns
    -------
    B1Map
        Each value is the mean over the part of the voxel that is inside the head. The map is 0 in
        voxels with less than half of their volume inside the head.
    """
    high = [grid.centres(axis)[-1] for axis in range(3)]
    coarse = grid_around(grid.origin, high, max(B1_MAP_RESOLUTION, grid.resolution), margin=0)
    share = resample(head, grid, coarse)
    mean = resample(b1 * head, grid, coarse) / np.maximum(share, 0.5)
    noisy = 100 * mean + B1_MAP_NOISE * rng.standard_normal(coarse.shape)
    return B1Map(np.where(share >= 0.5, noisy, 0).astype(np.float32), coarse)
