import time

import pytest

from bids_qcm.workflows.usage import usage_since


def test_the_time_and_the_peak_of_this_process():
    start = time.process_time()
    before = usage_since(start)
    array = bytearray(2 * int(before.peak_gb * 1e9))
    after = usage_since(start)
    assert after.peak_gb >= len(array) / 1e9
    assert after.processor_seconds == pytest.approx(time.process_time() - start, abs=0.1)
