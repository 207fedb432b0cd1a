"""Voxels and their successors along each axis of a grid."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Links = Sequence[NDArray[np.float64]]
"""A number for each pair (j, j + e_a), at j, along each axis a; 0 in the last plane, of no pair."""


def neighbours(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Give the part of a volume whose voxels have a successor along an axis, and the successors."""
    here, there = [slice(None)] * 3, [slice(None)] * 3
    here[axis], there[axis] = slice(None, -1), slice(1, None)
    return tuple(here), tuple(there)


def differences(values: NDArray[np.float64]) -> Links:
    """Give each pair the value of its first voxel less that of its second.

    Examples
    --------
    >>> differences(np.array([[[1.0, 4.0]]]))[2]
    array([[[-3.,  0.]]])
    """
    found = []
    for axis in range(3):
        here, there = neighbours(axis)
        difference = np.zeros(values.shape)
        np.subtract(values[here], values[there], out=difference[here])
        found.append(difference)
    return found


def balance(fluxes: Links) -> NDArray[np.float64]:
    """Give each voxel what flows out of it less what flows in: the adjoint of the differences.

    Examples
    --------
    >>> none = np.zeros((1, 1, 2))
    >>> balance([none, none, np.array([[[5.0, 0.0]]])])
    array([[[ 5., -5.]]])
    """
    total = np.zeros(fluxes[0].shape)
    for axis, flux in enumerate(fluxes):
        here, there = neighbours(axis)
        total += flux
        total[there] -= flux[here]
    return total


def at_both_ends(first: Links, second: Links) -> NDArray[np.float64]:
    """Sum at each voxel what its pairs have for their first and for their second voxel.

    Examples
    --------
    >>> none = np.zeros((1, 1, 2))
    >>> at_both_ends([none, none, np.array([[[2.0, 0.0]]])], [none, none, np.array([[[3.0, 0.0]]])])
    array([[[2., 3.]]])
    """
    total = np.zeros(first[0].shape)
    for axis, (at_first, at_second) in enumerate(zip(first, second, strict=True)):
        here, there = neighbours(axis)
        total += at_first
        total[there] += at_second[here]
    return total


def through(links: Links, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Balance the fluxes that differences drive through links: ``sum_j c_ij (u_i - u_j)``."""
    return balance([link * step for link, step in zip(links, differences(values), strict=True)])


def sum_of_cells(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Sum over cells of 2 x 2 x 2 voxels, those at the end cut off.

    Examples
    --------
    >>> sum_of_cells(np.ones((1, 2, 3)))
    array([[[4., 2.]]])
    """
    for axis in range(3):
        values = np.add.reduceat(values, np.arange(0, values.shape[axis], 2), axis=axis)
    return values
