"""How the loops of this package are compiled and threaded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
from scipy import fft

VECTORISED = {"reassoc", "contract", "nsz", "arcp", "nnan", "ninf"}
"""Liberties with floating point that vector instructions need; all values must be finite."""

LEAF = {"_nrt": False}
"""For functions that make no array: what they slice is not counted as a reference, which threads
that read the same array would wait on each other for."""


def compiled(**options: Any) -> Callable[[Callable], Callable]:  # noqa: ANN401
    """Compile a function with numba, with its machine code cached on disk where that can be.

    numba refuses to decorate when no cache directory can be written (a read-only container
    without a home); then the code is compiled anew in each process.
    """

    def decorate(function: Callable) -> Callable:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:
            return numba.njit(**options)(function)

    return decorate


@contextmanager
def thread_limit(n_threads: int | None) -> Iterator[None]:
    """Let compiled functions and Fourier transforms use at most `n_threads` threads in the block.

    Parameters
    ----------
    n_threads : int or None
        None keeps numba's present limit, as does a number above what numba was started with.
    """
    before = numba.get_num_threads()
    if n_threads is not None:
        if n_threads < 1:
            raise ValueError(f"n_threads is {n_threads}, but it must be at least 1")
        numba.set_num_threads(min(n_threads, numba.config.NUMBA_NUM_THREADS))
    try:
        with fft.set_workers(numba.get_num_threads()):
            yield
    finally:
        numba.set_num_threads(before)
