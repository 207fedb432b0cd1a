"""Run time of the first call in a process."""

from collections.abc import Callable
from operator import itemgetter
from pathlib import Path

import pytest

from benchmarks.cases import COLD_START_TARGET, WARM_START_TARGET
from benchmarks.fresh import run_fresh
from benchmarks.head import Head
from bids_qcm.recon.methods import PUBLISHED

_METHODS = {"integral-magseg": ["integral-magseg"], "ten published methods": list(PUBLISHED)}


@pytest.fixture(scope="module", params=_METHODS)
def methods(request: pytest.FixtureRequest) -> str:
    """Return the name of the group of methods that are called."""
    return request.param


@pytest.fixture(scope="module")
def cache(methods: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an initially empty cache directory for compiled code."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def start(
    methods: str,
    small_head: Head,
    saved: Callable[[Head], Path],
    n_threads: int,
    measure: Callable,
) -> Callable[..., None]:
    """Return a function that times a first call with additional environment variables."""

    def run(cache: str, *, target: float | None = None, times: int = 1, **environment: str) -> None:
        def start_once() -> dict[str, float]:
            return run_fresh(
                saved(small_head),
                _METHODS[methods],
                n_threads=n_threads,
                radius=3 * small_head.voxel_size,
                environment=environment,
            )

        def start() -> dict[str, float]:
            return min((start_once() for _ in range(times)), key=itemgetter("calls"))

        measure("start", start, name=methods, cache=cache, target=target)

    return run


def bench_empty_cache(start: Callable[..., None], cache: Path) -> None:
    """Time a first call when no code has been compiled yet."""
    start("empty", target=COLD_START_TARGET, NUMBA_CACHE_DIR=str(cache))


def bench_warm_cache(start: Callable[..., None], cache: Path) -> None:
    """Time a first call when an earlier process has made the same call."""
    start("warm", target=WARM_START_TARGET, times=3, NUMBA_CACHE_DIR=str(cache))


def bench_no_cache(start: Callable[..., None]) -> None:
    """Time a first call that cannot write to the cache.

    The cache directory would be inside a file, and numba is not allowed to choose another
    directory.
    """
    start(
        "not writable",
        NUMBA_CACHE_DIR="/dev/null/cache",
        NUMBA_CACHE_LOCATOR_CLASSES="UserProvidedCacheLocator",
    )
