import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from bids_qcm.workflows.usage import usage_since

N_BYTES = 100_000_000


def usage_of_an_array():
    """Return the usage before and after an array is filled, and the processor time."""
    start = time.process_time()
    before = usage_since(start)
    array = bytearray(N_BYTES)
    after = usage_since(start)
    del array
    return before, after, time.process_time() - start


def test_the_time_and_the_peak_memory_of_a_process_are_measured():
    # the peak of this process may already be higher, and a program that it starts inherits the peak
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        before, after, processor_seconds = pool.submit(usage_of_an_array).result()
    assert after.peak_gb - before.peak_gb == pytest.approx(N_BYTES / 1e9, rel=0.1)
    assert after.processor_seconds == pytest.approx(processor_seconds, abs=0.1)
