"""B1+ and B1- fields of a head in a birdcage coil."""

import logging
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.phantom.fullwave.coil import Birdcage, vector_potential
from bids_qcm.phantom.fullwave.lattice import faces_to_centres
from bids_qcm.phantom.fullwave.scattering import Body
from bids_qcm.phantom.grids import Grid
from bids_qcm.physics import VACUUM_PERMEABILITY, VACUUM_PERMITTIVITY

_LOGGER = logging.getLogger(__name__)

COIL = Birdcage()

_MARGIN = 2
"""Margin of air around the head in the solver, in cells."""


class CircularFields(NamedTuple):
    """Rotating components of the transmit and receive fields.

    Parameters
    ----------
    transmit
        B1+ of the transmit excitation, (X, Y, Z) complex64.
    receive
        Conjugate of B1- of the receive excitation, (X, Y, Z) complex64. The signal is proportional
        to this field.

    Notes
    -----
    With phasors `exp(+i omega t)` and spins that precess from x to y, `B1+ = (B_x + i B_y) / 2`,
    and the conjugate of B1- is `(B_x - i B_y) / 2` [1]_. Both fields satisfy the same Helmholtz
    equation, and in a conductor their phases have a positive Laplacian.

    References
    ----------
    .. [1] Hoult DI. The principle of reciprocity in signal strength calculations - a mathematical
       guide. Concepts Magn Reson 2000. doi:10.1002/1099-0534(2000)12:4<173::AID-CMR1>3.0.CO;2-Q
    """

    transmit: NDArray[np.complex64]
    receive: NDArray[np.complex64]


def solve_fields(
    permittivity: NDArray[np.complex128], grid: Grid, frequency: float
) -> CircularFields:
    """Solve Maxwell's equations for a head in the birdcage coil, for transmit and receive.

    Parameters
    ----------
    permittivity
        Complex relative permittivity `eps_r - i sigma / (omega eps_0)`, shape of `grid`; 1 outside
        the head.
    grid
        Grid of the permittivity. The coil is centred on the bounding box of the head.
    frequency
        Larmor frequency, Hz.

    Returns
    -------
    CircularFields
        Fields in T, for currents of 1 A in the rungs. The fields are 0 at more than one voxel from
        the bounding box of the head.
    """
    box = _box_around(permittivity != 1)
    # Use a fixed margin of air, so that the result does not depend on the margin of the grid.
    cells = np.pad(permittivity[box], _MARGIN, constant_values=1)
    first = np.array([part.start for part in box])
    cropped = Grid(grid.origin + grid.resolution * (first - _MARGIN), grid.resolution, cells.shape)
    centre = cropped.origin + cropped.resolution * (np.array(cells.shape) - 1) / 2
    wavenumber = 2 * math.pi * frequency * math.sqrt(VACUUM_PERMEABILITY * VACUUM_PERMITTIVITY)
    incident = vector_potential(COIL.wires(), centre, cropped, wavenumber)
    # Import here, because joblib is slow to import and only this function needs it.
    import joblib

    body = Body(cells, grid.resolution * 1e-3, frequency, workers=joblib.cpu_count())
    rotating = []
    for potential, sense in zip(incident, (1j, -1j), strict=True):
        field = body.scatter(potential)
        _LOGGER.info("full-wave solver: %d iterations", field.iterations)
        x, y, _ = faces_to_centres(field.magnetic)
        rotating.append(_uncropped((x + sense * y) / 2, box, grid.shape))
    return CircularFields(*rotating)


def _uncropped(
    values: NDArray, box: tuple[slice, ...], shape: tuple[int, int, int]
) -> NDArray[np.complex64]:
    """Return an array of the grid's shape with the values of the box and one layer of its margin.

    Parameters
    ----------
    values
        Values in the box with `_MARGIN` cells on each side.
    box
        Position of the box in the grid.
    shape
        Shape of the grid.

    Returns
    -------
    ndarray
        0 at more than one voxel from the box.
    """
    result = np.zeros(shape, np.complex64)
    into, part = [], []
    for side, size in zip(box, shape, strict=True):
        start, stop = max(side.start - 1, 0), min(side.stop + 1, size)
        into.append(slice(start, stop))
        part.append(slice(start - side.start + _MARGIN, stop - side.start + _MARGIN))
    result[tuple(into)] = values[tuple(part)]
    return result


def _box_around(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    return box


def interpolate(fields: CircularFields, source: Grid, target: Grid) -> CircularFields:
    """Interpolate fields to a finer grid with cubic splines.

    Parameters
    ----------
    fields
        Fields, shape of `source`.
    source, target
        Grid of the fields, and grid of the result.

    Returns
    -------
    CircularFields
        Shape of `target`; 0 outside the source grid.
    """
    index = [(target.centres(axis) - source.origin[axis]) / source.resolution for axis in range(3)]
    places = np.meshgrid(*index, indexing="ij", sparse=False)

    def spline(values: NDArray) -> NDArray[np.complex64]:
        return ndimage.map_coordinates(values, places, order=3).astype(np.complex64)

    return CircularFields(*map(spline, fields))
