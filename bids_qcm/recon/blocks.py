"""Blocks of neighbouring voxels, which the compiled loops work on at once.

A loop over the voxels of a block has one iteration per lane, all lanes do the same, and what they
read is contiguous: that is what a compiler turns into vector instructions.
"""

import numpy as np
from numpy.typing import NDArray

LANES = 64
"""Voxels in a block. The compiler unrolls shorter loops instead of vectorising them."""

_VECTOR = 16


def blocks_of(support: NDArray[np.int32]) -> NDArray[np.intp]:
    """Cover the support with blocks along the last axis.

    Parameters
    ----------
    support : ndarray of int32, shape (X, Y, Z)

    Returns
    -------
    ndarray of int, shape (n, 4)
        Index of each block's first voxel, and its number of lanes, a multiple of 16 up to `LANES`.
        A block may reach beyond the volume.
    """
    blocks = []
    for x, y in np.argwhere((support != 0).any(axis=2)):
        inside = np.flatnonzero(support[x, y])
        while inside.size:
            first = inside[0]
            n = np.searchsorted(inside, first + LANES)
            lanes = -(-(inside[n - 1] + 1 - first) // _VECTOR) * _VECTOR
            blocks.append((x, y, first, lanes))
            inside = inside[n:]
    return np.array(blocks, dtype=np.intp).reshape(-1, 4)


def padded(volume: NDArray, margin: tuple[int, int, int]) -> NDArray:
    """Surround a volume with zeros, so that a kernel at any block stays inside.

    Parameters
    ----------
    volume : ndarray, shape (X, Y, Z)
    margin : tuple of 3 ints
        The kernel's reach in voxels.

    Returns
    -------
    ndarray, shape (X + 2 mx, Y + 2 my, Z + 2 mz + LANES)
        C-contiguous; voxel (0, 0, 0) of the volume is at `margin`.
    """
    width = [(m, m + (LANES if axis == 2 else 0)) for axis, m in enumerate(margin)]
    return np.pad(np.ascontiguousarray(volume), width)


def reach(kernel: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Give a kernel's half widths in voxels."""
    x, y, z = (size // 2 for size in kernel.shape)
    return x, y, z
