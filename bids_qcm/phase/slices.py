"""Phase offsets between slices: half a cycle in every second slice, or a constant in each slice."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

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


def slice_alignment(
    echo: NDArray[np.complexfloating], mask: NDArray[np.bool_], axis: int
) -> NDArray[np.complexfloating]:
    """Return the factors that remove the mean phase difference between neighbouring slices.

    The Laplacian within a slice does not change, because each slice is multiplied by a constant.
    The mean slope and the mean curvature of the phase across slices are lost, so the result is
    suitable only for in-plane kernels.

    Parameters
    ----------
    echo : ndarray of complex, shape (X, Y, Z)
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels whose phase differences are averaged.
    axis : int
        Axis along which slices are stacked.

    Returns
    -------
    ndarray of complex
        One factor of magnitude 1 for each slice. The shape is 1 along the other two axes. The first
        slice is unchanged. Neighbouring slices without a common voxel keep their phase difference.
    """
    slices = np.moveaxis(np.where(mask, echo, 0), axis, 0)
    differences = [np.angle(np.vdot(before, after)) for before, after in pairwise(slices)]
    offsets = np.concatenate([[0.0], np.cumsum(differences)])
    others = tuple(other for other in range(echo.ndim) if other != axis)
    return np.expand_dims(np.exp(-1j * offsets).astype(echo.dtype), others)
