"""Processes that run nodes, each of which may be killed without harm to the others."""

import multiprocessing
import os
import signal
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from nipype.pipeline.engine import Node
from nipype.pipeline.plugins.multiproc import process_initializer, run_node

from bids_qcm.workflows.signals import end_tidily_at

_SECONDS_TO_END = 5


class WorkerKilledError(Exception):
    """A worker ended in the middle of a node."""


class Worker:
    """A process that runs one node at a time.

    A pool of processes shares its pipes and locks, so that the death of one process ends them all,
    and nobody knows whose node it was. Here the only end of the pipe that the parent does not hold
    is the worker's own: whenever it dies, even in the middle of a message, the pipe is at its end.

    Parameters
    ----------
    context : BaseContext
        How to start the process.
    """

    def __init__(self, context: BaseContext) -> None:
        self._connection, theirs = context.Pipe()
        # daemons end with the parent
        self._process = context.Process(target=_serve, args=(theirs, str(Path.cwd())), daemon=True)
        self._process.start()
        theirs.close()

    def start(self, node: Node, updatehash: bool, taskid: int) -> None:
        """Let the process run a node; if it has died meanwhile, `result` tells."""
        with suppress(OSError):
            self._connection.send((node, updatehash, taskid))

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process.is_alive()

    def result(self) -> dict[str, Any] | None:
        """Give what nipype's ``run_node`` returned; None while it runs.

        Raises
        ------
        WorkerKilledError
            If the process ended before it returned.
        """
        try:
            return self._connection.recv() if self._connection.poll() else None
        except (EOFError, OSError) as error:
            raise WorkerKilledError(self._how_it_ended()) from error

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.terminate()
        self._process.join(_SECONDS_TO_END)
        self._process.kill()
        self._connection.close()

    def _how_it_ended(self) -> str:
        self._process.join(_SECONDS_TO_END)
        code = self._process.exitcode
        if code == -signal.SIGKILL:
            return "its process was ended by SIGKILL, as the kernel does when memory runs out"
        if code is not None and code < 0:
            return f"its process was ended by signal {-code}"
        return f"its process ended without a word (exit status {code})"


def _serve(connection: Connection, folder: str) -> None:
    """Run nodes until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_tidily_at(signal.SIGTERM)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    process_initializer(folder)
    while True:
        try:
            node, updatehash, taskid = connection.recv()
        except EOFError:
            return
        try:
            connection.send(run_node(node, updatehash, taskid))
        except Exception as error:
            # after a failure nipype reads the node's result, which may not have been written
            lines = traceback.format_exception(error.__context__ or error)
            connection.send({"result": None, "traceback": lines, "taskid": taskid})


def _end_with_parent() -> None:
    """End this process when its parent is killed: another run may use the same work directory."""
    multiprocessing.parent_process().join()
    os._exit(1)
