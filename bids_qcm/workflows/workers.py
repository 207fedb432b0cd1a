"""Independent worker processes: if a worker is killed, the other workers continue."""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from nipype.pipeline.engine import Node
from nipype.pipeline.plugins.multiproc import process_initializer, run_node

from bids_qcm.bids.errors import InputError
from bids_qcm.workflows.signals import exit_cleanly_on
from bids_qcm.workflows.usage import usage_since

_SECONDS_TO_END = 5


class WorkerKilledError(Exception):
    """Raised when a worker process ended before its node finished."""


class Worker:
    """Worker process that runs one node at a time.

    The processes of a pool share pipes and locks, so that the death of one process breaks the pool,
    and the pool does not report which node was running. Here each worker has its own pipe, and only
    the worker holds the other end. When the worker dies, even while it sends a message, the parent
    reads the end of the file.

    Parameters
    ----------
    context : ForkServerContext
        Context of ``multiprocessing`` that starts the process.

    Raises
    ------
    InputError
        If the process cannot be started.
    """

    def __init__(self, context: ForkServerContext) -> None:
        self._connection, theirs = context.Pipe()
        # the parent ends its daemon processes when it exits
        self._process = context.Process(target=_serve, args=(theirs, str(Path.cwd())), daemon=True)
        try:
            self._process.start()
        except (OSError, EOFError) as error:
            raise InputError(
                "ulimit -u",
                f"prevents this user from starting another process ({error})",
                "raise the limit, lower --nprocs, or end other processes of this user",
            ) from error
        theirs.close()

    def start(self, node: Node, updatehash: bool, taskid: int) -> None:
        """Send a node to the process. If the process has died, :meth:`result` raises the error."""
        with suppress(OSError):
            self._connection.send((node, updatehash, taskid))

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process.is_alive()

    def result(self) -> dict[str, Any] | None:
        """Return the result of nipype's ``run_node``, or None while the node runs.

        The item ``usage`` contains the :class:`~bids_qcm.workflows.usage.Usage` of the node.

        Raises
        ------
        WorkerKilledError
            If the process ended before the node finished.
        """
        try:
            return self._connection.recv() if self._connection.poll() else None
        except (EOFError, OSError) as error:
            raise WorkerKilledError(self._how_it_ended()) from error

    def end(self) -> None:
        """Terminate the process; kill it if it does not end within 5 seconds."""
        self._process.terminate()
        self._process.join(_SECONDS_TO_END)
        self._process.kill()
        self._connection.close()

    def _how_it_ended(self) -> str:
        self._process.join(_SECONDS_TO_END)
        code = self._process.exitcode
        if code == -signal.SIGKILL:
            return "its process was killed by SIGKILL, which the kernel sends when memory runs out"
        if code is not None and code < 0:
            return f"its process was killed by signal {-code}"
        return f"its process ended without an error message (exit status {code})"


def wait_for_results(workers: Iterable[Worker], seconds: float) -> None:
    """Wait until one of the workers has a result or was killed, but at most the given time in s."""
    connections = [worker._connection for worker in workers]
    if connections:
        wait(connections, seconds)


def _serve(connection: Connection, folder: str) -> None:
    """Run nodes until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    exit_cleanly_on(signal.SIGTERM)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    process_initializer(folder)
    while True:
        try:
            node, updatehash, taskid = connection.recv()
        except EOFError:
            return
        start = time.process_time()
        try:
            result = run_node(node, updatehash, taskid)
            connection.send({**result, "usage": usage_since(start)})
        except Exception as error:
            # After a failure, nipype's run_node reads the result file, which may not exist. This
            # second error would hide the original error, which is its context.
            lines = traceback.format_exception(error.__context__ or error)
            connection.send({"result": None, "traceback": lines, "taskid": taskid})


def _end_with_parent() -> None:
    """Exit if the parent is killed, because another run may then use the work directory."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
