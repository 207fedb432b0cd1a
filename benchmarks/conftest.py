"""Command-line options, fixtures, and the final report of the benchmarks."""

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.hardware import Peaks, measure_peaks
from benchmarks.head import Head, make_head
from benchmarks.others import OtherPrograms, wait_for_quiet
from benchmarks.report import Row, report
from bids_qcm.recon.compiling import thread_limit

_ROWS = pytest.StashKey[list[Row]]()
_PEAKS = pytest.StashKey[Peaks]()

_PAIRS_TO_TIME = 4e10
_MOST_ROUNDS = 5

_TARGET_SIZE, _COARSEST = 1, 2
"""Voxel size in mm to which the targets refer, and the smallest published radius in mm."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the command-line options of the benchmarks."""
    group = parser.getgroup("bids_qcm benchmarks")
    group.addoption("--bench-threads", type=int, default=2, help="threads (default: 2)")
    group.addoption(
        "--bench-resolution",
        type=float,
        default=1.0,
        help="voxel size of the head in mm (default: 1, to which the targets refer; 2 is quick)",
    )
    group.addoption(
        "--bench-patience",
        type=float,
        default=0.0,
        help="maximum time to wait for idle processors before each measurement, in s (default: 0)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Check the options and create an empty report."""
    threads = config.getoption("--bench-threads")
    if not 1 <= threads <= os.cpu_count():
        raise pytest.UsageError(
            f"--bench-threads is {threads}, but it must be from 1 to {os.cpu_count()}"
        )
    if not 0 < config.getoption("--bench-resolution") <= _COARSEST:
        raise pytest.UsageError(
            f"--bench-resolution must be at most {_COARSEST} mm, the smallest published radius"
        )
    config.stash[_ROWS] = []


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the tables of the report."""
    if config.stash[_ROWS]:
        terminalreporter.section("bids_qcm benchmarks")
        resolution = config.getoption("--bench-resolution")
        if resolution != _TARGET_SIZE:
            terminalreporter.write_line(
                f"voxels of {resolution:g} mm; the targets apply to voxels of {_TARGET_SIZE} mm"
            )
        for line in report(config.stash[_ROWS], config.stash.get(_PEAKS, None)):
            terminalreporter.write_line(line)


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Add the measured peak performance of the hardware to the JSON file."""
    if _PEAKS in config.stash:
        machine_info["peaks"] = asdict(config.stash[_PEAKS])


@pytest.fixture(scope="session")
def n_threads(pytestconfig: pytest.Config) -> int:
    """Return the number of threads that the command line sets."""
    return pytestconfig.getoption("--bench-threads")


@pytest.fixture(scope="session")
def peaks(pytestconfig: pytest.Config, n_threads: int) -> Peaks:
    """Return the measured peak performance of the hardware."""
    pytestconfig.stash[_PEAKS] = measure_peaks(n_threads)
    return pytestconfig.stash[_PEAKS]


@pytest.fixture(scope="session")
def head(pytestconfig: pytest.Config) -> Head:
    """Return the whole head."""
    return make_head(pytestconfig.getoption("--bench-resolution"))


@pytest.fixture(scope="session")
def small_head(head: Head) -> Head:
    """Return a small cube of the head, on which the loops are compiled quickly."""
    return head.middle(10)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Head], Path]:
    """Return a function that saves a head for another process."""
    folder = tmp_path_factory.mktemp("heads")

    def save(head: Head) -> Path:
        path = folder / f"{head.n_voxels}.npz"
        if not path.exists():
            head.save(path)
        return path

    return save


@pytest.fixture
def measure(
    benchmark: Any,  # noqa: ANN401
    pytestconfig: pytest.Config,
    n_threads: int,
) -> Callable[..., None]:
    """Return a function that times a call and adds a row to a table of the report."""

    def run(
        table: str,
        function: Callable[[], Any],
        *,
        pairs: float | None = None,
        threads: int = n_threads,
        **facts: object,
    ) -> None:
        wait_for_quiet(pytestconfig.getoption("--bench-patience"))
        with thread_limit(threads), OtherPrograms() as others:
            result = benchmark.pedantic(function, rounds=_rounds(pairs), iterations=1)
        if isinstance(result, dict):
            facts |= result
        row = {
            "table": table,
            "seconds": benchmark.stats.stats.median,
            "fastest": benchmark.stats.stats.min,
            "pairs": pairs,
            "processor_seconds": others.own_seconds / benchmark.stats.stats.rounds,
            "threads": threads,
            "others": others.cores,
            **facts,
        }
        benchmark.extra_info.update(row)
        pytestconfig.stash[_ROWS].append(row)

    return run


def _rounds(pairs: float | None) -> int:
    """Return the number of rounds: more for short calls, and one if `pairs` is None."""
    if pairs is None:
        return 1
    return int(min(max(_PAIRS_TO_TIME // max(pairs, 1), 1), _MOST_ROUNDS))
