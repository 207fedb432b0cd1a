"""Measure the peak performance of this machine."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from benchmarks.costs import Work
from bids_qcm.recon.compiling import VECTORISED

# Number of multiply-adds for each load and store. A shorter chain would be limited by memory
# access, and a longer chain would be limited by latency.
_CHAIN = 8

_PAGE, _SHIFT = 4096, 1344
"""Size of a page, and shift between rows, in bytes.

Without the shift, all rows would start at the same offset in a page, so that reads from one row
would wait for writes to another row.
"""

_L1_PAGES, _L2_PAGES, _MEMORY_PAGES = 1, 15, 16384
"""Number of pages in a row. Three rows occupy 16 kB, 0.2 MB and 200 MB."""

_ROUND_BYTES = 3e8
"""Bytes that one timed call reads and writes; each row is processed at least twice."""

_TRY_FOR = 0.7
"""Duration of the measurement of each peak, in s."""


@dataclass(frozen=True)
class Peaks:
    """Peak performance of all threads together, per second of processor time.

    Time that other programs use is not counted.

    Attributes
    ----------
    n_threads : int
        Number of threads.
    float32, float64 : float
        Operations per second; a fused multiply-add is two operations.
    l1, l2, memory : float
        Bytes per second that ``a = b + s c`` reads and writes, if the rows fit into the first-level
        cache, the second-level cache or only main memory.
    """

    n_threads: int
    float32: float
    float64: float
    l1: float
    l2: float
    memory: float

    def seconds(self, work: Work) -> dict[str, float]:
        """Return the shortest possible time in seconds that some work takes on each resource."""
        return {
            "operations": work.float32 / self.float32 + work.float64 / self.float64,
            "l1": work.l1 / self.l1,
            "memory": work.memory / self.memory,
        }


def measure_peaks(n_threads: int) -> Peaks:
    """Measure the peak performance of this machine; this takes a few seconds."""
    return Peaks(
        n_threads=n_threads,
        float32=_peak_operations(np.float32, n_threads),
        float64=_peak_operations(np.float64, n_threads),
        l1=_peak_bandwidth(_L1_PAGES, n_threads),
        l2=_peak_bandwidth(_L2_PAGES, n_threads),
        memory=_peak_bandwidth(_MEMORY_PAGES, n_threads),
    )


def _peak_operations(precision: type[np.floating], n_threads: int) -> float:
    rows = np.ones((n_threads, 1024), dtype=precision)
    factor, term = precision(0.999), precision(0.001)
    repeats = 40_000
    rate = _calls_per_second(
        lambda thread: _multiply_add(rows[thread], factor, term, repeats), n_threads
    )
    return rate * 2 * _CHAIN * rows.shape[1] * repeats


def _peak_bandwidth(n_pages: int, n_threads: int) -> float:
    n_bytes = n_pages * _PAGE + _SHIFT
    rows = _aligned(n_threads * 3 * n_bytes).view(np.float32).reshape(n_threads, 3, -1)
    repeats = max(2, int(_ROUND_BYTES / (3 * n_bytes)))
    rate = _calls_per_second(
        lambda thread: _triad(*rows[thread], np.float32(0.5), repeats), n_threads
    )
    return rate * 3 * n_bytes * repeats


def _aligned(n_bytes: int, boundary: int = 64) -> NDArray[np.uint8]:
    """Return an array of zeros that is aligned with a cache line."""
    spare = np.zeros(n_bytes + boundary, dtype=np.uint8)
    first = -spare.ctypes.data % boundary
    return spare[first : first + n_bytes]


def _calls_per_second(call: Callable[[int], None], n_threads: int) -> float:
    """Return the sum of the best call rates of all threads, which call a function concurrently."""

    def rate(thread: int) -> float:
        seconds = []
        end = time.perf_counter() + _TRY_FOR
        while time.perf_counter() < end:
            start = time.thread_time()
            call(thread)
            seconds.append(time.thread_time() - start)
        return 1 / min(seconds)

    call(0)  # compiles
    with ThreadPoolExecutor(n_threads) as pool:
        return sum(pool.map(rate, range(n_threads)))


@numba.njit(nogil=True, fastmath=VECTORISED)
def _multiply_add(row, factor, term, repeats):  # noqa: ANN001, ANN202
    """Apply a chain of multiply-adds to every number in a row; the chain runs in registers."""
    for _ in range(repeats):
        for i in range(row.size):
            value = row[i]
            for _ in range(_CHAIN):
                value = value * factor + term
            row[i] = value


@numba.njit(nogil=True, fastmath=VECTORISED)
def _triad(a, b, c, factor, repeats):  # noqa: ANN001, ANN202
    for _ in range(repeats):
        for i in range(a.size):
            a[i] = b[i] + factor * c[i]
