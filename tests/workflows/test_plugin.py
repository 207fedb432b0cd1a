import logging
import multiprocessing
import os
import random
import re
import signal
import threading
import time

import pytest
from nipype.interfaces.utility import Function
from nipype.pipeline.engine import Node, Workflow

from bids_qcm.workflows.plugin import SurvivingMultiProcPlugin
from bids_qcm.workflows.progress import Progress
from bids_qcm.workflows.running import Monitor
from bids_qcm.workflows.workers import Worker, WorkerKilledError

# use 50 for a manual run
MANY_TRIES = int(os.environ.get("FAULT_TRIES", "12"))


def kill_own_process(value):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
    return value


def kill_own_process_once(value):
    """Append the time to a file, and kill this process if the file did not exist."""
    import os
    import signal
    import time
    from pathlib import Path

    times = Path(value)
    first = not times.exists()
    with times.open("a") as file:
        file.write(f"{time.monotonic()}\n")
    if first:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.5)
    return value


def take_a_while(value):
    """Append the time to a file."""
    import time
    from pathlib import Path

    Path(value).write_text(str(time.monotonic()))
    time.sleep(0.3)
    return value


def give(value):
    return value


def allocate(value):
    """Fill an array of this size in bytes, and use the processor for 0.2 s."""
    import time

    end = time.process_time() + 0.2
    array = bytearray(value)
    while time.process_time() < end:
        pass
    return len(array)


def node(function, name, value=1):
    interface = Function(function=function, input_names=["value"], output_names=["value"])
    interface.inputs.value = value
    return Node(interface, name=name)


@pytest.fixture(scope="module", autouse=True)
def preload():
    multiprocessing.set_forkserver_preload(["bids_qcm.workflows.workers"])


@pytest.fixture
def run(tmp_path):
    """Run nodes and pairs of connected nodes; return the monitor."""

    def run(*nodes, n_procs=2, while_running=None, usage=None, **execution):
        workflow = Workflow(name="wf", base_dir=str(tmp_path))
        for one in nodes:
            if isinstance(one, tuple):
                workflow.connect(one[0], "value", one[1], "value")
            else:
                workflow.add_nodes([one])
        workflow.config["execution"] = {
            "poll_sleep_duration": "0.01",
            "crashdump_dir": str(tmp_path / "crash"),
            "crashfile_format": "txt",
            "create_report": "false",
            **execution,
        }
        monitor = Monitor(Progress({}, 0), workflow)
        arguments = {
            "n_procs": n_procs,
            "mp_context": "forkserver",
            "memory_gb": 4,
            "status_callback": monitor,
            "usage_callback": usage,
        }
        plugin = SurvivingMultiProcPlugin(plugin_args=arguments)
        if while_running:
            threading.Thread(target=while_running, args=(plugin,), daemon=True).start()
        try:
            workflow.run(plugin=plugin)
        except RuntimeError:
            assert monitor.errors
        assert not plugin._running
        return monitor

    return run


@pytest.mark.timeout(120)
def test_the_plugin_waits_for_its_workers(run, monkeypatch, tmp_path):
    monkeypatch.setattr("bids_qcm.workflows.plugin._LONGEST_WAIT", 60)
    rounds = []

    class CountingPlugin(SurvivingMultiProcPlugin):
        def _send_procs_to_workers(self, updatehash=False, graph=None):
            rounds.append(1)
            super()._send_procs_to_workers(updatehash, graph)

    monkeypatch.setattr("tests.workflows.test_plugin.SurvivingMultiProcPlugin", CountingPlugin)
    one, other = (node(take_a_while, name, str(tmp_path / name)) for name in ("one", "other"))
    assert run(one, other, n_procs=1).finished == {"one", "other"}
    # each node lasts 30 intervals of nipype
    assert len(rounds) < 10


@pytest.mark.timeout(120)
@pytest.mark.parametrize("n_procs", [1, 2])
def test_a_node_whose_worker_is_killed_twice_fails_alone(run, caplog, n_procs):
    killed = node(kill_own_process, "killed"), node(give, "behind")
    others = node(give, "first"), node(give, "second")
    with caplog.at_level(logging.WARNING, "bids_qcm"):
        monitor = run(killed, others, n_procs=n_procs)
    assert monitor.finished == {"first", "second"}
    assert set(monitor.errors) == {"killed"}
    assert "killed by SIGKILL" in monitor.errors["killed"]
    assert "more memory" in monitor.errors["killed"]
    assert caplog.messages[0].startswith("killed: its process was killed by SIGKILL")
    assert "will be tried once more, alone" in caplog.messages[0]


