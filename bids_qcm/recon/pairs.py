"""Compiled linear operators that combine differences of neighbouring voxels."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.compiling import LEAF, VECTORISED, compiled, in_threads

# On grids with fewer voxels, threads cost more time than they save. All voxels take the same time,
# so a few parts per thread are sufficient to keep all threads busy.
_VOXELS_FOR_THREADS = 1_000_000
_PARTS_PER_THREAD = 2


class PairOperator:
    """The operator ``(A v)_i = w_i (e_i v_i + sum_a f_i (v_i - v_j) + g_h (v_i - v_h))``.

    j and h are the successor and the predecessor of voxel i along axis a. The coefficients multiply
    differences instead of voxel values, so that the result for a constant is exact even in single
    precision.

    Parameters
    ----------
    forward : iterable of 3 ndarrays of float, shape (X, Y, Z)
        Coefficients f for the pairs along each axis, stored at the first voxel of each pair.
    factor : ndarray of float or bool, shape (X, Y, Z)
        Factor w of the result.
    backward : iterable of 3 ndarrays of float, shape (X, Y, Z), optional
        Coefficients g, stored like f; default: equal to f.
    extra : ndarray of float, shape (X, Y, Z), optional
        Coefficient e of the voxel itself; default: 0.

    Notes
    -----
    The coefficients are stored in single precision. They are converted one after the other, so that
    only one array of a generator of double-precision arrays is in memory at a time.

    Examples
    --------
    >>> none = np.zeros((1, 1, 2))
    >>> pair = [none, none, np.array([[[3.0, 0.0]]])]
    >>> PairOperator(pair, np.ones((1, 1, 2)))(np.array([[[5.0, 1.0]]]))
    array([[[ 12., -12.]]], dtype=float32)
    """

    def __init__(
        self,
        forward: Iterable[NDArray[np.floating]],
        factor: NDArray[np.floating] | NDArray[np.bool_],
        *,
        backward: Iterable[NDArray[np.floating]] | None = None,
        extra: NDArray[np.floating] | None = None,
    ) -> None:
        self._forward = tuple(map(_single, forward))
        self._backward = self._forward if backward is None else tuple(map(_single, backward))
        self._factor = _single(factor)
        self._extra = np.zeros_like(self._factor) if extra is None else _single(extra)

    def with_factor(self, factor: NDArray[np.floating]) -> "PairOperator":
        """Return the operator with another w. Both operators share the memory of e, f and g."""
        return PairOperator(self._forward, factor, backward=self._backward, extra=self._extra)

    def exchanged(self, factor: NDArray[np.floating] | NDArray[np.bool_]) -> "PairOperator":
        """Return the operator with f and g exchanged, another w, and e = 0.

        Both operators share the memory of f and g.
        """
        return PairOperator(self._backward, factor, backward=self._forward)

    def __call__(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return A v, shape (X, Y, Z)."""
        out = np.empty(values.shape, np.float32)
        in_planes(
            _operate, out, _single(values), self._forward, self._backward, self._extra, self._factor
        )
        return out


def _single(volume: NDArray[np.floating] | NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return a volume in single precision; copy it only if its dtype differs."""
    return np.ascontiguousarray(volume, np.float32)


def in_planes(
    loop: Callable[..., None],
    volume: NDArray[np.float32],
    *arguments: Any,  # noqa: ANN401
) -> None:
    """Call ``loop(planes, volume, *arguments)`` for all planes of a volume.

    The planes of a large volume are divided between threads.
    """
    planes = np.arange(len(volume))
    if volume.size < _VOXELS_FOR_THREADS:
        loop(planes, volume, *arguments)
    else:
        in_threads(loop, planes, volume, *arguments, parts_per_thread=_PARTS_PER_THREAD)


@compiled(fastmath=VECTORISED, **LEAF)
def _operate(planes, out, values, forward, backward, extra, factor):  # noqa: ANN001, ANN202
    """Write A v for some planes.

    Indices along x and y wrap around at the borders, where the coefficients are 0.
    """
    nx, ny, nz = values.shape
    for x in planes:
        before_x, after_x = (x - 1) % nx, (x + 1) % nx
        for y in range(ny):
            before_y, after_y = (y - 1) % ny, (y + 1) % ny
            row, found = values[x, y], out[x, y]
            for z in range(nz):
                found[z] = extra[x, y, z] * row[z]
            for z in range(nz):
                found[z] += forward[0][x, y, z] * (row[z] - values[after_x, y, z])
                found[z] += backward[0][before_x, y, z] * (row[z] - values[before_x, y, z])
            for z in range(nz):
                found[z] += forward[1][x, y, z] * (row[z] - values[x, after_y, z])
                found[z] += backward[1][x, before_y, z] * (row[z] - values[x, before_y, z])
            for z in range(nz - 1):
                found[z] += forward[2][x, y, z] * (row[z] - row[z + 1])
            for z in range(nz - 1):
                found[z + 1] += backward[2][x, y, z] * (row[z + 1] - row[z])
            for z in range(nz):
                found[z] *= factor[x, y, z]
