"""Finite differences inside a mask."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.kernels import Triple


def fd_laplacian(
    phase: NDArray[np.floating],
    mask: NDArray[np.bool_],
    voxel_size: Triple,
    axes: Sequence[int] = (0, 1, 2),
    convection: NDArray[np.floating] | None = None,
) -> NDArray[np.float32]:
    """Compute the second-order finite-difference Laplacian from the nearest neighbours.

    With `convection` c, the result is ``laplacian(phase) + c . grad(phase)``, where
    :func:`fd_gradient` defines the gradient.

    Parameters
    ----------
    phase : ndarray of float, shape (X, Y, Z)
        Unwrapped phase in rad.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels whose phase may be used.
    voxel_size : tuple of 3 floats
        Voxel size in mm.
    axes : sequence of int
        Axes along which the phase is differentiated.
    convection : ndarray of float, shape (3, X, Y, Z), optional
        Vector field c in 1/m.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        Laplacian in rad/m^2; NaN where the voxel or a neighbour is not in the mask.
    """
    total = _nan_outside(np.zeros(phase.shape), mask)
    for axis in axes:
        # use float64, because most digits of a float32 phase cancel in a second difference
        below, above = _neighbours(phase.astype(np.float64), mask, axis)
        step = voxel_size[axis] * 1e-3
        total += (below - 2 * phase.astype(np.float64) + above) / step**2
        if convection is not None:
            total += convection[axis] * (above - below) / (2 * step)
    return total.astype(np.float32)


def fd_laplacian_std(
    noise: NDArray[np.floating],
    mask: NDArray[np.bool_],
    voxel_size: Triple,
    axes: Sequence[int] = (0, 1, 2),
    convection: NDArray[np.floating] | None = None,
) -> NDArray[np.float32]:
    """Propagate the phase noise to the result of :func:`fd_laplacian`.

    Parameters
    ----------
    noise : ndarray of float, shape (X, Y, Z)
        Standard deviation of the phase in rad. The noise must be independent between voxels.
    mask, voxel_size, axes, convection
        As in :func:`fd_laplacian`.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        Standard deviation in rad/m^2; NaN where the Laplacian is NaN.
    """
    variance = noise.astype(np.float64) ** 2
    squares = [1 / (voxel_size[axis] * 1e-3) ** 2 for axis in axes]
    total = _nan_outside(variance * (2 * sum(squares)) ** 2, mask)
    for axis, square in zip(axes, squares, strict=True):
        below, above = _neighbours(variance, mask, axis)
        if convection is None:
            total += (below + above) * square**2
        else:
            slope = convection[axis] / (2e-3 * voxel_size[axis])
            total += below * (square - slope) ** 2 + above * (square + slope) ** 2
    return np.sqrt(total).astype(np.float32)


def fd_gradient(
    phase: NDArray[np.floating],
    mask: NDArray[np.bool_],
    voxel_size: Triple,
    axes: Sequence[int] = (0, 1, 2),
) -> NDArray[np.float32]:
    """Compute central differences along each axis.

    Parameters
    ----------
    phase, mask, voxel_size, axes
        As in :func:`fd_laplacian`.

    Returns
    -------
    ndarray of float32, shape (3, X, Y, Z)
        Gradient in rad/m. It is 0 along an axis that is not in `axes`. All three components are NaN
        where the voxel or one of its neighbours along `axes` is not in the mask.
    """
    gradient = np.zeros((3, *phase.shape))
    for axis in axes:
        below, above = _neighbours(phase.astype(np.float64), mask, axis)
        gradient[axis] = (above - below) / (2e-3 * voxel_size[axis])
    invalid = ~mask | np.isnan(gradient).any(axis=0)
    gradient[:, invalid] = np.nan
    return gradient.astype(np.float32)


def gradient_of_smooth(
    values: NDArray[np.floating],
    mask: NDArray[np.bool_],
    voxel_size: Triple,
    axes: Sequence[int] = (0, 1, 2),
) -> NDArray[np.float32]:
    """Compute the gradient of smooth, noise-free values at every voxel of a mask.

    Where both neighbours along an axis are in the mask, the component is their central difference.
    Where only one neighbour is in the mask, the component is the difference from this neighbour, so
    that every voxel of the mask has a gradient.

    Parameters
    ----------
    values : ndarray of float, shape (X, Y, Z)
        Values in any unit.
    mask, voxel_size, axes
        As in :func:`fd_laplacian`.

    Returns
    -------
    ndarray of float32, shape (3, X, Y, Z)
        Gradient per metre. It is 0 outside the mask, along an axis that is not in `axes`, and along
        an axis without a neighbour in the mask.

    Examples
    --------
    >>> x = np.arange(4.0)[:, None, None] ** 2
    >>> gradient_of_smooth(x, np.ones(x.shape, bool), (1e3, 1, 1), axes=(0,))[0].ravel()
    array([1., 2., 4., 5.], dtype=float32)
    """
    gradient = np.zeros((3, *values.shape), dtype=np.float32)
    for axis in axes:
        below, above = _neighbours(values.astype(np.float64), mask, axis)
        has_below, has_above = np.isfinite(below), np.isfinite(above)
        rise = np.where(has_above, above, values) - np.where(has_below, below, values)
        steps = has_below.astype(int) + has_above
        length = np.maximum(steps, 1) * voxel_size[axis] * 1e-3
        gradient[axis] = np.where(mask & (steps > 0), rise / length, 0)
    return gradient


def _nan_outside(values: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.where(mask, values, np.nan)


def _neighbours(
    phase: NDArray[np.float64], mask: NDArray[np.bool_], axis: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the values of the lower and the upper neighbour of every voxel.

    The values are NaN where the neighbour is outside the mask or the volume.
    """
    width = [(1, 1) if a == axis else (0, 0) for a in range(3)]
    padded = np.pad(_nan_outside(phase, mask), width, constant_values=np.nan)
    size = phase.shape[axis]
    return padded.take(range(size), axis), padded.take(range(2, size + 2), axis)
