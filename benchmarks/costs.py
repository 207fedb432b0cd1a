"""Operations and bytes of the compiled loops, counted from the source code.

The tables below follow the loops line by line. If you change a loop, update its counts.

- Each addition, subtraction, multiplication, division, square root, minimum, comparison, selection
  or conversion is one operation; a fused multiply-add is two operations. Work that does not depend
  on the lane (offsets and their powers) is not counted, because it is done once for all lanes.
- A byte is counted each time the source reads or writes an array element. The byte is in the
  first-level cache unless the compiler keeps it in a register.
- Only output voxels are counted. Other lanes of a block, between and after the output voxels, are
  not counted.
- Every input volume is read from main memory once, and every output volume is written to main
  memory once. If a kernel reads a value again, the value comes from a cache.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import Part
from benchmarks.head import Head
from bids_qcm.recon import Method

_F4, _F8 = 4, 8


@dataclass(frozen=True)
class Work:
    """Number of operations and bytes.

    Attributes
    ----------
    float32, float64 : float
        Operations on 32-bit and 64-bit numbers. Operations on 32-bit integers count as float32.
    l1 : float
        Bytes that the source code reads and writes.
    memory : float
        Bytes that are read from or written to main memory.
    """

    float32: float = 0
    float64: float = 0
    l1: float = 0
    memory: float = 0

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.float32 + other.float32,
            self.float64 + other.float64,
            self.l1 + other.l1,
            self.memory + other.memory,
        )

    def __mul__(self, times: float) -> Self:
        return type(self)(
            self.float32 * times, self.float64 * times, self.l1 * times, self.memory * times
        )


@dataclass(frozen=True)
class LoopCost:
    """Work of a loop at each nesting level, for one output voxel.

    Attributes
    ----------
    per_pair, per_run, per_plane, per_voxel : Work
        Work for each voxel of the kernel, for each run of voxels along z, for each plane of the
        kernel, and for each output voxel.
    passes : int
        Number of passes over the kernel.
    """

    per_pair: Work
    per_run: Work
    per_plane: Work
    per_voxel: Work
    passes: int = 1


# Number of sums in a fit with 10 terms: 5 + 3 along a run, 21 in a plane, and 45 moments.
_ALONG, _PLANE, _MOMENTS = 8, 21, 45

# Operations for 10 terms: 30 for the scale, 110 for scaled entries, 330 for the products of rows,
# 65 to finish the entries, 10 for the right-hand side, 200 for the two substitutions, and 120 for
# four derivatives. The number of bytes is about the same as for one run and is neglected.
_SOLVE = Work(float64=865)

# Input: phase, support and output voxels. Output: gradient and Laplacian.
_FIT_MEMORY = Work(memory=3 * _F4 + 4 * _F4)

_FIT_BY_LABEL = LoopCost(
    # Weight w: compare, select. Weighted phase v: subtract, multiply, convert. Sums: 2 additions
    # and 6 multiply-adds; the sums of the phase are in float64. The loop reads two volumes at the
    # neighbour and at the centre, writes the weight, and reads the weight twice. For every fourth
    # pair, it reads and writes the sums.
    per_pair=Work(
        float32=2 + 3 + 1 + 4 * 2,
        float64=1 + 2 * 2,
        l1=(2 + 2 + 3) * _F4 + 2 * (5 * _F4 + 3 * _F8) / 4,
    ),
    # The loop sets the sums to 0, adds and subtracts the sums of two runs, and then folds them.
    per_run=Work(
        float64=_ALONG + _PLANE, l1=5 * _F4 + 3 * _F8 + 2 * _ALONG * _F8 + _PLANE * 3 * _F8 / 2
    ),
    per_plane=Work(float64=2 * _MOMENTS, l1=_PLANE * _F8 + _MOMENTS * 3 * _F8),
    per_voxel=_SOLVE + _FIT_MEMORY,
)
_FIT_BY_MAGNITUDE = LoopCost(
    # Weight w: subtract, 2 multiplications, exponential (minimum, multiplication, 6 multiply-adds,
    # 6 multiplications, compare, select), compare, select. Weighted phase v: subtract, multiply.
    # Both are converted to float64. The sums are the same as above, but all are in float64. The
    # loop reads three volumes.
    per_pair=Work(
        float32=3 + (2 + 6 * 2 + 6 + 2) + 2 + 2,
        float64=2 + 2 + 6 * 2,
        l1=(3 + 3 + 3) * _F4 + 2 * _ALONG * _F8 / 4,
    ),
    per_run=Work(float64=_ALONG + _PLANE, l1=3 * _ALONG * _F8 + _PLANE * 3 * _F8 / 2),
    per_plane=Work(float64=2 * _MOMENTS, l1=_PLANE * _F8 + _MOMENTS * 3 * _F8),
    per_voxel=_SOLVE + _FIT_MEMORY + Work(memory=_F4),
)

# The surface integral makes one pass for each axis.
_INTEGRAL_BY_LABEL = LoopCost(
    # The loop subtracts cumulative sums of the steps and of the number of steps, so it reads only
    # the ends of each run.
    per_pair=Work(),
    # For both sums: subtract, add. The loop reads both ends, and reads and writes the sum.
    per_run=Work(float64=2 * 2, l1=2 * 4 * _F8),
    per_plane=Work(),
    # Input: the cumulative sums. Output: the sum and the number of steps.
    per_voxel=Work(float32=1, memory=2 * (_F8 + _F4)),
    passes=3,
)
_INTEGRAL_BY_MAGNITUDE = LoopCost(
    # Test of a pair: 3 comparisons and 3 selections. The loop reads three volumes at the pair and
    # three limits at the centre, and writes the result. Count: 1 addition; the count is read and
    # written. Sum: 1 multiplication and 1 addition. The loop reads both factors; for every fourth
    # pair, it reads and writes the sum.
    per_pair=Work(float32=3 * 2 + 1 + 2, l1=(3 + 3 + 1) * _F4 + 2 * _F4 + 2 * _F4 + 2 * _F4 / 4),
    # The loop sets the sum to 0, converts it to float64 and adds it to the total.
    per_run=Work(float64=2, l1=2 * _F4 + 2 * _F8),
    per_plane=Work(),
    # Input: the steps, the pairs, the support and three magnitudes. Output: the mean step.
    per_voxel=Work(float64=1, memory=(6 + 1) * _F4),
    passes=3,
)

# Minimum number of kernel voxels for which the fit uses Fourier transforms. The transforms are used
# for voxels whose whole ellipsoid is in the mask.
_SMALLEST_STENCIL = 1500


def work_per_pair(part: Part, method: Method, head: Head, radius: float) -> Work:
    """Return the work per pair of an output voxel and a voxel of its ellipsoid.

    Parameters
    ----------
    part : {"fit", "integral"}
        Part of the method.
    method : Method
        Method to count; whether it uses magnitude weights and labels determines which loop runs.
    head : Head
        Head that is reconstructed.
    radius : float
        Radius of the ellipsoid in mm. The kernels of the integral have slightly fewer voxels; the
        difference is neglected.
    """
    kernel = head.kernel(radius)
    if part == "integral":
        by_magnitude = method.uses_magnitude
        return _loop(_INTEGRAL_BY_MAGNITUDE if by_magnitude else _INTEGRAL_BY_LABEL, kernel)
    if method.uses_magnitude:
        return _loop(_FIT_BY_MAGNITUDE, kernel)
    if method.uses_labels or kernel.sum() < _SMALLEST_STENCIL:
        return _loop(_FIT_BY_LABEL, kernel)
    transforms = _fourier(1 if method.integral_radius is None else 4, head, kernel)
    return transforms + _loop(_FIT_BY_LABEL, kernel) * (1 - head.share_of_whole(radius))


def _loop(cost: LoopCost, kernel: NDArray[np.bool_]) -> Work:
    n_pairs = int(kernel.sum())
    n_runs = int(kernel.any(axis=2).sum())
    n_planes = int(kernel.any(axis=(1, 2)).sum())
    once = (
        cost.per_pair * n_pairs + cost.per_run * n_runs + cost.per_plane * n_planes + cost.per_voxel
    )
    return once * (cost.passes / n_pairs)


def _fourier(n_derivatives: int, head: Head, kernel: NDArray[np.bool_]) -> Work:
    """Return the work for the Fourier transforms of mask, phase and stencils, and their inverses.

    A real transform of n numbers takes about 2.5 n log2(n) operations. It reads and writes n/2
    complex numbers along each of the three axes. Memory access within the caches is not counted.
    """
    n = float(np.prod(np.add(head.mask.shape, kernel.shape) - 1))
    n_transforms = 2 + 2 * (1 + n_derivatives)
    once = Work(float64=2.5 * n * math.log2(n), memory=3 * 2 * _F8 * n)
    return once * (n_transforms / (head.n_voxels * int(kernel.sum())))
