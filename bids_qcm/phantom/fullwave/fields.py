"""B1+ and B1- fields in a head in a birdcage coil, with or without a receive array."""

import logging
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.phantom.fullwave.coil import Birdcage, LoopArray, Wires, vector_potential
from bids_qcm.phantom.fullwave.lattice import faces_to_centres
from bids_qcm.phantom.fullwave.scattering import Body
from bids_qcm.phantom.grids import IsotropicGrid, grid_around, resample
from bids_qcm.phantom.parameters import ReceiveCoil
from bids_qcm.physics import vacuum_wavenumber

_LOGGER = logging.getLogger(__name__)

COIL = Birdcage()

ARRAY = LoopArray()

WEIGHTS_RESOLUTION = 10.0
"""Minimum voxel size, in mm, of the grid for computing the fields of the array loops. At 3 T, the
relative phases of the loops differ by less than 0.5 degrees from the phases on a 5 mm grid."""

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
    permittivity: NDArray[np.complex128],
    grid: IsotropicGrid,
    frequency: float,
    receive: ReceiveCoil = "birdcage",
) -> CircularFields:
    """Solve Maxwell's equations for a head in the birdcage coil, for transmit and receive.

    Parameters
    ----------
    permittivity
        Complex relative permittivity `eps_r - i sigma / (omega eps_0)` on `grid`; 1 outside the
        head.
    grid
        Grid of the permittivity. The coils are centred on the bounding box of the head.
    frequency
        Larmor frequency in Hz.
    receive
        Receive coil. The signal of the array is the sum of the signals of its loops, with the
        weights from :func:`combination_weights`. Maxwell's equations are linear, so this sum is the
        signal of a single excitation whose loop currents are the weights.

    Returns
    -------
    CircularFields
        Fields in T for currents of 1 A in the rungs or in the loops. The fields are 0 at a distance
        of more than one voxel from the bounding box of the head.
    """
    box = _box_around(permittivity != 1)
    # Use a fixed margin of air, so that the result does not depend on how far the grid extends
    # beyond the head.
    cells = np.pad(permittivity[box], _MARGIN, constant_values=1)
    first = np.array([part.start for part in box])
    cropped = IsotropicGrid(
        grid.origin + grid.resolution * (first - _MARGIN), grid.resolution, cells.shape
    )
    body = _body(cells, cropped, frequency)
    incident = np.concatenate(
        [
            _incident(wires, _centre(cropped), cropped, frequency)
            for wires in _excitations(cells, cropped, frequency, receive)
        ]
    )
    rotating = [
        _uncropped(_rotating(body, potential, sense), box, grid.shape)
        for potential, sense in zip(incident, (1j, -1j), strict=True)
    ]
    return CircularFields(*rotating)


def _excitations(
    cells: NDArray[np.complex128], grid: IsotropicGrid, frequency: float, receive: ReceiveCoil
) -> list[Wires]:
    """Return the coils, which have one transmit and one receive excitation in total."""
    birdcage = COIL.wires()
    if receive == "birdcage":
        return [birdcage]
    loops = ARRAY.wires()
    weights = combination_weights(cells, grid, frequency)
    return [
        birdcage._replace(currents=birdcage.currents[:1]),
        loops._replace(currents=weights[None] @ loops.currents),
    ]


def combination_weights(
    cells: NDArray[np.complex128], grid: IsotropicGrid, frequency: float
) -> NDArray[np.complex128]:
    """Return the weights that remove the relative phases of the array's loops.

    Parameters
    ----------
    cells
        Complex relative permittivity on `grid`; 1 in the first and the last layer along each axis.
    grid
        Grid of the permittivity. The array is at the centre of the grid.
    frequency
        Larmor frequency in Hz.

    Returns
    -------
    ndarray
        One weight of magnitude 1 for each loop. At the centre of the grid, the weighted signals of
        all loops have a phase of 0.

    Notes
    -----
    The phases are smooth, so the fields of the loops are computed on a grid with voxels of at least
    `WEIGHTS_RESOLUTION`.
    """
    centre = _centre(grid)
    if grid.resolution < WEIGHTS_RESOLUTION:
        high = [grid.centres(axis)[-1] for axis in range(3)]
        coarse = grid_around(grid.origin, high, WEIGHTS_RESOLUTION, margin=1)
        contrast = cells - 1
        real, imaginary = (resample(part, grid, coarse) for part in (contrast.real, contrast.imag))
        cells, grid = 1 + real + 1j * imaginary.astype(np.float64), coarse
    body = _body(cells, grid, frequency)
    index = ((centre - grid.origin) / grid.resolution)[:, None]
    signals = np.concatenate(
        [
            ndimage.map_coordinates(_rotating(body, potential, -1j), index, order=1)
            for potential in _incident(ARRAY.wires(), centre, grid, frequency)
        ]
    )
    return np.exp(-1j * np.angle(signals))


def _body(cells: NDArray[np.complex128], grid: IsotropicGrid, frequency: float) -> Body:
    # Import here, because joblib is slow to import and only the solver needs it.
    import joblib

    return Body(cells, grid.resolution * 1e-3, frequency, workers=joblib.cpu_count())


def _incident(
    wires: Wires, centre: NDArray[np.float64], grid: IsotropicGrid, frequency: float
) -> NDArray[np.complex128]:
    return vector_potential(wires, centre, grid, vacuum_wavenumber(frequency))


def _centre(grid: IsotropicGrid) -> NDArray[np.float64]:
    return grid.origin + grid.resolution * (np.array(grid.shape) - 1) / 2


def _rotating(
    body: Body, potential: NDArray[np.complex128], sense: complex
) -> NDArray[np.complex128]:
    """Return `(B_x + sense B_y) / 2` at the cell centres for an incident field."""
    field = body.scatter(potential)
    _LOGGER.info("full-wave solver: %d iterations", field.iterations)
    x, y, _ = faces_to_centres(field.magnetic)
    return (x + sense * y) / 2


def _uncropped(
    values: NDArray[np.complexfloating], box: tuple[slice, ...], shape: tuple[int, int, int]
) -> NDArray[np.complex64]:
    """Insert the values of a box, and of one layer of its margin, into an array of a grid's shape.

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
        Array that is 0 at a distance of more than one voxel from the box.
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


def interpolate(
    fields: CircularFields, source: IsotropicGrid, target: IsotropicGrid
) -> CircularFields:
    """Interpolate fields to a finer grid with cubic splines.

    Parameters
    ----------
    fields
        Fields on the `source` grid.
    source, target
        Grid of the fields, and grid of the result.

    Returns
    -------
    CircularFields
        Fields on the `target` grid; 0 outside the source grid.
    """
    index = [(target.centres(axis) - source.origin[axis]) / source.resolution for axis in range(3)]
    places = np.meshgrid(*index, indexing="ij", sparse=False)

    def spline(values: NDArray[np.complexfloating]) -> NDArray[np.complex64]:
        return ndimage.map_coordinates(values, places, order=3).astype(np.complex64)

    return CircularFields(*map(spline, fields))
