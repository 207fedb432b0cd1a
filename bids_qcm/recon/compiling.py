"""Compile the loops of this package and run them in threads."""

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
"""Floating-point optimisations that vector instructions need; all values must be finite."""

LEAF = {"_nrt": False}
"""Option that disables reference counting, for functions that allocate no arrays.

Threads that count references to the same array wait for each other.
"""

# Number of parts per thread. With many small parts, all threads finish at about the same time.
_PARTS_PER_THREAD = 32


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:  # noqa: ANN401
    """Compile a function with numba, and cache its machine code on disk where possible.

    The compiled function releases the global interpreter lock. If no cache folder is writable, for
    example in a read-only container without a home directory, each process compiles the function
    again.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        dispatcher = numba.njit(nogil=True, **options)(function)
        # numba has no public interface for choosing the cache
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
    """Divide items into parts and call ``loop(part, *arguments)`` for each part, in threads.

    :func:`thread_limit` limits the number of threads. numba's own parallel loops would take several
    times as long to compile.

    Parameters
    ----------
    loop : callable
        A compiled function that loops over items. Different items must not write to the same array
        elements.
    items : ndarray, shape (n, ...)
        The items.
    *arguments
        Further arguments of the loop.
    parts_per_thread : int
        Number of parts per thread. Use many parts if the time per item varies, and few parts if the
        loop takes little time.
    """
    n_threads = fft.get_workers()
    parts = np.array_split(items, max(min(len(items), parts_per_thread * n_threads), 1))
    if n_threads == 1:
        # starting a thread takes longer than many loops; between parts, Ctrl+C is handled
        for part in parts:
            loop(part, *arguments)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        for _ in pool.map(lambda part: loop(part, *arguments), parts):
            pass


@contextmanager
def thread_limit(n_threads: int | None) -> Iterator[None]:
    """Limit loops and Fourier transforms in a ``with`` block to `n_threads` threads.

    Parameters
    ----------
    n_threads : int or None
        Maximum number of threads; None for the number of processors that this process may use.
    """
    if n_threads is None:
        n_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        n_threads = n_threads or os.cpu_count() or 1
    if n_threads < 1:
        raise ValueError(f"n_threads is {n_threads}, but it must be at least 1")
    with fft.set_workers(n_threads):
        yield
