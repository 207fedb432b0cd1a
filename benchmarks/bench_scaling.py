"""Increase in run time with the number of voxels, and speed-up from multiple threads."""

from collections.abc import Callable

import pytest

from benchmarks.cases import RADII, VOXEL_SHARES, Part
from benchmarks.head import Head

_METHOD = "integral-magseg"
_RADIUS = 10.0
"""Radius of the kernels in mm."""

_PARTS = ("fit", "integral")


@pytest.fixture(scope="module")
def quarter(head: Head) -> Head:
    """Return a slab with a quarter of the voxels of the head."""
    return head.slab(0.25)


def _measure_loop(
    measure: Callable, table: str, head: Head, part: Part, radius: float, **threads: int
) -> None:
    head.middle(10).loop(_METHOD, part, 3 * head.voxel_size)()
    support = head.n_support(radius)
    measure(
        table,
        head.loop(_METHOD, part, radius),
        pairs=head.n_voxels * support,
        name=f"{_METHOD} {part}",
        radius=radius,
        voxels=head.n_voxels,
        support=support,
        **threads,
    )


@pytest.mark.parametrize("share", VOXEL_SHARES)
@pytest.mark.parametrize("part", _PARTS)
def bench_output_voxels(part: Part, share: float, head: Head, measure: Callable) -> None:
    """Time a loop on slabs of increasing thickness."""
    _measure_loop(measure, "output voxels", head.slab(share), part, _RADIUS)


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("part", _PARTS)
def bench_support_voxels(part: Part, radius: float, quarter: Head, measure: Callable) -> None:
    """Time a loop with kernels of increasing radius."""
    _measure_loop(measure, "support voxels", quarter, part, radius)


@pytest.mark.parametrize("all_threads", [False, True], ids=["one", "all"])
@pytest.mark.parametrize("part", _PARTS)
def bench_threads(
    part: Part, all_threads: bool, quarter: Head, n_threads: int, measure: Callable
) -> None:
    """Time a loop with one thread, then with all threads."""
    threads = n_threads if all_threads else 1
    _measure_loop(measure, "threads", quarter, part, _RADIUS, threads=threads)
