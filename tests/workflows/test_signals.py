import signal
import subprocess
import sys
import time

import pytest

# like nipype, `swallow` catches every exception and continues
CODE = """
import signal, sys, time
from pathlib import Path
from bids_qcm.bids.images import atomic_write
from bids_qcm.workflows.signals import exit_cleanly_on

exit_cleanly_on(signal.SIGTERM)
swallow = sys.argv[2] == "swallow"
try:
    with atomic_write(Path(sys.argv[1]) / "map.nii.gz") as temporary:
        temporary.write_bytes(b"half")
        print("writing", flush=True)
        time.sleep(60)
except BaseException:
    if not swallow:
        raise
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("caught", "status"), [("raise", 128 + signal.SIGTERM), ("swallow", -signal.SIGALRM)]
)
def test_no_incomplete_file_is_left(tmp_path, caught, status):
    command = [sys.executable, "-c", CODE, tmp_path, caught]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    assert len(list(tmp_path.iterdir())) == 1
    before = time.monotonic()
    process.terminate()
    assert process.wait(timeout=30) == status
    assert time.monotonic() - before < 5
    assert list(tmp_path.iterdir()) == []
