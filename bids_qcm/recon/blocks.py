"""Blocks of neighbouring voxels, which the compiled loops process together.

A loop over a block has one iteration, called a lane, for each voxel. All lanes run the same
operations on contiguous data, so that the compiler can use vector instructions. Arrays of lanes are
flat and stored row by row. Only the innermost functions use slices: when a slice is passed to
another function, numba counts references to its array, and threads that count references to the
same array wait for each other.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.compiling import compiled

_Scalar = TypeVar("_Scalar", bound=np.generic)

LANES = 64
"""Maximum number of voxels in a block of the fit.

The compiler unrolls shorter loops instead of vectorising them.
"""

_VECTOR = 16

# Number of padding voxels at the end of the last axis. A block can extend 15 voxels beyond the
# volume. Loops that process four voxels of a run at once read up to three voxels beyond the run.
_BEYOND = _VECTOR + 3


def blocks_of(
    support: NDArray[np.int32] | NDArray[np.bool_], most_lanes: int = LANES
) -> NDArray[np.intp]:
    """Cover the support with blocks along the last axis.

    Parameters
    ----------
    support : ndarray of int32 or bool, shape (X, Y, Z)
        Voxels that are not 0 belong to the support.
    most_lanes : int
        Maximum number of lanes in a block; a multiple of 16.

    Returns
    -------
    ndarray of int, shape (n, 5)
        One row for each block: the index (x, y, z) of its first voxel, its number of lanes (a
        multiple of 16, at most `most_lanes`), and the number of support voxels in all earlier
        blocks. A block can extend up to 15 voxels beyond the volume.
    """
    x, y, z = support.shape
    blocks = np.empty((x * y * -(-z // most_lanes), 5), dtype=np.intp)
    return blocks[: _cover(np.ascontiguousarray(support), most_lanes, blocks)]


@compiled()
def _cover(support, most_lanes, blocks):  # noqa: ANN001, ANN202
    """Write the blocks and return their number."""
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
    """Return an array of zeros whose address is a multiple of 64 bytes.

    The widest vector instructions take twice as long when their data crosses such a boundary.
    """
    buffer = np.zeros(size + 64, dtype)
    start = (-buffer.ctypes.data % 64) // buffer.itemsize
    return buffer[start : start + size]


@compiled()
def zeros_for_run(kernel_runs, lanes):  # noqa: ANN001, ANN201
    """Return an array of zeros for the longest run of a kernel plus three voxels.

    The array is flat and has `lanes` numbers for each voxel.
    """
    longest = 0
    for run in range(len(kernel_runs)):
        longest = max(longest, kernel_runs[run, 3] - kernel_runs[run, 2] + 1)
    return aligned((longest + 3) * lanes, np.float32)


def padded(volume: NDArray[_Scalar], margin: tuple[int, int, int]) -> NDArray[_Scalar]:
    """Pad a volume with zeros so that the kernel at any voxel of any block is inside the array.

    Parameters
    ----------
    volume : ndarray, shape (X, Y, Z)
    margin : tuple of 3 ints
        Half widths of the kernel in voxels.

    Returns
    -------
    ndarray, shape (X + 2 mx, Y + 2 my, Z + 2 mz + 19)
        C-contiguous array; voxel (0, 0, 0) of the volume is at index `margin`.
    """
    x, y, z = margin
    return np.pad(np.ascontiguousarray(volume), [(x, x), (y, y), (z, z + _BEYOND)])


def padded_all(
    volumes: Sequence[NDArray[_Scalar]], margin: tuple[int, int, int]
) -> NDArray[_Scalar]:
    """Pad several volumes of the same shape and dtype with :func:`padded`, one at a time.

    Returns
    -------
    ndarray, shape (n, X + 2 mx, Y + 2 my, Z + 2 mz + 19)
    """
    first = padded(volumes[0], margin)
    everywhere = (padded(volume, margin) for volume in volumes)
    return np.fromiter(everywhere, np.dtype((first.dtype, first.shape)), len(volumes))


def reach(kernel: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Return the half widths of a kernel in voxels."""
    x, y, z = (size // 2 for size in kernel.shape)
    return x, y, z
