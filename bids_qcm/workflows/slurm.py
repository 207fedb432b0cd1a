"""Variant of nipype's SLURM plugin that requests resources and cancels jobs at the end."""

import logging
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

from networkx import DiGraph
from nipype.pipeline.engine import Node
from nipype.pipeline.plugins.slurm import SLURMPlugin

from bids_qcm.workflows.memory import SCHEDULER_MARGIN

LOGGER = logging.getLogger("bids_qcm")


class SubmissionError(Exception):
    """Raised when Slurm rejects a job; the message is the error output of ``sbatch``."""


class ResourceSLURMPlugin(SLURMPlugin):
    """SLURM plugin whose jobs request the resources of their nodes and end with the run.

    nipype's plugin loses the error output of ``sbatch`` when a job is rejected, fails on paths with
    spaces, and does not accept every option. The user's ``sbatch_args`` come last, so that they
    override the requested resources.
    """

    def run(self, graph: "DiGraph[Node]", config: dict[str, Any], updatehash: bool = False) -> None:
        """Run all nodes, and cancel the remaining jobs even after an error."""
        try:
            super().run(graph, config, updatehash=updatehash)
        finally:
            if self._pending:
                LOGGER.info("cancelling %d Slurm job(s)", len(self._pending))
                subprocess.run(["scancel", *map(str, self._pending)], check=False)  # noqa: S603, S607

    def _submit_batchtask(self, scriptfile: str, node: Node) -> int:
        command = [
            *("sbatch", "--parsable", f"--job-name={node.fullname}"),
            f"--output={Path(scriptfile).with_suffix('.log')}",
            f"--cpus-per-task={node.n_procs}",
            f"--mem={node.mem_gb * SCHEDULER_MARGIN * 1000:.0f}M",
            *shlex.split(self._sbatch_args or ""),
            scriptfile,
        ]
        for attempt in range(self._max_tries):
            # a busy scheduler may reject a job that it accepts a little later
            time.sleep(self._retry_timeout * (attempt > 0))
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
            if done.returncode == 0:
                job, _, _cluster = done.stdout.partition(";")
                self._pending[int(job)] = node.output_dir()
                return int(job)
        raise SubmissionError(done.stderr.strip())
