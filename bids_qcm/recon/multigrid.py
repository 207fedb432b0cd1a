"""Multigrid approximation to the inverse of an elliptic operator on the voxels of a mask."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.compiling import LEAF, VECTORISED, compiled
from bids_qcm.recon.neighbours import Links, neighbours, scatter_to_voxels, sum_of_cells
from bids_qcm.recon.pairs import in_planes

# On a grid with at most this many unknowns, the matrix is inverted directly.
_COARSEST = 200

# Weights of two Jacobi sweeps. The factor by which the two sweeps multiply an error is a Chebyshev
# polynomial in the eigenvalue of the matrix divided by its diagonal. Its largest absolute value
# over eigenvalues in [0.5, 2] is minimal; no eigenvalue exceeds 2.
_WEIGHTS = tuple(1 / (1.25 + 0.75 * np.cos(np.pi * k / 4)) for k in (1, 3))


@dataclass(frozen=True, eq=False)
class _Level:
    """One grid of the hierarchy.

    Attributes
    ----------
    links : tuple of 3 ndarrays of float32, shape (X, Y, Z)
        Link between voxel j and its successor along the axis, stored at j; 0 unless both voxels are
        unknowns.
    grounded : ndarray of float32, shape (X, Y, Z)
        Diagonal of the matrix minus the sum of the voxel's links.
    diagonal, inverse : ndarray of float32, shape (X, Y, Z)
        Diagonal of the matrix and its inverse; 0 at voxels that are not unknowns.
    """

    links: tuple[NDArray[np.float32], ...]
    grounded: NDArray[np.float32]
    diagonal: NDArray[np.float32]
    inverse: NDArray[np.float32]

    @property
    def unknown(self) -> NDArray[np.bool_]:
        """Whether each voxel is an unknown."""
        return self.diagonal > 0


class Multigrid:
    """A multigrid V-cycle for ``(A u)_i = sum_j c_ij (u_i - u_j) + e_i u_i`` on a voxel grid.

    Parameters
    ----------
    links : sequence of 3 ndarrays of float64, shape (X, Y, Z)
        Coefficients c for the pairs along each axis; not negative.
    free : ndarray of bool, shape (X, Y, Z)
        Voxels that are unknowns; u is 0 at all other voxels.
    extra : float or ndarray of float64, shape (X, Y, Z)
        Coefficients e; not negative. Where e is 0, each connected part of the unknowns must have a
        link to a voxel that is not an unknown.

    Notes
    -----
    The V-cycle merges cells of 2 x 2 x 2 voxels. Along an axis without links, it does not merge
    voxels, because their values are independent. On each grid, it runs two Jacobi sweeps before the
    coarse-grid correction and two Jacobi sweeps after it. A coarse link is half the sum of the fine
    links that cross the face between the two cells, as if the equation had been discretised on the
    coarse grid.
    """

    def __init__(
        self, links: Links, free: NDArray[np.bool_], extra: float | NDArray[np.float64] = 0.0
    ) -> None:
        between = []
        for axis, link in enumerate(links):
            here, there = neighbours(axis)
            kept = np.zeros(free.shape)
            kept[here] = np.where(free[here] & free[there], link[here], 0)
            between.append(kept)
        to_fixed = scatter_to_voxels(links, links) - scatter_to_voxels(between, between)
        level = _level(between, np.where(free, extra + to_fixed, 0))
        self._levels = [level]
        # if there are no links, voxels may be merged along any axis
        self._axes = tuple(a for a, link in enumerate(between) if link.any()) or (0, 1, 2)
        while self._is_large(level):
            level = _coarser(level, self._axes)
            self._levels.append(level)
        self._coarsest_inverse = np.linalg.pinv(_matrix(level), hermitian=True)

    def _is_large(self, level: _Level) -> bool:
        """Whether a grid is too large for a direct inversion and can be merged further."""
        longest = max(level.diagonal.shape[axis] for axis in self._axes)
        return longest > 1 and int(np.count_nonzero(level.diagonal)) > _COARSEST

    def cycle(self, residual: NDArray[np.floating]) -> NDArray[np.float32]:
        """Apply one V-cycle to a residual, (X, Y, Z).

        The V-cycle is a symmetric approximate inverse of A.
        """
        return self._cycle(0, np.ascontiguousarray(residual, np.float32))

    def _cycle(self, number: int, residual: NDArray[np.float32]) -> NDArray[np.float32]:
        level = self._levels[number]
        if number + 1 == len(self._levels):
            change = np.zeros_like(residual)
            change[level.unknown] = self._coarsest_inverse @ residual[level.unknown]
            return change
        # first sweep, starting from 0
        change = np.float32(_WEIGHTS[0]) * level.inverse * residual
        change = _swept(change, residual, level, _WEIGHTS[1])
        coarse = np.empty(self._levels[number + 1].inverse.shape, np.float32)
        # a cell has 2^power voxels along an axis: two along an axis with links, otherwise one
        powers = tuple(int(axis in self._axes) for axis in range(3))
        in_planes(_restrict, coarse, change, residual, level.links, level.diagonal, powers)
        in_planes(_add_coarse, change, self._cycle(number + 1, coarse), level.diagonal, powers)
        for weight in _WEIGHTS:
            change = _swept(change, residual, level, weight)
        return change


def _level(links: Links, grounded: NDArray[np.floating]) -> _Level:
    # rounding can leave small negative values
    grounded = np.maximum(grounded, 0)
    diagonal = grounded + scatter_to_voxels(links, links)
    inverse = np.divide(1, diagonal, out=np.zeros(diagonal.shape), where=diagonal > 0)
    return _Level(
        tuple(link.astype(np.float32) for link in links),
        grounded.astype(np.float32),
        diagonal.astype(np.float32),
        inverse.astype(np.float32),
    )


def _matrix(level: _Level) -> NDArray[np.float32]:
    """Return A as a dense matrix over the unknowns of a level."""
    number = np.cumsum(level.unknown).reshape(level.unknown.shape) - 1
    matrix = np.diag(level.diagonal[level.unknown])
    for axis, link in enumerate(level.links):
        here, there = neighbours(axis)
        pair = link[here] > 0
        first, second = number[here][pair], number[there][pair]
        matrix[first, second] = matrix[second, first] = -link[here][pair]
    return matrix


def _coarser(fine: _Level, axes: Sequence[int]) -> _Level:
    """Return the next coarser grid, which merges two voxels along each of the given axes."""
    links = []
    for axis, link in enumerate(fine.links):
        # links that start at an odd index cross the face between two cells
        crossing = np.zeros_like(link)
        odd = tuple(slice(1, None, 2) if a == axis else slice(None) for a in range(3))
        crossing[odd] = link[odd]
        links.append(sum_of_cells(crossing, axes) / 2)
    return _level(links, sum_of_cells(fine.grounded, axes))


def _swept(
    change: NDArray[np.float32], residual: NDArray[np.float32], level: _Level, weight: float
) -> NDArray[np.float32]:
    """Run one weighted Jacobi sweep."""
    out = np.empty_like(change)
    share = np.float32(weight)
    in_planes(_sweep, out, change, residual, level.links, level.diagonal, level.inverse, share)
    return out


@compiled(fastmath=VECTORISED, **LEAF)
def _apply_to_row(out, x, y, values, links, diagonal):  # noqa: ANN001, ANN202
    """Write a row of A u.

    Indices along x and y wrap around at the borders, where the links are 0.
    """
    nx, ny, nz = values.shape
    along_x, along_y, along_z = links[0], links[1], links[2][x, y]
    row = values[x, y]
    for z in range(nz):
        out[z] = diagonal[x, y, z] * row[z]
    last, after = (x - 1) % nx, (x + 1) % nx
    for z in range(nz):
        out[z] -= along_x[x, y, z] * values[after, y, z] + along_x[last, y, z] * values[last, y, z]
    last, after = (y - 1) % ny, (y + 1) % ny
    for z in range(nz):
        out[z] -= along_y[x, y, z] * values[x, after, z] + along_y[x, last, z] * values[x, last, z]
    for z in range(nz - 1):
        out[z] -= along_z[z] * row[z + 1]
    for z in range(nz - 1):
        out[z + 1] -= along_z[z] * row[z]


@compiled(fastmath=VECTORISED, **LEAF)
def _sweep(planes, out, values, residual, links, diagonal, inverse, weight):  # noqa: ANN001, ANN202
    for x in planes:
        for y in range(out.shape[1]):
            row = out[x, y]
            _apply_to_row(row, x, y, values, links, diagonal)
            for z in range(len(row)):
                left = residual[x, y, z] - row[z]
                row[z] = values[x, y, z] + weight * inverse[x, y, z] * left


@compiled(fastmath=VECTORISED)
def _restrict(planes, coarse, values, residual, links, diagonal, powers):  # noqa: ANN001, ANN202
    """Write the sum of the remaining residual over each cell."""
    nx, ny, nz = values.shape
    along_x, along_y, along_z = powers
    row = np.empty(nz, values.dtype)
    for plane in planes:
        coarse[plane] = 0
        for x in range(plane << along_x, min((plane + 1) << along_x, nx)):
            for y in range(ny):
                _apply_to_row(row, x, y, values, links, diagonal)
                for z in range(nz):
                    # voxels that are not unknowns do not contribute
                    if diagonal[x, y, z] > 0:
                        coarse[plane, y >> along_y, z >> along_z] += residual[x, y, z] - row[z]


@compiled(fastmath=VECTORISED, **LEAF)
def _add_coarse(planes, values, coarse, diagonal, powers):  # noqa: ANN001, ANN202
    """Add the correction of each cell to the unknowns in this cell."""
    along_x, along_y, along_z = powers
    for x in planes:
        for y in range(values.shape[1]):
            for z in range(values.shape[2]):
                if diagonal[x, y, z] > 0:
                    values[x, y, z] += coarse[x >> along_x, y >> along_y, z >> along_z]
