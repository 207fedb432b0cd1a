"""Datasets with many subjects, and the resources that they need.

``SCALE_SUBJECTS=200`` maps two hundred subjects instead of forty. The benchmarks measure the times.
"""

import os
import time
from pathlib import Path

import pytest

from tests.commands import kill_group, start, workers
from tests.synthetic import write_subjects

N_MAPPED = int(os.environ.get("SCALE_SUBJECTS", "40"))

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")


def megabytes_of(pid, which="VmRSS"):
    """Return the memory of a process, or None if the process is ending and has released it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    sizes = [int(line.split()[1]) for line in lines if line.startswith(which)]
    return sizes[0] / 1024 if sizes else None


def n_busy_threads(pids):
    """Count the threads that are running or are ready to run."""
    count = 0
    for pid in pids:
        for status in Path(f"/proc/{pid}/task").glob("*/stat"):
            try:
                count += status.read_text().rsplit(") ", 1)[1][0] == "R"
            except OSError:
                continue
    return count


@pytest.fixture
def command(tmp_path):
    """Start the command with its log in a file, and end the command at the end of the block."""
    started = []

    def command(raw, *options, pages=False):
        with (tmp_path / "log").open("w") as log, (tmp_path / "plan").open("w") as plan:
            process = start(
                *(raw, tmp_path / "out", "participant", "-w", tmp_path / "work", *options),
                pages=pages,
                stdout=plan,
                stderr=log,
            )
        started.append(process)
        return process

    yield command
    for process in started:
        kill_group(process)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("n_subjects", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_plan_of_a_thousand_subjects_needs_little_memory(tmp_path, command, n_subjects):
    raw = write_subjects(tmp_path / "raw", n_subjects)
    process = command(raw, "--dry-run")
    peak = 0
    while process.poll() is None:
        # do not use getrusage, because its peak may belong to the parent process
        peak = megabytes_of(process.pid, "VmHWM") or peak
        time.sleep(0.02)
    assert process.returncode == 0
    lines = (tmp_path / "plan").read_text().splitlines()
    assert sum(line.startswith("sub-") for line in lines) == n_subjects
    assert 50 < peak < 500


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_only_one_subject_of_a_thousand_is_mapped(tmp_path, command):
    raw = write_subjects(tmp_path / "raw", 1000)
    options = ("--participant-label", "0500", "--method", "laplacian", "--nprocs", "1")
    process = command(raw, *options, pages=True)
    assert process.wait(300) == 0
    assert "1 of 1 acquisition(s)" in (tmp_path / "plan").read_text()
    assert [path.name for path in (tmp_path / "out").glob("sub-*.html")] == ["sub-0500.html"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_memory_of_the_engine_stays_constant(tmp_path, command):
    """Use tiny subjects, so that memory is used mainly by the workflow engine."""
    raw = write_subjects(tmp_path / "raw", N_MAPPED, n_echoes=1)
    process = command(raw, *("--method", "laplacian", "--fit-radius", "3", "--nprocs", "2", "-v"))
    log = tmp_path / "log"
    memory = {}
    while process.poll() is None:
        n_done = log.read_text().count(": done in ")
        if megabytes := megabytes_of(process.pid):
            memory[n_done] = megabytes
        time.sleep(0.1)
    assert process.returncode == 0, log.read_text()[-2000:]
    n_nodes = log.read_text().count(": done in ")
    assert n_nodes % N_MAPPED == 0
    # measure during the first 32 subjects, and near the end
    early, late = (
        memory[min(memory, key=lambda n_done: abs(n_done - subjects * n_nodes / N_MAPPED))]
        for subjects in (16, N_MAPPED - 2)
    )
    assert late < early + 20


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("n_allowed", "n_each"), [(1, 1), (4, 2)])
def test_no_more_threads_are_busy_than_allowed(tmp_path, command, n_allowed, n_each):
    raw = write_subjects(tmp_path / "raw", 3, shape=(24, 24, 24), n_echoes=1)
    process = command(
        *(raw, "--nprocs", n_allowed, "--omp-nthreads", n_each),
        *("--method", "laplacian", "integral", "integral-mag", "--fit-radius", "4"),
    )
    busy = []
    while process.poll() is None:
        busy.append(n_busy_threads(workers(process.pid)))
        time.sleep(0.01)
    assert process.returncode == 0, (tmp_path / "log").read_text()[-2000:]
    assert max(busy) >= n_allowed
    # for short moments, one more thread is busy: a thread that distributes work or that is ending
    assert sum(busy) <= n_allowed * len(busy)
    assert sum(n > n_allowed for n in busy) < 0.15 * len(busy)
