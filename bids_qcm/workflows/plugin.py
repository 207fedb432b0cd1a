"""Variant of nipype's MultiProc plugin that continues after a worker is killed."""

import gc
import logging
import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from networkx import DiGraph
from nipype.pipeline.engine import Node
from nipype.pipeline.plugins.multiproc import MultiProcPlugin

from bids_qcm.workflows.workers import Worker, WorkerKilledError, wait_for_results

LOGGER = logging.getLogger("bids_qcm")

# Maximum time in s until the plugin notices a signal.
_LONGEST_WAIT = 0.2


class SurvivingMultiProcPlugin(MultiProcPlugin):
    """MultiProc plugin that continues when a worker is killed.

    nipype receives the result of a node in a callback of a process pool. When a worker dies, for
    example because the kernel kills it when memory runs out, the exception in the callback is lost,
    and nipype waits forever for the result. Here each worker is independent, and the other workers
    continue. When they have finished, the node whose worker was killed runs again, alone. If its
    worker is killed again, the node has failed.

    nipype looks for finished nodes at fixed intervals. Here the plugin waits for its workers before
    each interval, so that the interval can be short.

    A signal handler does not raise an exception, because the traits library could catch the
    exception while it copies a node, and continue with an incomplete copy. Instead, the handler
    sets a flag, and the run ends before the next node starts.

    With the argument ``usage_callback``, each node runs in a new process, so that the peak memory
    of the process is the peak memory of the node. The plugin calls the function with each node and
    its :class:`~bids_qcm.workflows.usage.Usage` before it reports the end of the node.
    """

    _taskid: int  # number that nipype assigned to the most recent task

    def __init__(self, plugin_args: dict[str, Any]) -> None:
        super().__init__(plugin_args)
        self.pool.shutdown(wait=False)
        self._context = multiprocessing.get_context(self.plugin_args.get("mp_context"))
        self._idle: list[Worker] = []
        # workers of running tasks, and errors of tasks whose workers were killed, by task number
        self._running: dict[int, Worker] = {}
        self._killed: dict[int, WorkerKilledError] = {}
        self._to_retry: deque[int] = deque()
        self._stop_requested = False

    @contextmanager
    def stopping_at(self, *numbers: signal.Signals) -> Iterator[None]:
        """End the run with KeyboardInterrupt before the next node after one of these signals."""

        def request_stop(number: int, frame: FrameType | None) -> None:
            self._stop_requested = True

        before = {number: signal.signal(number, request_stop) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def run(self, graph: "DiGraph[Node]", config: dict[str, Any], updatehash: bool = False) -> None:
        """Run all nodes, and end all workers even after an error."""
        # nipype runs the garbage collector before each poll of the jobs. The objects that exist now
        # remain until the end, so the garbage collector can skip them.
        gc.freeze()
        try:
            super().run(graph, config, updatehash=updatehash)
        finally:
            gc.unfreeze()
            for worker in (*self._idle, *self._running.values()):
                worker.end()

    def _send_procs_to_workers(
        self, updatehash: bool = False, graph: "DiGraph[Node] | None" = None
    ) -> None:
        if self._stop_requested:
            raise KeyboardInterrupt
        if not self._to_retry:
            super()._send_procs_to_workers(updatehash=updatehash, graph=graph)
        elif not self._running:
            self._start(self._to_retry[0])
        wait_for_results(self._running.values(), _LONGEST_WAIT)

    def _submit_job(self, node: Node, updatehash: bool = False) -> int:
        self._taskid += 1
        self._task_obj[self._taskid] = node, updatehash
        self._start(self._taskid)
        return self._taskid

    def _start(self, taskid: int) -> None:
        while self._idle and not self._idle[-1].alive:
            self._idle.pop().end()
        worker = self._idle.pop() if self._idle else Worker(self._context)
        node, updatehash = self._task_obj[taskid]
        worker.start(node, updatehash, taskid)
        self._running[taskid] = worker

    def _get_result(self, taskid: int) -> dict[str, Any] | None:
        if taskid not in self._running:  # the task is waiting for its second attempt
            return None
        try:
            result = self._running[taskid].result()
        except WorkerKilledError as error:
            self._running.pop(taskid).end()
            return self._after_kill(taskid, error)
        if result is not None:
            self._release(taskid, result)
        return result

    def _release(self, taskid: int, result: dict[str, Any]) -> None:
        """Keep the worker for the next node, or end it and report the resources that it used."""
        worker = self._running.pop(taskid)
        report_usage = self.plugin_args.get("usage_callback")
        if report_usage is None:
            self._idle.append(worker)
            return
        worker.end()
        if "usage" in result:
            report_usage(self._task_obj[taskid][0], result["usage"])

    def _after_kill(self, taskid: int, error: WorkerKilledError) -> dict[str, Any] | None:
        """Queue a second attempt; return the failure if this was already the second attempt."""
        node, _ = self._task_obj[taskid]
        if taskid in self._killed:
            message = (
                f"{error}; this happened twice, the second time while no other process ran; the "
                "step may need a machine with more memory"
            )
            return {"result": None, "traceback": [message], "taskid": taskid}
        LOGGER.warning(
            "%s: %s; this step will be tried once more, alone",
            node.fullname.partition(".")[2],
            error,
        )
        self._killed[taskid] = error
        self._to_retry.append(taskid)
        return None

    def _clear_task(self, taskid: int) -> None:
        super()._clear_task(taskid)
        if self._killed.pop(taskid, None):
            self._to_retry.remove(taskid)

    def _clean_queue(
        self, jobid: int, graph: "DiGraph[Node]", result: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        if result is not None:
            # set the traceback here, because the monitor reads it before nipype sets it
            self.procs[jobid]._traceback = result["traceback"]
        cleaned: dict[str, Any] = super()._clean_queue(jobid, graph, result)
        return cleaned

    def _report_crash(self, node: Node, result: dict[str, Any] | None = None) -> str | None:
        try:
            crash_file: str = super()._report_crash(node, result)
            return crash_file
        except OSError as error:  # the disk may be full, for example
            LOGGER.warning("a crash report could not be written: %s", error)
            return None

    def _postrun_check(self) -> None:
        """Do nothing: there is no pool to shut down, and ``run`` ends the workers."""
