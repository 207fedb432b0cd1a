"""How the loops of this package are compiled and threaded."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from bids_qcm.recon.code_cache import SourceKeyedCache

VECTORISED = {"reassoc", "contract", "nsz", "arcp", "nnan", "ninf"}
"""Liberties with floating point that vector instructions need; all values must be finite."""

LEAF = {"_nrt": False}
"""For functions that make no array: what they slice is not counted as a reference, which threads
that read the same array would wait on each other for."""

# Parts of the work for each thread: the last to end should not keep the others waiting long.
_PARTS_PER_THREAD = 32


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:  # noqa: ANN401
    """Compile a function with numba, and cache its machine code on disk where possible.

    The compiled function releases the global interpreter lock. Where no cache folder can be written
    (a read-only container without a home), each process compiles the function again.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        dispatcher = numba.njit(nogil=True, **options)(function)
        # numba has no public way to choose the cache
        with suppress(RuntimeError, OSError):
            dispatcher._cache = SourceKeyedCache(function)
        return dispatcher

    return decorate


def in_threads(
    loop: Callable[..., None],
    items: NDArray[Any],
    *arguments: Any,  # noqa: ANN401
    parts_per_thread: int = _PARTS_PER_THREAD,
) -> None:
    """Call ``loop(part, *arguments)`` for all parts of the items, in as many threads as allowed.

    numba's own parallel loops take several times as long to compile.

    Parameters
    ----------
    loop : callable
        A compiled function that writes elsewhere for each item.
    items : ndarray, shape (n, ...)
        What it loops over.
    *arguments
        Its other arguments.
    parts_per_thread : int
        More of them for items that take different times, fewer for those that take none.
    """
    n_threads = fft.get_workers()
    parts = np.array_split(items, max(min(len(items), parts_per_thread * n_threads), 1))
    with ThreadPoolExecutor(n_threads) as pool:
        for _ in pool.map(lambda part: loop(part, *arguments), parts):
            pass


@contextmanager
def thread_limit(n_threads: int | None) -> Iterator[None]:
    """Let loops and Fourier transforms use at most `n_threads` threads in the block.

    Parameters
    ----------
    n_threads : int or None
        None is the number of processors that this process may use.
    """
    if n_threads is None:
        n_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        n_threads = n_threads or os.cpu_count() or 1
    if n_threads < 1:
        raise ValueError(f"n_threads is {n_threads}, but it must be at least 1")
    with fft.set_workers(n_threads):
        yield
