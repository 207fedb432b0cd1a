"""Run the command in a separate process, and inspect its processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMAND = [sys.executable, "-m", "bids_qcm.cli.run"]

# the same command without participant pages, each of which takes a second
_WITHOUT_PAGES = """
import sys
from bids_qcm.cli import reports, run
reports._write_pages = lambda *_: None
sys.exit(run.main())
"""


def start(*arguments, pages=True, **options):
    """Start `bids-qcm` in a separate process group, with or without participant pages."""
    command = COMMAND if pages else [sys.executable, "-c", _WITHOUT_PAGES]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        **{
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "start_new_session": True,
            **options,
        },
    )


def run(*arguments, **options):
    """Run `bids-qcm`; return its exit status and its output."""
    process = start(*arguments, **options)
    try:
        out, err = process.communicate()
    finally:
        kill_group(process)
    return process.returncode, (out or "") + (err or "")


def kill_group(process):
    """Kill a process and its descendants."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def alive(pid):
    """Whether a process exists and is not a zombie."""
    return bool(_parent(pid))


def _parent(pid):
    """Return the parent of a living process; None if the process has ended."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[:2]
    except OSError:
        return None
    return int(parent) if state != "Z" else None


def descendants(pid):
    """List the living descendants of a process."""
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    parents = {one: _parent(one) for one in pids}
    found = {pid}
    while more := {one for one, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def workers(pid):
    """List the worker processes: the children of the fork server."""
    return {child for server in descendants(pid) for child in descendants(server)}


def busiest(pids, seconds=0.5):
    """Return the process that is using the most processor time."""
    before = {pid: _ticks(pid) for pid in pids}
    time.sleep(seconds)
    return max(pids, key=lambda pid: _ticks(pid) - before[pid])


def _ticks(pid):
    """Return the processor time of a process; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:13]))


def wait_until(condition, seconds=30):
    """Wait for a condition; return whether it was met."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())
