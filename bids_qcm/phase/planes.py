"""Fit of a constant and linear phase, whose Laplacian is zero."""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_qcm.phase.unwrapping import unwrap


class PlaneFit(NamedTuple):
    """Constant and linear phase that best fits a signal.

    Attributes
    ----------
    constant : float
        Constant phase in rad, at the first voxel of the grid.
    gradient : tuple of 3 floats
        Gradient of the linear phase in rad per voxel along each axis.
    plane, angle : ndarray of float, shape (n,)
        Fitted and unwrapped phase of each voxel of the mask, in rad.
    weight : ndarray of float, shape (n,)
        Magnitude of the signal.
    """

    constant: float
    gradient: tuple[float, float, float]
    plane: NDArray[np.float64]
    angle: NDArray[np.floating]
    weight: NDArray[np.floating]


def fit_plane(signal: NDArray[np.complexfloating], mask: NDArray[np.bool_]) -> PlaneFit:
    """Fit a constant and linear phase to a signal, weighted by its magnitude.

    Parameters
    ----------
    signal : ndarray of complex, shape (X, Y, Z)
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels to fit; not empty.

    Returns
    -------
    PlaneFit
    """
    weight = np.abs(signal[mask])
    angle = unwrap(np.angle(signal), mask)[mask]
    columns = np.column_stack([np.ones(angle.size), *np.nonzero(mask)])
    root = np.sqrt(weight)
    solution, *_ = np.linalg.lstsq(columns * root[:, None], angle * root, rcond=None)
    constant, *gradient = solution.tolist()
    return PlaneFit(constant, tuple(gradient), columns @ solution, angle, weight)


def plane_phase(
    constant: float, gradient: Sequence[float], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return a constant and linear phase on a grid, in rad. See `PlaneFit` for the arguments."""
    ramps = (g * np.arange(n) for g, n in zip(gradient, shape, strict=True))
    return (constant + reduce(np.add, np.ix_(*ramps))).astype(np.float32)
