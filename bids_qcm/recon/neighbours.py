"""Pairs of neighbouring voxels on a grid.

A pair consists of voxel j and its successor j + e_a along axis a. The value of a pair is stored at
j.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Float = TypeVar("_Float", bound=np.floating)

Links = Sequence[NDArray[np.float64]]
"""For each axis a, one number for each pair (j, j + e_a), stored at j.

The last plane of an axis contains 0, because its voxels have no successor.
"""


def neighbours(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the slices of all voxels that have a successor along an axis.

    The second element of the result contains the slices of the successors.
    """
    here, there = [slice(None)] * 3, [slice(None)] * 3
    here[axis], there[axis] = slice(None, -1), slice(1, None)
    return tuple(here), tuple(there)


def differences(values: NDArray[np.float64]) -> Links:
    """Return the value of each pair's first voxel minus the value of its second voxel.

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
    """Return the outflow of each voxel minus its inflow, the adjoint of :func:`differences`.

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


def scatter_to_voxels(first: Links, second: Links) -> NDArray[np.float64]:
    """Sum, at each voxel, the values of all pairs that contain the voxel.

    `first` contains a value for the first voxel of each pair, and `second` contains a value for the
    second voxel.

    Examples
    --------
    >>> none = np.zeros((1, 1, 2))
    >>> first, second = np.array([[[2.0, 0.0]]]), np.array([[[3.0, 0.0]]])
    >>> scatter_to_voxels([none, none, first], [none, none, second])
    array([[[2., 3.]]])
    """
    total = np.zeros(first[0].shape)
    for axis, (at_first, at_second) in enumerate(zip(first, second, strict=True)):
        here, there = neighbours(axis)
        total += at_first
        total[there] += at_second[here]
    return total


def graph_laplacian(links: Links, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``sum_j c_ij (u_i - u_j)`` over the neighbours j of each voxel i, with the links c."""
    return balance([link * step for link, step in zip(links, differences(values), strict=True)])


def sum_of_cells(values: NDArray[_Float], axes: Sequence[int] = (0, 1, 2)) -> NDArray[_Float]:
    """Return the sum over each cell of 2 x 2 x 2 voxels.

    A cell has two voxels along each of the given axes, and one voxel along the other axes. Cells at
    the end of an axis may be incomplete.

    Examples
    --------
    >>> sum_of_cells(np.ones((1, 2, 3)))
    array([[[4., 2.]]])
    """
    for axis in axes:
        values = np.add.reduceat(values, np.arange(0, values.shape[axis], 2), axis=axis)
    return values
