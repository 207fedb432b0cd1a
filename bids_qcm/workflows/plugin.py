"""nipype's MultiProc, mended where it would wait forever."""

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

from bids_qcm.workflows.workers import Worker, WorkerKilledError

LOGGER = logging.getLogger("bids_qcm")


class SurvivingMultiProcPlugin(MultiProcPlugin):
    """MultiProc that goes on when a worker is killed.

    nipype takes a node's result in a callback of a pool. When a worker dies, as by the kernel's
    hand for want of memory, the callback raises where nobody sees it, and nipype waits for a
    result that will not come. Here each worker stands for itself: the others go on, and when they
    are done, the node whose worker was killed is run once more, alone. If its worker is killed
    again, the node has failed.

    Nor does it raise where a signal arrives: copying a node, the traits library catches whatever is
    raised and goes on with half a copy. A signal is noted, and the run ends between two nodes.
    """

    def __init__(self, plugin_args: dict[str, Any]) -> None:
        super().__init__(plugin_args)
        self.pool.shutdown(wait=False)
        self._context = multiprocessing.get_context(self.plugin_args.get("mp_context"))
        self._idle: list[Worker] = []
        # by the number of the task: who runs it, what to run, and how its worker was killed
        self._running: dict[int, Worker] = {}
        self._killed: dict[int, WorkerKilledError] = {}
        self._to_retry: deque[int] = deque()
        self._stop_requested = False

    @contextmanager
    def stopping_at(self, *numbers: signal.Signals) -> Iterator[None]:
        """Raise KeyboardInterrupt between two nodes, and end the workers, after these signals."""

        def note(number: int, frame: FrameType | None) -> None:
            self._stop_requested = True

        before = {number: signal.signal(number, note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def run(self, graph: DiGraph, config: dict[str, Any], updatehash: bool = False) -> None:
        """Run all nodes; no worker is left however it ends."""
        # nipype collects garbage before each look for jobs, and need not search all of the program
        gc.freeze()
        try:
            super().run(graph, config, updatehash=updatehash)
        finally:
            gc.unfreeze()
            for worker in (*self._idle, *self._running.values()):
                worker.end()

    def _send_procs_to_workers(
        self, updatehash: bool = False, graph: DiGraph | None = None
    ) -> None:
        if self._stop_requested:
            raise KeyboardInterrupt
        if not self._to_retry:
            super()._send_procs_to_workers(updatehash=updatehash, graph=graph)
        elif not self._running:
            self._start(self._to_retry[0])

    def _submit_job(self, node: Node, updatehash: bool = False) -> int:
        self._taskid += 1
        self._task_obj[self._taskid] = node, updatehash
        self._start(self._taskid)
        return self._taskid

    def _start(self, taskid: int) -> None:
        while self._idle and not self._idle[-1].alive:
            self._idle.pop().end()
        worker = self._idle.pop() if self._idle else Worker(self._context)
        worker.start(*self._task_obj[taskid], taskid)
        self._running[taskid] = worker

    def _get_result(self, taskid: int) -> dict[str, Any] | None:
        if taskid not in self._running:  # waits for its second chance
            return None
        try:
            result = self._running[taskid].result()
        except WorkerKilledError as error:
            self._running.pop(taskid).end()
            return self._after_kill(taskid, error)
        if result is not None:
            self._idle.append(self._running.pop(taskid))
        return result

    def _after_kill(self, taskid: int, error: WorkerKilledError) -> dict[str, Any] | None:
        """Arrange for a second chance; give the failure if this was it."""
        node, _ = self._task_obj[taskid]
        if taskid in self._killed:
            message = (
                f"{error}, twice, the second time alone; it may need a machine with more memory"
            )
            return {"result": None, "traceback": [message], "taskid": taskid}
        LOGGER.warning("%s: %s; trying once more, alone", node.fullname.partition(".")[2], error)
        self._killed[taskid] = error
        self._to_retry.append(taskid)
        return None

    def _clear_task(self, taskid: int) -> None:
        super()._clear_task(taskid)
        if self._killed.pop(taskid, None):
            self._to_retry.remove(taskid)

    def _clean_queue(
        self, jobid: int, graph: DiGraph, result: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        if result is not None:
            # nipype does so only after it has told the monitor
            self.procs[jobid]._traceback = result["traceback"]
        return super()._clean_queue(jobid, graph, result)

    def _report_crash(self, node: Node, result: dict[str, Any] | None = None) -> str | None:
        try:
            return super()._report_crash(node, result)
        except OSError as error:  # of a full disk, the run itself tells
            LOGGER.warning("a crash report could not be written: %s", error)
            return None

    def _postrun_check(self) -> None:
        """Leave the workers to `run`; there is no pool to shut down."""
