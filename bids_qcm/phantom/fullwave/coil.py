"""A birdcage coil and the vector potential of its currents in free space."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_qcm.phantom.grids import Grid
from bids_qcm.physics import VACUUM_PERMEABILITY

_NODES_PER_RUNG = 16
_NODES_PER_ARC = 4
"""Of Gauss and Legendre: the potential 35 mm from the wire is exact to about 1e-4."""


class Wires(NamedTuple):
    """Elements of thin wires.

    Parameters
    ----------
    positions
        (S, 3), m.
    elements
        Line elements, (S, 3), m.
    currents
        Along the elements, for each of M excitations, (M, S) complex, A.
    """

    positions: NDArray[np.float64]
    elements: NDArray[np.float64]
    currents: NDArray[np.complex128]


@dataclass(frozen=True)
class Birdcage:
    """A birdcage without a shield, its axis along z, driven in quadrature.

    The currents of the rungs are given, `1 A exp(-i phi)` and `1 A exp(+i phi)` at the azimuth phi,
    and those of the end rings follow from Kirchhoff's law: the load does not change them, and no
    charge gathers anywhere.

    Parameters
    ----------
    radius
        m.
    length
        Of the rungs, m.
    rungs
        How many.
    """

    radius: float = 0.14
    length: float = 0.22
    rungs: int = 16

    def wires(self) -> Wires:
        """Return the wires of the coil around the origin.

        Returns
        -------
        Wires
            With two excitations: the first has a B1+ and hardly a B1- at the centre and transmits,
            the second the reverse and receives.
        """
        azimuths = 2 * math.pi / self.rungs * np.arange(self.rungs)
        rung_currents = np.exp(np.array([[-1j], [1j]]) * azimuths)
        # What comes up a rung turns into the arc from this rung to the next one.
        arc_currents = rung_currents.cumsum(axis=1)
        arc_currents -= arc_currents.mean(axis=1, keepdims=True)
        rungs = self._rungs(azimuths)
        top, bottom = (self._arcs(azimuths, end * self.length / 2) for end in (1, -1))
        positions, elements = (
            np.concatenate(parts) for parts in zip(rungs, top, bottom, strict=True)
        )
        currents = [
            np.repeat(rung_currents, _NODES_PER_RUNG, axis=1),
            np.repeat(arc_currents, _NODES_PER_ARC, axis=1),
            np.repeat(-arc_currents, _NODES_PER_ARC, axis=1),
        ]
        return Wires(positions, elements, np.concatenate(currents, axis=1))

    def _rungs(self, azimuths: NDArray) -> tuple[NDArray, NDArray]:
        """Return positions and elements of the rungs."""
        node, weight = np.polynomial.legendre.leggauss(_NODES_PER_RUNG)
        phi, z = np.repeat(azimuths, node.size), np.tile(node, azimuths.size) * self.length / 2
        along = np.tile(weight, azimuths.size) * self.length / 2
        positions = np.stack([self.radius * np.cos(phi), self.radius * np.sin(phi), z], axis=1)
        return positions, np.stack([0 * along, 0 * along, along], axis=1)

    def _arcs(self, azimuths: NDArray, height: float) -> tuple[NDArray, NDArray]:
        """Return positions and elements of one end ring."""
        node, weight = np.polynomial.legendre.leggauss(_NODES_PER_ARC)
        half = math.pi / self.rungs
        phi = (azimuths[:, None] + half * (1 + node)).ravel()
        along = np.tile(weight, azimuths.size) * half * self.radius
        ring = self.radius * np.stack([np.cos(phi), np.sin(phi)], axis=1)
        positions = np.column_stack([ring, np.full(phi.shape, height)])
        tangents = np.column_stack([-np.sin(phi), np.cos(phi), np.zeros(phi.shape)])
        return positions, along[:, None] * tangents


def vector_potential(
    wires: Wires, centre: NDArray[np.float64], grid: Grid, wavenumber: float
) -> NDArray[np.complex128]:
    """Return the retarded vector potential of wires, on the edges of a lattice.

    Parameters
    ----------
    wires
        The currents.
    centre
        Where the origin of the wires is, (3,), mm.
    grid
        The cells.
    wavenumber
        Of free space, rad/m.

    Returns
    -------
    ndarray
        (M, 3, X, Y, Z), T m: `mu0 sum of I dl exp(-i k r) / (4 pi r)`.
    """
    result = np.zeros((len(wires.currents), 3, *grid.shape), np.complex128)
    nodes = [(grid.centres(axis) - grid.resolution / 2 - centre[axis]) * 1e-3 for axis in range(3)]
    for component in range(3):
        axes = list(nodes)
        axes[component] = axes[component] + grid.resolution / 2 * 1e-3
        flowing = wires.elements[:, component] != 0
        positions = wires.positions[flowing]
        moments = (wires.currents * wires.elements[:, component])[:, flowing]
        moments = moments.T * (VACUUM_PERMEABILITY / (4 * math.pi))
        for plane, x in enumerate(axes[0]):  # one at a time, as all pairs do not fit in memory
            r2 = (x - positions[:, 0]) ** 2
            r2 = r2 + (axes[1][:, None, None] - positions[:, 1]) ** 2
            r = np.sqrt(r2 + (axes[2][:, None] - positions[:, 2]) ** 2)
            potential = (np.exp(-1j * wavenumber * r) / r) @ moments
            result[:, component, plane] = np.moveaxis(potential, -1, 0)
    return result
