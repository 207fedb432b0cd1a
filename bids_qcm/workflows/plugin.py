"""nipype's MultiProc, mended where it would wait forever."""

import multiprocessing
import signal
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import FrameType
from typing import Any

from networkx import DiGraph
from nipype.pipeline.engine import Node
from nipype.pipeline.plugins.multiproc import MultiProcPlugin, process_initializer

from bids_qcm.workflows.signals import end_tidily_at


class SurvivingMultiProcPlugin(MultiProcPlugin):
    """MultiProc that goes on when a worker is killed.

    nipype takes a node's result in a callback of the pool. When a worker dies, as by the kernel's
    hand for want of memory, the callback raises where nobody sees it, and nipype waits for a
    result that will not come. Here the nodes that were running fail, and the rest go on in a new
    pool.

    Nor does it raise where a signal arrives: copying a node, the traits library catches whatever is
    raised and goes on with half a copy. A signal is noted, and the run ends between two nodes.
    """

    def __init__(self, plugin_args: dict[str, Any]) -> None:
        super().__init__(plugin_args)
        self.pool.shutdown(wait=False)
        self.pool = self._new_pool()
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

    def _send_procs_to_workers(
        self, updatehash: bool = False, graph: DiGraph | None = None
    ) -> None:
        if self._stop_requested:
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise KeyboardInterrupt
        super()._send_procs_to_workers(updatehash=updatehash, graph=graph)

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=self.processors,
            initializer=_start_worker,
            initargs=(self._cwd,),
            mp_context=multiprocessing.get_context(self.plugin_args.get("mp_context")),
        )

    def _async_callback(self, args: Future) -> None:
        if args.exception() is None:
            super()._async_callback(args)

    def _get_result(self, taskid: int) -> dict[str, Any] | None:
        future = self._task_obj[taskid]
        if future.done() and (error := future.exception()) is not None:
            return {
                "result": None,
                "traceback": traceback.format_exception(error),
                "taskid": taskid,
            }
        return super()._get_result(taskid)

    def _submit_job(self, node: Node, updatehash: bool = False) -> int:
        try:
            return super()._submit_job(node, updatehash)
        except BrokenProcessPool:
            self.pool.shutdown(wait=False)
            self.pool = self._new_pool()
            return super()._submit_job(node, updatehash)


def _start_worker(folder: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_tidily_at(signal.SIGTERM)
    process_initializer(folder)
