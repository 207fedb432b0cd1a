"""nipype's MultiProc, mended where it would wait forever."""

import multiprocessing
import traceback
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from nipype.pipeline.engine import Node
from nipype.pipeline.plugins.multiproc import MultiProcPlugin, process_initializer


class SurvivingMultiProcPlugin(MultiProcPlugin):
    """MultiProc that goes on when a worker is killed.

    nipype takes a node's result in a callback of the pool. When a worker dies, as by the kernel's
    hand for want of memory, the callback raises where nobody sees it, and nipype waits for a
    result that will not come. Here the nodes that were running fail, and the rest go on in a new
    pool.
    """

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
            self.pool = ProcessPoolExecutor(
                max_workers=self.processors,
                initializer=process_initializer,
                initargs=(self._cwd,),
                mp_context=multiprocessing.get_context(self.plugin_args.get("mp_context")),
            )
            return super()._submit_job(node, updatehash)
