"""What the compiled loops have to do, counted from their source.

The tables below follow the loops line by line; whoever changes a loop counts again.

- An addition, subtraction, multiplication, division, square root, minimum, comparison, selection or
  conversion is one operation, and a fused multiply-add is two. What does not depend on the lane
  (offsets, their powers) is not counted: it is done once for all lanes.
- A byte is counted each time that the source reads or writes an element of an array. It is in the
  first-level cache unless the compiler keeps it in a register.
- Only output voxels count, not the lanes of a block between and behind them.
- Main memory has to give every input volume once and take every output once; what a kernel reads
  again comes from the caches.
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
    """Operations and bytes.

    Attributes
    ----------
    float32, float64 : float
        Operations on numbers of either width; integers of 32 bits count as float32.
    l1 : float
        Bytes read and written in the source.
    memory : float
        Bytes that main memory has to give or take.
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
    """Work of a loop at each of its depths, for one output voxel.

    Attributes
    ----------
    per_pair, per_run, per_plane, per_voxel : Work
        For each voxel of the kernel, each run of it along z, each of its planes, and once.
    passes : int
        How often the kernel is gone through.
    """

    per_pair: Work
    per_run: Work
    per_plane: Work
    per_voxel: Work
    passes: int = 1


# Sums of the fit: 5 + 3 along a run, 21 in a plane, 45 moments; then 10 terms.
_ALONG, _PLANE, _MOMENTS = 8, 21, 45

# For 10 terms: 30 for the scale, 110 scaled entries, 330 in the products of rows, 65 to finish the
# entries, 10 for the right-hand side, 200 for the two substitutions, 120 for four derivatives.
# Its bytes, about those of one run, are left out.
_SOLVE = Work(float64=865)

# Input: phase, support, wanted. Output: gradient and Laplacian.
_FIT_MEMORY = Work(memory=3 * _F4 + 4 * _F4)

_FIT_BY_LABEL = LoopCost(
    # w: compare, select; v: subtract, multiply, convert; sums: 2 additions, 6 multiply-adds, those
    # of the phase in float64. Reads two volumes around, the same two at the centre; writes the
    # weight and reads it twice; reads and writes the sums for every fourth pair.
    per_pair=Work(
        float32=2 + 3 + 1 + 4 * 2,
        float64=1 + 2 * 2,
        l1=(2 + 2 + 3) * _F4 + 2 * (5 * _F4 + 3 * _F8) / 4,
    ),
    # The sums set to 0; of two runs, added and subtracted, then folded.
    per_run=Work(
        float64=_ALONG + _PLANE, l1=5 * _F4 + 3 * _F8 + 2 * _ALONG * _F8 + _PLANE * 3 * _F8 / 2
    ),
    per_plane=Work(float64=2 * _MOMENTS, l1=_PLANE * _F8 + _MOMENTS * 3 * _F8),
    per_voxel=_SOLVE + _FIT_MEMORY,
)
_FIT_BY_MAGNITUDE = LoopCost(
    # w: subtract, 2 multiplications, exponential (minimum, multiplication, 6 multiply-adds,
    # 6 multiplications, compare, select), compare, select; v: subtract, multiply; both converted.
    # Sums as above, in float64; three volumes.
    per_pair=Work(
        float32=3 + (2 + 6 * 2 + 6 + 2) + 2 + 2,
        float64=2 + 2 + 6 * 2,
        l1=(3 + 3 + 3) * _F4 + 2 * _ALONG * _F8 / 4,
    ),
    per_run=Work(float64=_ALONG + _PLANE, l1=3 * _ALONG * _F8 + _PLANE * 3 * _F8 / 2),
    per_plane=Work(float64=2 * _MOMENTS, l1=_PLANE * _F8 + _MOMENTS * 3 * _F8),
    per_voxel=_SOLVE + _FIT_MEMORY + Work(memory=_F4),
)

# Each axis is a pass.
_INTEGRAL_BY_LABEL = LoopCost(
    # Differences of cumulative sums, of the steps and of their number: what is in the kernel
    # between the ends of a run does not matter.
    per_pair=Work(),
    # Each: subtract, add; reads both ends; reads and writes the sum.
    per_run=Work(float64=2 * 2, l1=2 * 4 * _F8),
    per_plane=Work(),
    # Input: the cumulative sums. Output: sum and number.
    per_voxel=Work(float32=1, memory=2 * (_F8 + _F4)),
    passes=3,
)
_INTEGRAL_BY_MAGNITUDE = LoopCost(
    # Inside or not: 3 comparisons, 3 selections, reading three volumes around and three limits at
    # the centre, written; the number: an addition, read and written. The sum: a multiplication and
    # an addition, reading both factors, and the sum read and written for every fourth pair.
    per_pair=Work(float32=3 * 2 + 1 + 2, l1=(3 + 3 + 1) * _F4 + 2 * _F4 + 2 * _F4 + 2 * _F4 / 4),
    # The sum set to 0, then converted and added to the total.
    per_run=Work(float64=2, l1=2 * _F4 + 2 * _F8),
    per_plane=Work(),
    # Input: step, pair, support, three magnitudes. Output: the mean step.
    per_voxel=Work(float64=1, memory=(6 + 1) * _F4),
    passes=3,
)

# The fit goes by Fourier transforms where the whole ellipsoid is in the mask, if it is large.
_SMALLEST_STENCIL = 1500


def work_per_pair(part: Part, method: Method, head: Head, radius: float) -> Work:
    """Give the work per output voxel and voxel of the ellipsoid.

    Parameters
    ----------
    part : {"fit", "integral"}
        Which part of the method.
    method : Method
        What preserves edges decides which loop is taken.
    head : Head
        What is mapped.
    radius : float
        Of the ellipsoid, in mm. The integral's kernels lack a few of its voxels; that is neglected.
    """
    kernel = head.kernel(radius)
    if part == "integral":
        by_magnitude = method.uses_magnitude
        return _loop(_INTEGRAL_BY_MAGNITUDE if by_magnitude else _INTEGRAL_BY_LABEL, kernel)
    if method.uses_magnitude:
        return _loop(_FIT_BY_MAGNITUDE, kernel)
    if method.uses_labels or kernel.sum() < _SMALLEST_STENCIL:
        return _loop(_FIT_BY_LABEL, kernel)
    transforms = _fourier(4 if method.form == "integral" else 1, head, kernel)
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
    """Count the transforms of mask, phase and stencils, and of what comes back.

    A real transform of n numbers takes about 2.5 n log2(n) operations, and reads and writes its
    n/2 complex numbers along each of three axes. What it does in the caches is not counted.
    """
    n = float(np.prod(np.add(head.mask.shape, kernel.shape) - 1))
    n_transforms = 2 + 2 * (1 + n_derivatives)
    once = Work(float64=2.5 * n * math.log2(n), memory=3 * 2 * _F8 * n)
    return once * (n_transforms / (head.n_voxels * int(kernel.sum())))