@pytest.mark.timeout(120)
def test_a_node_whose_worker_is_killed_once_runs_again_alone(run, tmp_path):
    times = tmp_path / "times"
    starts = [tmp_path / f"start{i}" for i in range(6)]
    waiting = [node(take_a_while, path.name, str(path)) for path in starts]
    monitor = run(node(kill_own_process_once, "killed", str(times)), *waiting)
    assert monitor.errors == {}
    assert monitor.finished == {"killed", *(path.name for path in starts)}
    first, second = map(float, times.read_text().split())
    assert second - first < 30
    for start in (float(path.read_text()) for path in starts):
        assert start + 0.3 < second or start > second + 0.5


@pytest.mark.timeout(120)
def test_the_other_workers_continue_after_one_is_killed(run, tmp_path):
    long = tmp_path / "long"
    long.write_text("")  # create the file, so that this attempt is not the first
    run(node(kill_own_process, "killed"), node(kill_own_process_once, "long", str(long)))
    assert len(long.read_text().split()) == 1


def test_a_crash_report_that_cannot_be_written_does_not_end_the_run(run, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    killed, other = node(kill_own_process, "killed"), node(give, "other")
    monitor = run(killed, other, n_procs=1, crashdump_dir=str(tmp_path / "file" / "crash"))
    assert monitor.finished == {"other"}
    assert any("crash report could not be written" in message for message in caplog.messages)


def kill_some_worker(after, rng):
    """Return a function that kills a random busy worker some seconds after the first start."""

    def kill(plugin):
        while not plugin._running:
            time.sleep(0.01)
        time.sleep(after)
        busy = list(plugin._running.values())
        if busy:
            os.kill(rng.choice(busy)._process.pid, signal.SIGKILL)

    return kill


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("tries", [3, pytest.param(MANY_TRIES, marks=pytest.mark.slow)])
def test_a_run_ends_no_matter_when_a_worker_is_killed(run, tmp_path, tries, caplog):
    rng = random.Random(tries)
    n_killed = 0
    for i in range(tries):
        chains = [
            tuple(
                node(take_a_while, name, str(tmp_path / name))
                for name in (f"a{i}_{j}", f"b{i}_{j}")
            )
            for j in range(2)
        ]
        begin = time.monotonic()
        caplog.clear()
        with caplog.at_level(logging.WARNING, "bids_qcm"):
            monitor = run(*chains, while_running=kill_some_worker(rng.uniform(0, 0.5), rng))
        assert time.monotonic() - begin < 30
        assert monitor.errors == {}
        assert len(monitor.finished) == 4
        n_killed += any(re.match(r"[ab]\d+_\d: its process", text) for text in caplog.messages)
    assert n_killed > tries / 4


@pytest.fixture
def worker():
    worker = Worker(multiprocessing.get_context("forkserver"))
    yield worker
    worker.end()


def test_an_incomplete_message_indicates_a_killed_worker(worker):
    # the message is too large for the pipe, so the worker is killed while it sends the message
    big = node(give, "big", value="x" * 10**7)
    worker._process.kill()
    worker.start(big, False, 1)
    with pytest.raises(WorkerKilledError, match="SIGKILL"):
        worker.result()
    assert not worker.alive


def test_the_usage_of_a_node_does_not_contain_the_usage_of_others(run):
    found = {}
    large, small = node(allocate, "large", 200_000_000), node(allocate, "small", 1)
    run(
        (large, node(give, "behind")),
        small,
        n_procs=1,
        usage=lambda n, u: found.update({n.name: u}),
    )
    assert set(found) == {"large", "small", "behind"}
    assert found["large"].peak_gb - found["small"].peak_gb == pytest.approx(0.2, abs=0.02)
    assert 0.2 <= found["small"].processor_seconds < 1
    assert found["behind"].processor_seconds < 0.2
