"""How a workflow is run, watched and reported on."""

import logging
import multiprocessing
import time

import nipype.pipeline.plugins
import yaml
from nipype.pipeline.engine import Node, Workflow
from nipype.pipeline.plugins.base import PluginBase

from bids_qcm.settings import Settings
from bids_qcm.workflows.plugin import SurvivingMultiProcPlugin

LOGGER = logging.getLogger("bids_qcm")

_PRELOADED = ["bids_qcm.interfaces.phase", "bids_qcm.interfaces.reconstruction"]


class Monitor:
    """Watches nodes start and end, and says so.

    Parameters
    ----------
    n_nodes : int
        Of the whole workflow.

    Attributes
    ----------
    finished : set of str
        Full names of the nodes that ended well.
    errors : dict of str to str
        The last line of the traceback of each node that did not.
    """

    def __init__(self, n_nodes: int) -> None:
        self.n_nodes = n_nodes
        self.finished: set[str] = set()
        self.errors: dict[str, str] = {}
        self._started: dict[str, float] = {}

    def __call__(self, node: Node, status: str) -> None:
        """Take note of a node's status, as nipype's plugins report it."""
        # the first part is the name of the whole workflow
        name = node.fullname.partition(".")[2]
        if status == "start":
            self._started[name] = time.monotonic()
            LOGGER.info("%s: started", name)
        elif status == "exception":
            self.finished.discard(name)
            self.errors[name] = _error_of(node)
            LOGGER.error("%s: FAILED: %s", name, self.errors[name])
        # nodes behind a failed one are reported as ended by some plugins, without a start
        elif name in self._started and name not in self.errors:
            self.finished.add(name)
            seconds = time.monotonic() - self._started[name]
            LOGGER.info(
                "%s: done in %.1f s [%d/%d]", name, seconds, len(self.finished), self.n_nodes
            )


def run_workflow(workflow: Workflow, settings: Settings) -> Monitor:
    """Run a workflow to its end, whatever fails on the way.

    Parameters
    ----------
    workflow : Workflow
    settings : Settings

    Returns
    -------
    Monitor
        What became of each node.
    """
    monitor = Monitor(len(workflow.list_node_names()))
    plugin = _plugin(settings, monitor)
    if settings.write_graph:
        workflow.write_graph(
            dotfilename=str(settings.output_dir / "logs" / "graph.dot"), graph2use="colored"
        )
    # a worker is forked off a server that has all this imported
    multiprocessing.set_forkserver_preload(_PRELOADED)
    try:
        workflow.run(plugin=plugin)
    except Exception as error:
        # nipype raises at the end what its nodes raised, which the monitor has taken down
        if not monitor.errors:
            raise
        LOGGER.debug("nipype ended with %r", error)
    return monitor


def _plugin(settings: Settings, monitor: Monitor) -> PluginBase:
    """Give the plugin that runs the nodes: our MultiProc, or what the user's file names."""
    if settings.plugin_file is not None:
        content = yaml.safe_load(settings.plugin_file.read_text())
        name = f"{content['plugin']}Plugin"
        arguments = {**content.get("plugin_args", {}), "status_callback": monitor}
        return getattr(nipype.pipeline.plugins, name)(plugin_args=arguments)
    arguments = {
        "n_procs": settings.nprocs,
        "raise_insufficient": False,
        # a forked worker would inherit the threads' locks, but not the threads
        "mp_context": "forkserver",
        "status_callback": monitor,
    }
    if settings.memory_gb is not None:
        arguments["memory_gb"] = settings.memory_gb
    return SurvivingMultiProcPlugin(plugin_args=arguments)


def _error_of(node: Node) -> str:
    try:
        return node.result.runtime.traceback.strip().splitlines()[-1]
    except (AttributeError, OSError, IndexError):
        return "its process ended without a word; was it killed, or out of memory?"
