import multiprocessing
import signal
import subprocess
import sys
from multiprocessing import forkserver
from pathlib import Path

import pytest

from bids_qcm.bids.errors import OutputError
from bids_qcm.workflows.fork_server import PRELOADED, start_fork_server

# The server of the test process may already run, so these tests use a new process.
_SCRIPT = """\
import sys
from multiprocessing import forkserver, get_context
from pathlib import Path
from bids_qcm.settings import Settings
from bids_qcm.workflows.fork_server import start_fork_server

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    start_fork_server(Settings(folder, folder, folder / "work"))
    server = forkserver._forkserver._forkserver_pid
    status = Path(f"/proc/{server}/status").read_text()
    print(next(line for line in status.splitlines() if line.startswith("SigBlk")))
    with get_context("forkserver").Pool(1) as pool:
        print(pool.apply(eval, ("[*__import__('sys').modules]",)))
"""


@pytest.fixture
def starts(monkeypatch):
    """Record the current folder at each start of the server."""
    starts = []
    monkeypatch.setattr(forkserver, "ensure_running", lambda: starts.append(Path.cwd()))
    monkeypatch.setattr(multiprocessing, "set_forkserver_preload", lambda names: None)
    return starts


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_workers_have_the_interfaces_from_a_server_that_ctrl_c_does_not_reach(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    (tmp_path / "work").mkdir()
    run = subprocess.run(
        [sys.executable, script, tmp_path], capture_output=True, text=True, check=True
    )
    blocked, modules = run.stdout.splitlines()
    assert int(blocked.split()[1], 16) & 1 << signal.SIGINT - 1
    assert all(repr(name) in modules for name in PRELOADED)


def test_the_server_starts_in_the_work_directory(settings, starts):
    given = settings()
    given.work_dir.mkdir()
    start_fork_server(given)
    assert starts == [given.work_dir]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_another_plugin_does_not_start_the_server(settings, starts, tmp_path):
    start_fork_server(settings(plugin_file=tmp_path / "plugin.yaml"))
    assert starts == []


def test_a_long_temporary_folder_is_refused(settings, starts, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("x" * 80)))
    with pytest.raises(OutputError, match="set TMPDIR"):
        start_fork_server(settings())
    assert starts == []
