"""Birdcage coil, array of surface coils, and the vector potential of currents in free space."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_qcm.phantom.grids import IsotropicGrid
from bids_qcm.physics import VACUUM_PERMEABILITY

_NODES_PER_RUNG = 16
_NODES_PER_ARC = 4
"""Number of Gauss-Legendre nodes for each rung and each arc. At a distance of 35 mm from a wire,
the relative error of the potential is about 1e-4."""

_NODES_PER_LEG = 20
_NODES_PER_END = 12
"""Number of Gauss-Legendre nodes for each straight and each curved side of a loop. At a distance of
25 mm from a wire, the relative error of the potential is about 1e-4."""


class Wires(NamedTuple):
    """Line elements of thin wires.

    Parameters
    ----------
    positions
        Positions of the S elements in m, (S, 3).
    elements
        Line elements in m, (S, 3).
    currents
        Currents, in A, along the elements for each of M excitations, (M, S) complex.
    """

    positions: NDArray[np.float64]
    elements: NDArray[np.float64]
    currents: NDArray[np.complex128]


@dataclass(frozen=True)
class Birdcage:
    """Unshielded birdcage coil with its axis along z, driven in quadrature.

    The rung currents are prescribed: `1 A exp(-i phi)` and `1 A exp(+i phi)` at the azimuth phi.
    The end-ring currents follow from Kirchhoff's current law, so that no charge accumulates. The
    load does not change the currents.

    Parameters
    ----------
    radius
        Radius of the coil in m.
    length
        Length of the rungs in m.
    rungs
        Number of rungs.
    """

    radius: float = 0.14
    length: float = 0.22
    rungs: int = 16

    def wires(self) -> Wires:
        """Return the wires of the coil around the origin.

        Returns
        -------
        Wires
            Wires with two excitations. The first excitation is for transmission and produces mainly
            B1+ at the centre. The second excitation is for reception and produces mainly B1-.
        """
        azimuths = 2 * math.pi / self.rungs * np.arange(self.rungs)
        rung_currents = np.exp(np.array([[-1j], [1j]]) * azimuths)
        # By Kirchhoff's law, each rung adds its current to the arc between this rung and the next.
        arc_currents = rung_currents.cumsum(axis=1)
        arc_currents -= arc_currents.mean(axis=1, keepdims=True)
        rungs = _straight_wires(self.radius, azimuths, self.length, _NODES_PER_RUNG)
        half = math.pi / self.rungs
        top, bottom = (
            _arcs(self.radius, azimuths, half, end * self.length / 2, _NODES_PER_ARC)
            for end in (1, -1)
        )
        positions, elements = (
            np.concatenate(parts) for parts in zip(rungs, top, bottom, strict=True)
        )
        currents = [
            np.repeat(rung_currents, _NODES_PER_RUNG, axis=1),
            np.repeat(arc_currents, _NODES_PER_ARC, axis=1),
            np.repeat(-arc_currents, _NODES_PER_ARC, axis=1),
        ]
        return Wires(positions, elements, np.concatenate(currents, axis=1))


@dataclass(frozen=True)
class LoopArray:
    """Array of surface coils: one ring of loops on a cylinder around the z axis.

    Each loop has two straight sides parallel to z and two curved sides. Adjacent loops overlap as
    in a real array, in which the overlap reduces the coupling. Each loop carries a uniform current.

    Parameters
    ----------
    radius
        Radius of the cylinder in m. The maximum distance between the axis and the phantom's head is
        0.105 m.
    length
        Length of the loops along z in m.
    loops
        Number of loops.
    overlap
        Overlap of adjacent loops, as a fraction of the angle between the centres of adjacent loops.
    """

    radius: float = 0.13
    length: float = 0.2
    loops: int = 8
    overlap: float = 0.15

    def wires(self) -> Wires:
        """Return the wires of the array around the origin.

        Returns
        -------
        Wires
            Wires with one excitation for each loop: a current of 1 A in this loop. Inside the loop,
            the magnetic field of the current points away from the axis.
        """
        azimuths = 2 * math.pi / self.loops * np.arange(self.loops)
        half = math.pi / self.loops * (1 + self.overlap)
        # Seen from outside, the current flows counterclockwise: up on the side of larger azimuth.
        sides = [
            (1, _straight_wires(self.radius, azimuths + half, self.length, _NODES_PER_LEG)),
            (-1, _straight_wires(self.radius, azimuths - half, self.length, _NODES_PER_LEG)),
            (1, _arcs(self.radius, azimuths - half, half, -self.length / 2, _NODES_PER_END)),
            (-1, _arcs(self.radius, azimuths - half, half, self.length / 2, _NODES_PER_END)),
        ]
        positions = np.concatenate([places for _, (places, _) in sides])
        elements = np.concatenate([sign * along for sign, (_, along) in sides])
        owner = np.concatenate(
            [
                np.repeat(np.arange(self.loops), nodes)
                for nodes in (_NODES_PER_LEG, _NODES_PER_LEG, _NODES_PER_END, _NODES_PER_END)
            ]
        )
        currents = (owner == np.arange(self.loops)[:, None]).astype(np.complex128)
        return Wires(positions, elements, currents)


def _straight_wires(
    radius: float, azimuths: NDArray[np.floating], length: float, nodes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the positions and line elements of straight wires along z on a cylinder."""
    node, weight = np.polynomial.legendre.leggauss(nodes)
    phi, z = np.repeat(azimuths, nodes), np.tile(node, azimuths.size) * length / 2
    along = np.tile(weight, azimuths.size) * length / 2
    positions = np.stack([radius * np.cos(phi), radius * np.sin(phi), z], axis=1)
    return positions, np.stack([0 * along, 0 * along, along], axis=1)


def _arcs(
    radius: float, starts: NDArray[np.floating], half: float, height: float, nodes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the positions and line elements of arcs on a cylinder.

    The arcs go from the azimuths `starts` to `starts + 2 * half`.
    """
    node, weight = np.polynomial.legendre.leggauss(nodes)
    phi = (starts[:, None] + half * (1 + node)).ravel()
    along = np.tile(weight, starts.size) * half * radius
    ring = radius * np.stack([np.cos(phi), np.sin(phi)], axis=1)
    positions = np.column_stack([ring, np.full(phi.shape, height)])
    tangents = np.column_stack([-np.sin(phi), np.cos(phi), np.zeros(phi.shape)])
    return positions, along[:, None] * tangents


def vector_potential(
    wires: Wires, centre: NDArray[np.float64], grid: IsotropicGrid, wavenumber: float
) -> NDArray[np.complex128]:
    """Compute the retarded vector potential of wires on the edges of a lattice.

    Parameters
    ----------
    wires
        Wires and their currents.
    centre
        Position of the coil centre in grid coordinates, in mm, (3,).
    grid
        Grid of the cells.
    wavenumber
        Wavenumber in free space, in rad/m.

    Returns
    -------
    ndarray
        `mu0 sum of I dl exp(-i k r) / (4 pi r)` in T m for M excitations, (M, 3, X, Y, Z).
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
        # loop over planes, because the distances of all pairs do not fit into memory
        for plane, x in enumerate(axes[0]):
            r2 = (x - positions[:, 0]) ** 2
            r2 = r2 + (axes[1][:, None, None] - positions[:, 1]) ** 2
            r = np.sqrt(r2 + (axes[2][:, None] - positions[:, 2]) ** 2)
            potential = (np.exp(-1j * wavenumber * r) / r) @ moments
            result[:, component, plane] = np.moveaxis(potential, -1, 0)
    return result
