"""Check the limits of the operating system before the numerical libraries are imported.

With low limits, the libraries crash, print unclear messages or wait forever.
"""

import os
import resource
import threading

from bids_qcm.bids.errors import InputError

# Minimum address space for a run, in bytes.
_SMALLEST_ADDRESS_SPACE = 1_000_000_000

# Number of threads and processes that a run needs in addition to one OpenBLAS thread per core.
_FURTHER_THREADS = 16


def check_limits() -> None:
    """Check the limits of address space and of the number of threads.

    Raises
    ------
    InputError
        If a limit is too low for any run.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < _SMALLEST_ADDRESS_SPACE:
        raise InputError(
            "ulimit -v",
            f"limits the address space to {limit / 1e9:.2f} GB, which is too little",
            "raise the limit, or remove it with `ulimit -v unlimited`",
        )
    needed = (os.cpu_count() or 1) + _FURTHER_THREADS
    n_started = _start_threads(needed)
    if n_started < needed:
        raise InputError(
            "ulimit -u",
            f"lets this user start only {n_started} more threads, but {needed} are needed",
            "raise the limit, or end other processes of this user",
        )


def check_semaphores() -> None:
    """Check that processes can share semaphores, which are in ``/dev/shm``.

    Raises
    ------
    InputError
        If a semaphore cannot be created.
    """
    import multiprocessing

    try:
        multiprocessing.get_context("forkserver").Lock()
    except OSError as error:
        raise InputError(
            "/dev/shm",  # noqa: S108
            f"cannot be used for semaphores ({error.strerror})",
            "mount a writable tmpfs at /dev/shm",
        ) from error


def _start_threads(number: int) -> int:
    """Return how many of `number` threads can be started at the same time."""
    end = threading.Event()
    threads = [threading.Thread(target=end.wait) for _ in range(number)]
    n_started = 0
    try:
        for thread in threads:
            thread.start()
            n_started += 1
    except RuntimeError:
        pass
    finally:
        end.set()
        for thread in threads[:n_started]:
            thread.join()
    return n_started
