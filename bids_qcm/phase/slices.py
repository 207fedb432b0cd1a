"""Sign flip of every second slice, as in images from General Electric scanners."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def slice_coherence_angle(echoes: Sequence[NDArray[np.complexfloating]], axis: int) -> float:
    """Return the angle of the complex coherence between neighbouring slices.

    Parameters
    ----------
    echoes : sequence of complex ndarrays, shape (X, Y, Z)
    axis : int
        Axis along which slices are stacked.

    Returns
    -------
    float
        Angle in rad over all slice pairs of all echoes; 0 for a single slice.
    """
    coherence = sum(np.vdot(s[:-1], s[1:]) for s in (np.moveaxis(e, axis, 0) for e in echoes))
    return float(np.angle(coherence))


def alternating_axes(echoes: Sequence[NDArray[np.complexfloating]]) -> tuple[int, ...]:
    """Return the axes along which the sign of every second slice is flipped.

    All axes are examined, because images may have been reoriented and the header does not say along
    which axis the slices are stacked. An extra axis is harmless: half a cycle per voxel is a linear
    phase, whose Laplacian is zero.

    Parameters
    ----------
    echoes : sequence of complex ndarrays, shape (X, Y, Z)

    Returns
    -------
    tuple of int
    """
    return tuple(a for a in range(3) if abs(slice_coherence_angle(echoes, a)) > np.pi / 2)


def flip_alternate_slices(
    echo: NDArray[np.complexfloating], axes: Iterable[int]
) -> NDArray[np.complexfloating]:
    """Add pi to the phase of every second slice.

    Parameters
    ----------
    echo : ndarray of complex, shape (X, Y, Z)
    axes : iterable of int
        Axes along which slices are stacked.

    Returns
    -------
    ndarray of complex, shape (X, Y, Z)
    """
    for axis in axes:
        signs = np.where(np.arange(echo.shape[axis]) % 2, -1, 1).astype(echo.real.dtype)
        echo = np.moveaxis(np.moveaxis(echo, axis, -1) * signs, -1, axis)
    return echo
