"""Elliptic equations on the voxels of a mask, solved by conjugate gradients and multigrid."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, cg

from bids_qcm.recon.compiling import LEAF, VECTORISED, compiled, in_threads
from bids_qcm.recon.neighbours import Links, at_both_ends, neighbours, sum_of_cells

# Fewer voxels are not worth threads.
_VOXELS_FOR_THREADS = 500_000

# Fewer unknowns are solved by sweeps alone.
_COARSEST = 300
_COARSEST_SWEEPS = 8

_MAX_ITERATIONS = 300


@dataclass(frozen=True, eq=False)
class _Level:
    """One grid of the hierarchy.

    Attributes
    ----------
    links : tuple of 3 ndarrays of float32, shape (X, Y, Z)
        At j: of j and its successor along the axis, if both are unknown, else 0.
    grounded : ndarray of float32, shape (X, Y, Z)
        What the diagonal has beside the links.
    diagonal, inverse : ndarray of float32, shape (X, Y, Z)
        And its inverse; 0 where nothing is unknown.
    """

    links: tuple[NDArray[np.float32], ...]
    diagonal: NDArray[np.float32]
    inverse: NDArray[np.float32]
    grounded: NDArray[np.float32]


class Multigrid:
    """The operator ``(A u)_i = sum_j c_ij (u_i - u_j) + e u_i`` on a voxel grid, and its inverse.

    Parameters
    ----------
    links : sequence of 3 ndarrays of float64, shape (X, Y, Z)
        c of the pairs along each axis, not negative.
    free : ndarray of bool, shape (X, Y, Z)
        The unknowns; u is 0 elsewhere.
    extra : float
        e, not negative. Where it is 0, each connected part of the unknowns must have a link to a
        voxel that is not one.

    Notes
    -----
    Conjugate gradients with one V-cycle: cells of 2 x 2 x 2, a sweep of red-black Gauss-Seidel down
    and one up. A coarse link is half the sum of the fine ones that cross its face, as if the
    equation had been discretised on the coarse grid.
    """

    def __init__(self, links: Links, free: NDArray[np.bool_], extra: float = 0.0) -> None:
        between = []
        for axis, link in enumerate(links):
            here, there = neighbours(axis)
            kept = np.zeros(free.shape)
            kept[here] = np.where(free[here] & free[there], link[here], 0)
            between.append(kept)
        self.free = free
        self._links = tuple(between)
        self._diagonal = np.where(free, extra + at_both_ends(links, links), 0)
        level = _level(between, self._diagonal - at_both_ends(between, between))
        self._levels = [level]
        while np.count_nonzero(level.diagonal) > _COARSEST and max(level.diagonal.shape) > 2:
            level = _coarser(level)
            self._levels.append(level)

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give A u, (X, Y, Z)."""
        out = np.empty(values.shape)
        _in_planes(_apply, out, values, self._links, self._diagonal)
        return out

    def cycle(self, residual: NDArray[np.floating]) -> NDArray[np.float32]:
        """Give what one V-cycle makes of a residual, (X, Y, Z): a symmetric approximate inverse."""
        return self._cycle(0, np.ascontiguousarray(residual, np.float32))

    def _cycle(self, number: int, residual: NDArray[np.float32]) -> NDArray[np.float32]:
        level = self._levels[number]
        change = np.zeros_like(residual)
        if number + 1 == len(self._levels):
            for _ in range(_COARSEST_SWEEPS):
                _sweep(change, residual, level, (0, 1))
                _sweep(change, residual, level, (1, 0))
            return change
        _sweep(change, residual, level, (0, 1))
        coarse = np.empty(self._levels[number + 1].inverse.shape, np.float32)
        _in_planes(_restrict, coarse, change, residual, level.links, level.diagonal)
        _in_planes(_add_coarse, change, self._cycle(number + 1, coarse), level.diagonal)
        _sweep(change, residual, level, (1, 0))
        return change

    def solve(self, source: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
        """Solve A u = b.

        Parameters
        ----------
        source : ndarray of float64, shape (X, Y, Z)
            b; only that of the unknowns counts.
        tolerance : float
            Of the residual, relative to b.

        Returns
        -------
        ndarray of float64, shape (X, Y, Z)
            0 where u is not unknown.

        Raises
        ------
        RuntimeError
            It did not converge.
        """
        solution, failure = cg(
            volume_operator(self.apply, self.free.shape),
            np.where(self.free, source, 0).ravel(),
            rtol=tolerance,
            maxiter=_MAX_ITERATIONS,
            M=volume_operator(self.cycle, self.free.shape),
        )
        if failure:
            raise RuntimeError(f"an elliptic equation did not converge in {failure} iterations")
        return solution.reshape(self.free.shape)


def volume_operator(
    function: Callable[[NDArray], NDArray], shape: tuple[int, ...]
) -> LinearOperator:
    """Make of a linear function of volumes, (X, Y, Z) or several, what scipy's solvers take."""
    size = int(np.prod(shape))
    return LinearOperator(
        (size, size), lambda values: function(values.reshape(shape)).ravel(), dtype=np.float64
    )


def _level(links: Links, grounded: NDArray[np.floating]) -> _Level:
    # rounding may have left a little less than nothing
    grounded = np.maximum(grounded, 0)
    diagonal = grounded + at_both_ends(links, links)
    inverse = np.divide(1, diagonal, out=np.zeros(diagonal.shape), where=diagonal > 0)
    return _Level(
        tuple(link.astype(np.float32) for link in links),
        diagonal.astype(np.float32),
        inverse.astype(np.float32),
        grounded.astype(np.float32),
    )


def _coarser(fine: _Level) -> _Level:
    """Merge 2 x 2 x 2 voxels into one."""
    links = []
    for axis, link in enumerate(fine.links):
        # those of the second of two voxels cross the face of the cell
        crossing = np.zeros_like(link)
        odd = tuple(slice(1, None, 2) if a == axis else slice(None) for a in range(3))
        crossing[odd] = link[odd]
        links.append(sum_of_cells(crossing) / 2)
    return _level(links, sum_of_cells(fine.grounded))


def _in_planes(loop: Callable, volume: NDArray, *arguments: Any) -> None:  # noqa: ANN401
    """Call ``loop(planes, volume, *arguments)`` for all planes of a volume, if large in threads."""
    planes = np.arange(len(volume))
    if volume.size < _VOXELS_FOR_THREADS:
        loop(planes, volume, *arguments)
    else:
        in_threads(loop, planes, volume, *arguments)


def _sweep(
    change: NDArray[np.float32],
    residual: NDArray[np.float32],
    level: _Level,
    colours: tuple[int, int],
) -> None:
    """Solve for each voxel, with its neighbours as they are: the colours of a board in turn."""
    for colour in colours:
        _in_planes(_sweep_colour, change, residual, level.links, level.inverse, colour)


@compiled(fastmath=VECTORISED, **LEAF)
def _from_neighbours(values, links, x, y, z):  # noqa: ANN001, ANN202
    """Sum what comes over the six links of a voxel."""
    nx, ny, nz = values.shape
    along_x, along_y, along_z = links
    total = along_x[x, y, z] * values[x + 1, y, z] if x + 1 < nx else 0 * values[x, y, z]
    if x > 0:
        total += along_x[x - 1, y, z] * values[x - 1, y, z]
    if y + 1 < ny:
        total += along_y[x, y, z] * values[x, y + 1, z]
    if y > 0:
        total += along_y[x, y - 1, z] * values[x, y - 1, z]
    if z + 1 < nz:
        total += along_z[x, y, z] * values[x, y, z + 1]
    if z > 0:
        total += along_z[x, y, z - 1] * values[x, y, z - 1]
    return total


@compiled(fastmath=VECTORISED)
def _sweep_colour(planes, change, residual, links, inverse, colour):  # noqa: ANN001, ANN202
    for x in planes:
        for y in range(change.shape[1]):
            for z in range((x + y + colour) % 2, change.shape[2], 2):
                if inverse[x, y, z] > 0:
                    total = residual[x, y, z] + _from_neighbours(change, links, x, y, z)
                    change[x, y, z] = total * inverse[x, y, z]


@compiled(fastmath=VECTORISED)
def _apply(planes, out, values, links, diagonal):  # noqa: ANN001, ANN202
    for x in planes:
        for y in range(out.shape[1]):
            for z in range(out.shape[2]):
                out[x, y, z] = 0
                if diagonal[x, y, z] > 0:
                    total = _from_neighbours(values, links, x, y, z)
                    out[x, y, z] = diagonal[x, y, z] * values[x, y, z] - total


@compiled(fastmath=VECTORISED)
def _restrict(planes, coarse, change, residual, links, diagonal):  # noqa: ANN001, ANN202
    """Sum what is left of the residual over each cell."""
    nx, ny, nz = change.shape
    for plane in planes:
        coarse[plane] = 0
        for x in range(2 * plane, min(2 * plane + 2, nx)):
            for y in range(ny):
                for z in range(nz):
                    if diagonal[x, y, z] > 0:
                        left = residual[x, y, z] + _from_neighbours(change, links, x, y, z)
                        left -= diagonal[x, y, z] * change[x, y, z]
                        coarse[plane, y // 2, z // 2] += left


@compiled(fastmath=VECTORISED)
def _add_coarse(planes, change, coarse, diagonal):  # noqa: ANN001, ANN202
    """Add to each unknown what its cell has changed by."""
    for x in planes:
        for y in range(change.shape[1]):
            for z in range(change.shape[2]):
                if diagonal[x, y, z] > 0:
                    change[x, y, z] += coarse[x // 2, y // 2, z // 2]
