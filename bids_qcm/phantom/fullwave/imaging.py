"""What a scanner makes of B1+ and B1-: phase, weighting of the magnitude and the |B1+| map."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.phantom.fullwave.fields import CircularFields
from bids_qcm.phantom.grids import Grid, grid_around, resample

NOMINAL_FLIP_ANGLE = 90.0
"""Of the excitation at the centre of the brain, degrees."""

B1_MAP_RESOLUTION = 5.0
"""Voxel size of the |B1+| map, or that of the images if theirs is larger, mm."""

B1_MAP_NOISE = 2.0
"""Standard deviation of the |B1+| map's noise, percent of the nominal flip angle."""

_CENTRE_RADIUS = 10.0
"""Radius of the ball around the brain's centre in which the fields are 1 on average, mm."""


@dataclass(frozen=True, eq=False)
class B1Map:
    """A measured |B1+| map.

    Parameters
    ----------
    percent
        Flip angle over the nominal one, (X, Y, Z) float32; 0 outside the head.
    grid
        Where its voxels lie.
    """

    percent: NDArray[np.float32]
    grid: Grid


def relative_to_centre(
    fields: CircularFields, brain: NDArray[np.bool_], grid: Grid
) -> CircularFields:
    """Return fields over their means at the centre of the brain.

    Parameters
    ----------
    fields
        Shape of `grid`.
    brain
        Brain mask, (X, Y, Z).
    grid
        The voxels.

    Returns
    -------
    CircularFields
        Magnitudes are about 1 and phases about 0 at the centre.
    """
    centre = np.argwhere(brain).mean(axis=0)
    reach = max(_CENTRE_RADIUS, grid.resolution) / grid.resolution
    squares = [(np.arange(n) - c) ** 2 for n, c in zip(brain.shape, centre, strict=True)]
    ball = sum(np.ix_(*squares)) <= reach**2
    return CircularFields(*(field / field[ball].mean() for field in fields))


def transceive_phase(
    fields: CircularFields, head: NDArray[np.bool_], brain: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the sum of the transmit and the receive phase, unwrapped.

    Parameters
    ----------
    fields
        (X, Y, Z), see :func:`relative_to_centre`.
    head
        Where there is signal, (X, Y, Z).
    brain
        Brain mask, (X, Y, Z).

    Returns
    -------
    ndarray
        (X, Y, Z) float64, rad; 0 outside the head. Its median over the brain is between -pi and
        pi. Unwrapping is ambiguous around a line on which B1+ or B1- vanishes, which happens near
        the surface at 7 T.
    """
    # Slow to import, and only this function needs it.
    from skimage.restoration import unwrap_phase

    (box,) = ndimage.find_objects(head.astype(np.uint8))
    transmit, receive = (field[box].astype(np.complex128) for field in fields)
    wrapped = np.ma.masked_array(np.angle(transmit * receive), ~head[box])
    unwrapped = np.zeros(head.shape)
    unwrapped[box] = unwrap_phase(wrapped, rng=0).filled(0)
    turns = np.rint(np.median(unwrapped[brain]) / (2 * np.pi))
    return np.where(head, unwrapped - 2 * np.pi * turns, 0)


def signal_weighting(fields: CircularFields) -> NDArray[np.float64]:
    """Return what the fields make of a magnitude: `|B1-| sin(flip angle)`.

    Parameters
    ----------
    fields
        (X, Y, Z), see :func:`relative_to_centre`.

    Returns
    -------
    ndarray
        (X, Y, Z) float64, about 1 at the centre of the brain.
    """
    flip_angle = np.deg2rad(NOMINAL_FLIP_ANGLE) * np.abs(fields.transmit).astype(np.float64)
    return np.abs(fields.receive) * np.sin(flip_angle)


def measure_b1_map(
    b1: NDArray[np.floating], head: NDArray[np.bool_], grid: Grid, rng: np.random.Generator
) -> B1Map:
    """Return a |B1+| map on a coarse grid of its own, with noise.

    Parameters
    ----------
    b1
        Magnitude of B1+ over the nominal one, (X, Y, Z).
    head
        Where there is signal, (X, Y, Z).
    grid
        The voxels of both.
    rng
        Source of the noise.

    Returns
    -------
    B1Map
        Its voxels are means over the part of them that is in the head, at least half.
    """
    high = [grid.centres(axis)[-1] for axis in range(3)]
    coarse = grid_around(grid.origin, high, max(B1_MAP_RESOLUTION, grid.resolution), margin=0)
    share = resample(head, grid, coarse)
    mean = resample(b1 * head, grid, coarse) / np.maximum(share, 0.5)
    noisy = 100 * mean + B1_MAP_NOISE * rng.standard_normal(coarse.shape)
    return B1Map(np.where(share >= 0.5, noisy, 0).astype(np.float32), coarse)
