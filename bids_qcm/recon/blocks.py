"""Blocks of neighbouring voxels, which the compiled loops work on at once.

A loop over the voxels of a block has one iteration per lane, all lanes do the same, and what they
read is contiguous: that is what a compiler turns into vector instructions. Arrays of lanes are
flat, row after row, and slices are taken in the innermost functions only: where a slice is passed
on, numba counts its references, and threads that count those of one array wait on each other.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.compiling import compiled

LANES = 64
"""Voxels in a block. The compiler unrolls shorter loops instead of vectorising them."""

_VECTOR = 16

# Loops that take four voxels of a run at once read up to three beyond its end.
_BEYOND = _VECTOR + 3


def blocks_of(support: NDArray, most_lanes: int = LANES) -> NDArray[np.intp]:
    """Cover the support with blocks along the last axis.

    Parameters
    ----------
    support : ndarray of int32 or bool, shape (X, Y, Z)
    most_lanes : int
        A multiple of 16.

    Returns
    -------
    ndarray of int, shape (n, 5)
        Index of each block's first voxel; its number of lanes, a multiple of 16 up to
        `most_lanes`; and how many voxels of the support come before it. A block may reach up to 15
        voxels beyond the volume.
    """
    x, y, z = support.shape
    blocks = np.empty((x * y * -(-z // most_lanes), 5), dtype=np.intp)
    return blocks[: _cover(np.ascontiguousarray(support), most_lanes, blocks)]


@compiled()
def _cover(support, most_lanes, blocks):  # noqa: ANN001, ANN202
    """Write the blocks and return how many there are."""
    n_blocks = n_before = 0
    for x in range(support.shape[0]):
        for y in range(support.shape[1]):
            z = 0
            while z < support.shape[2]:
                if support[x, y, z] == 0:
                    z += 1
                    continue
                last = min(z + most_lanes, support.shape[2]) - 1
                while support[x, y, last] == 0:
                    last -= 1
                vectors = (last - z) // _VECTOR + 1
                blocks[n_blocks] = x, y, z, vectors * _VECTOR, n_before
                n_blocks += 1
                while z <= last:
                    n_before += support[x, y, z] != 0
                    z += 1
    return n_blocks


@compiled()
def aligned(size, dtype):  # noqa: ANN001, ANN201
    """Make an array of zeros at an address that is a multiple of 64.

    The widest vector instructions take twice as long where they cross such a boundary.
    """
    buffer = np.zeros(size + 64, dtype)
    start = (-buffer.ctypes.data % 64) // buffer.itemsize
    return buffer[start : start + size]


@compiled()
def room_for_run(kernel_runs, lanes):  # noqa: ANN001, ANN201
    """Make room for a number for each voxel of any run, and of three voxels more."""
    longest = 0
    for run in range(len(kernel_runs)):
        longest = max(longest, kernel_runs[run, 3] - kernel_runs[run, 2] + 1)
    return aligned((longest + 3) * lanes, np.float32)


def padded(volume: NDArray, margin: tuple[int, int, int]) -> NDArray:
    """Surround a volume with zeros, so that a kernel at any block stays inside.

    Parameters
    ----------
    volume : ndarray, shape (X, Y, Z)
    margin : tuple of 3 ints
        The kernel's reach in voxels.

    Returns
    -------
    ndarray, shape (X + 2 mx, Y + 2 my, Z + 2 mz + 19)
        C-contiguous; voxel (0, 0, 0) of the volume is at `margin`.
    """
    x, y, z = margin
    return np.pad(np.ascontiguousarray(volume), [(x, x), (y, y), (z, z + _BEYOND)])


def padded_all(volumes: Sequence[NDArray], margin: tuple[int, int, int]) -> NDArray:
    """Surround volumes of one shape and dtype as `padded` does; take them one at a time.

    Returns
    -------
    ndarray, shape (n, X + 2 mx, Y + 2 my, Z + 2 mz + 19)
    """
    first = padded(volumes[0], margin)
    everywhere = (padded(volume, margin) for volume in volumes)
    return np.fromiter(everywhere, np.dtype((first.dtype, first.shape)), len(volumes))


def reach(kernel: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Give a kernel's half widths in voxels."""
    x, y, z = (size // 2 for size in kernel.shape)
    return x, y, z
