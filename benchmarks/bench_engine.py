"""Time and memory of the methods and of their compiled loops."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.cases import (
    CASES,
    INVERSION_CASES,
    MEMORY_CASES,
    PUBLISHED_CASES,
    Case,
    Part,
)
from benchmarks.costs import work_per_pair
from benchmarks.fresh import run_fresh
from benchmarks.hardware import Peaks
from benchmarks.head import Head
from benchmarks.traffic import count_traffic
from bids_qcm.recon import METHODS

_LOOPS = [
    pytest.param(case, part, radius, id=f"{case.name}-{part}")
    for case in CASES
    if not case.uncertainty
    for part, radius in case.loops()
]


def _names(cases: tuple[Case, ...]) -> list[str]:
    return [case.name for case in cases]


@pytest.mark.parametrize("case", CASES, ids=_names(CASES))
def bench_method(
    case: Case, head: Head, small_head: Head, n_threads: int, measure: Callable
) -> None:
    """Time the reconstruction of conductivity from phi0 with one method."""
    radii = {"fit_radius": case.fit_radius, "integral_radius": case.integral_radius}

    def run(volumes: Head, **options: float) -> None:
        noise = volumes.noise() if case.uncertainty else {}
        volumes.reconstruct(case.method, n_threads=n_threads, **noise, **options)

    run(small_head, fit_radius=3 * head.voxel_size, integral_radius=3 * head.voxel_size)
    supports = [head.n_support(radius) for _, radius in case.loops()]
    measure(
        "methods",
        lambda: run(head, **radii),
        pairs=head.n_voxels * sum(supports),
        name=case.name,
        published=case in PUBLISHED_CASES,
        uncertainty=case.uncertainty,
        radii=[radius for _, radius in case.loops()],
        voxels=head.n_voxels,
    )


@pytest.mark.parametrize(("case", "part", "radius"), _LOOPS)
def bench_loop(
    case: Case,
    part: Part,
    radius: float,
    head: Head,
    small_head: Head,
    peaks: Peaks,
    measure: Callable,
) -> None:
    """Time only the fit or only the surface integral of a method."""
    small_head.loop(case.method, part, 3 * head.voxel_size)()
    work = work_per_pair(part, METHODS[case.method], head, radius)
    measure(
        "loops",
        head.loop(case.method, part, radius),
        pairs=head.n_voxels * head.n_support(radius),
        name=case.name,
        part=part,
        radius=radius,
        support=head.n_support(radius),
        target=case.target(part),
        float32=work.float32,
        float64=work.float64,
        l1=work.l1,
        memory=work.memory,
        least=peaks.seconds(work),
    )


@pytest.mark.parametrize("case", INVERSION_CASES, ids=_names(INVERSION_CASES))
def bench_inversion(
    case: Case, head: Head, small_head: Head, peaks: Peaks, measure: Callable
) -> None:
    """Time an inversion and count the bytes that its loops read and write."""
    options = {"uncertainty": case.uncertainty}
    small_head.reconstruct(case.method, **small_head.noise(), **options)

    def run() -> dict[str, float]:
        with count_traffic() as traffic:
            head.reconstruct(case.method, **head.noise(), **options)
        return {"loops": traffic.loops, "bytes": traffic.volume}

    measure(
        "inversions",
        run,
        name=case.name,
        voxels=head.n_voxels,
        target=case.whole_target,
        bandwidth=peaks.memory,
    )


@pytest.mark.parametrize("case", MEMORY_CASES, ids=_names(MEMORY_CASES))
def bench_memory(
    case: Case, head: Head, saved: Callable[[Head], Path], n_threads: int, measure: Callable
) -> None:
    """Measure the resident memory of a process that reconstructs the head once."""
    measure(
        "memory",
        lambda: run_fresh(
            saved(head), [case.method], n_threads=n_threads, uncertainty=case.uncertainty
        ),
        name=case.name,
    )
