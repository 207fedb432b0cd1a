"""What the compiled loops have to do, counted from their source.

The tables below follow the loops line by line; whoever changes a loop counts again.

- An addition, subtraction, multiplication, division, square root, minimum, comparison, selection or
  conversion is one operation, and a fused multiply-add is two. What does not depend on the lane
  (offsets, their powers) is not counted: it is done once for all lanes.
- A byte is counted each time that the source reads or writes an element of an array. It is in the
  first-level cache unless the compiler keeps it in a register.
- Main memory has to give every input volume once and take every output once; what a kernel reads
  again comes from the caches.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import Part

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

# _solve, for 10 terms: 30 for the scale, 110 scaled entries, 330 in the products of rows, 65 to
# finish the entries, 10 for the right-hand side, 200 for the two substitutions, 9 for the results.
# Its bytes, about those of one run, are left out.
_SOLVE = Work(float64=754)

# Input: phase, support, wanted. Output: six derivatives.
_FIT_MEMORY = Work(memory=3 * _F4 + 6 * _F4)

_COSTS: dict[tuple[Part, bool], LoopCost] = {
    ("fit", False): LoopCost(
        # w: compare, select; v: subtract, multiply; sums: 2 additions, 6 multiply-adds.
        # Reads two volumes around, the same two at the centre; reads and writes the sums.
        per_pair=Work(float32=2 + 2 + 2 + 6 * 2, l1=(2 + 2) * _F4 + 2 * _ALONG * _F4),
        # The sums set to 0, then converted and folded.
        per_run=Work(float64=3 * _PLANE, l1=_ALONG * _F4 + _PLANE * (_F4 + 2 * _F8)),
        per_plane=Work(float64=2 * _MOMENTS, l1=_PLANE * _F8 + _MOMENTS * 3 * _F8),
        per_voxel=_SOLVE + _FIT_MEMORY,
    ),
    ("fit", True): LoopCost(
        # w: subtract, 2 multiplications, exponential (minimum, multiplication, 6 multiply-adds,
        # 6 multiplications), compare, select; v: subtract, multiply; both converted.
        # Sums as above, in float64; three volumes.
        per_pair=Work(
            float32=3 + (2 + 6 * 2 + 6) + 2 + 2,
            float64=2 + 2 + 6 * 2,
            l1=(3 + 3) * _F4 + 2 * _ALONG * _F8,
        ),
        per_run=Work(float64=2 * _PLANE, l1=_ALONG * _F8 + _PLANE * 3 * _F8),
        per_plane=Work(float64=2 * _MOMENTS, l1=_PLANE * _F8 + _MOMENTS * 3 * _F8),
        per_voxel=_SOLVE + _FIT_MEMORY + Work(memory=_F4),
    ),
    # Each axis is a pass.
    ("integral", False): LoopCost(
        # Compare, select; multiply-add, addition. Reads step and label around, the label at the
        # centre; reads and writes sum and count.
        per_pair=Work(float32=2 + 2 + 1, l1=(2 + 1) * _F4 + 2 * 2 * _F4),
        # The sum set to 0, then converted and added to the total.
        per_run=Work(float64=2, l1=2 * _F4 + 2 * _F8),
        per_plane=Work(),
        # Input: step, label, support. Output: the mean step.
        per_voxel=Work(float64=1, memory=(3 + 1) * _F4),
        passes=3,
    ),
    ("integral", True): LoopCost(
        # As above, with two more comparisons, selections, volumes and limits.
        per_pair=Work(float32=5 + 2 * 2, l1=(3 + 4) * _F4 + 2 * 2 * _F4),
        per_run=Work(float64=2, l1=2 * _F4 + 2 * _F8),
        per_plane=Work(),
        per_voxel=Work(float64=1, memory=(3 + 3 + 1) * _F4),
        passes=3,
    ),
}


def work_per_pair(part: Part, weighted: bool, kernel: NDArray[np.bool_]) -> Work:
    """Give the work per output voxel and voxel of the kernel.

    Parameters
    ----------
    part : {"fit", "integral"}
        Which loop.
    weighted : bool
        Whether the magnitude preserves edges.
    kernel : ndarray of bool, shape (2 hx + 1, 2 hy + 1, 2 hz + 1)
        The ellipsoid. The integral's kernels lack a few of its voxels, which is neglected.
    """
    cost = _COSTS[part, weighted]
    n_pairs = int(kernel.sum())
    n_runs = int(kernel.any(axis=2).sum())
    n_planes = int(kernel.any(axis=(1, 2)).sum())
    once = (
        cost.per_pair * n_pairs + cost.per_run * n_runs + cost.per_plane * n_planes + cost.per_voxel
    )
    return once * (cost.passes / n_pairs)
