"""Operating-system limits that are too low are reported on one line."""

import os
import resource
import shutil
import subprocess
import sys

import pytest

from bids_qcm.cli import limits
from bids_qcm.workflows.workers import Worker

START = [sys.executable, "-c", "import sys; from bids_qcm.cli.start import main; sys.exit(main())"]

# process limits do not apply to root, and the other user must be able to read this code
AS_ANOTHER_USER = (
    *("setpriv", "--reuid", "65534", "--clear-groups"),
    *("--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"),
)

needs_setpriv = pytest.mark.skipif(
    shutil.which("setpriv") is None
    or subprocess.run([*AS_ANOTHER_USER, "true"], capture_output=True, check=False).returncode,
    reason="the user cannot be changed here",
)


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_an_address_space_that_is_too_small_is_refused(tmp_path):
    done = run(
        *START,
        *(str(tmp_path), str(tmp_path / "out"), "participant"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (500_000_000,) * 2),
    )
    assert done.returncode == 65
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("ulimit -v: limits the address space to 0.50 GB")


@needs_setpriv
@pytest.mark.parametrize("number", ["1", "12"])
def test_a_process_limit_that_is_too_low_is_refused(tmp_path, number):
    done = run(
        *(*AS_ANOTHER_USER, "prlimit", f"--nproc={number}"),
        *(*START, str(tmp_path), str(tmp_path / "out"), "participant"),
    )
    assert done.returncode == 65
    (line,) = done.stderr.splitlines()
    assert line.startswith("ulimit -u: lets this user start only ")


def test_missing_shared_memory_is_reported(tmp_path, monkeypatch, caplog, capsys):
    class Context:
        def Lock(self):
            raise FileNotFoundError(2, os.strerror(2))

    monkeypatch.setattr("multiprocessing.get_context", lambda _: Context())
    with pytest.raises(limits.InputError) as error:
        limits.check_semaphores()
    assert str(error.value) == (
        "/dev/shm: cannot be used for semaphores (No such file or directory). "
        "Remedy: mount a writable tmpfs at /dev/shm"
    )


def test_semaphores_and_threads_are_available_here():
    limits.check_limits()
    limits.check_semaphores()


def test_a_worker_that_cannot_be_started_is_reported():
    class Process:
        def __init__(self, **options):
            pass

        def start(self):
            raise EOFError("unexpected EOF")

    class Context:
        Pipe = staticmethod(os.pipe)

    context = Context()
    context.Process = Process
    context.Pipe = lambda: (None, None)
    with pytest.raises(limits.InputError, match="prevents this user from starting another process"):
        Worker(context)
