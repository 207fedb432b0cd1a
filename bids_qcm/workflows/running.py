"""How a workflow is run, watched and reported on."""

import logging
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from contextlib import AbstractContextManager, chdir, nullcontext
from pathlib import Path
from typing import Any

import nipype.pipeline.plugins
import yaml
from nipype.pipeline.engine import Node, Workflow
from nipype.pipeline.plugins.base import GraphPluginBase, PluginBase

from bids_qcm.bids.errors import InputError, OutputError
from bids_qcm.settings import Settings
from bids_qcm.workflows.memory import memory_limit_gb
from bids_qcm.workflows.plugin import SurvivingMultiProcPlugin
from bids_qcm.workflows.slurm import AskingSLURMPlugin, SubmissionError

LOGGER = logging.getLogger("bids_qcm")

PRELOADED = [
    "bids_qcm.interfaces.masks",
    "bids_qcm.interfaces.phase",
    "bids_qcm.interfaces.reconstruction",
    "bids_qcm.interfaces.segmentation",
    "bids_qcm.interfaces.statistics",
    "bids_qcm.workflows.workers",
]

_MENDED = {"MultiProc": SurvivingMultiProcPlugin, "SLURM": AskingSLURMPlugin}
_INPUT_ERROR = f"{InputError.__module__}.{InputError.__qualname__}: "

# What is left of the longest name of a socket by /pymp-12345678/listener-12345678.
_LONGEST_TEMPORARY_FOLDER = 75


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
    seconds : dict of str to float
        How long each node took that ended well.
    """

    def __init__(self, n_nodes: int) -> None:
        self.n_nodes = n_nodes
        self.finished: set[str] = set()
        self.errors: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
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
            self.seconds[name] = time.monotonic() - self._started[name]
            LOGGER.info(
                "%s: done in %.1f s [%d/%d]",
                name,
                self.seconds[name],
                len(self.finished),
                self.n_nodes,
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

    Raises
    ------
    OutputError
        If the path of temporary files is too long.
    """
    _check_temporary_folder()
    monitor = Monitor(len(workflow.list_node_names()))
    plugin = _plugin(settings, monitor)
    if settings.write_graph:
        _write_graph(workflow, settings)
    # a worker is forked off a server that has all this imported
    multiprocessing.set_forkserver_preload(PRELOADED)
    settings.work_dir.mkdir(parents=True, exist_ok=True)
    try:
        # workers and jobs start there, and so find no other project's nipype.cfg
        with chdir(settings.work_dir), _stopping_at_signals(plugin):
            workflow.run(plugin=plugin)
    except SubmissionError as error:
        raise InputError(
            settings.plugin_file, f"makes jobs that Slurm refuses ({error})", "change sbatch_args"
        ) from error
    except Exception as error:
        # nipype raises at the end what its nodes raised, which the monitor has taken down
        if not monitor.errors:
            raise
        LOGGER.debug("nipype ended with %r", error)
    return monitor


def crash_reports(folder: Path) -> dict[str, Path]:
    """Find nipype's reports of nodes that failed.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    dict of str to Path
        The newest report by the node's name, as :class:`Monitor` has it.
    """
    found = {}
    # their names start with the time
    for path in sorted(folder.glob("crash-*.txt")):
        with path.open(encoding="utf-8", errors="replace") as lines:
            label, _, fullname = lines.readline().partition(": ")
        if label == "Node":
            found[fullname.strip().partition(".")[2]] = path
    return found


def _check_temporary_folder() -> None:
    """Check that sockets can have names in the folder of temporary files, of 108 bytes at most."""
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) > _LONGEST_TEMPORARY_FOLDER:
        raise OutputError(folder, "is too long a path for the names of sockets", "shorten TMPDIR")


def _stopping_at_signals(plugin: PluginBase) -> AbstractContextManager[None]:
    in_main_thread = threading.current_thread() is threading.main_thread()
    if isinstance(plugin, SurvivingMultiProcPlugin) and in_main_thread:
        return plugin.stopping_at(signal.SIGINT, signal.SIGTERM)
    return nullcontext()


def _write_graph(workflow: Workflow, settings: Settings) -> None:
    path = settings.output_dir / "logs" / "graph.dot"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        workflow.write_graph(dotfilename=str(path), graph2use="colored")
    except OSError as error:
        LOGGER.warning("%s was written, but not as a picture: %s", path, error)


def _plugin(settings: Settings, monitor: Monitor) -> PluginBase:
    """Give the plugin that runs the nodes: our MultiProc, or what the user's file names."""
    arguments = {
        "n_procs": settings.nprocs,
        "memory_gb": memory_limit_gb(settings),
        "raise_insufficient": False,
        # a forked worker would inherit the threads' locks, but not the threads
        "mp_context": "forkserver",
    }
    kind = SurvivingMultiProcPlugin
    if settings.plugin_file is not None:
        kind, given = _read_plugin_file(settings.plugin_file)
        arguments |= given
    arguments["status_callback"] = monitor
    return kind(plugin_args=arguments)


def _read_plugin_file(path: Path) -> tuple[type[PluginBase], dict[str, Any]]:
    """Read which plugin to use and its arguments."""
    remedy = "give a mapping with plugin, one of nipype's names, and plugin_args, a mapping"
    try:
        content = yaml.safe_load(path.read_text())
        name, arguments = content["plugin"], dict(content.get("plugin_args") or {})
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        raise InputError(path, f"is no plugin file ({error!r})", remedy) from error
    kind = _MENDED.get(name) or getattr(nipype.pipeline.plugins, f"{name}Plugin", None)
    if kind is None:
        raise InputError(path, f"names the plugin {name!r}, which nipype does not have", remedy)
    if issubclass(kind, GraphPluginBase):
        raise InputError(
            path,
            f"names the plugin {name}, which ends when all jobs are submitted, not when they end",
            "use SLURM, SGE, PBS, LSF, OAR or Condor",
        )
    return kind, arguments


def _error_of(node: Node) -> str:
    """Give the last line of the traceback, from our plugin or from what the node left."""
    try:
        traceback = getattr(node, "_traceback", None) or node.result.runtime.traceback
        last = "".join(traceback).strip().splitlines()[-1].strip()
        # an error of the input speaks for itself
        return last.removeprefix(_INPUT_ERROR)
    except (AttributeError, TypeError, OSError, IndexError):
        return "its process ended without a word; was it killed, or out of memory?"
