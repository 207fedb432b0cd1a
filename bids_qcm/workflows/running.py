"""Execution and monitoring of a workflow."""

import logging
import re
import signal
import threading
from contextlib import AbstractContextManager, chdir, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx
import nipype.pipeline.plugins
from nipype.pipeline.engine import Node, Workflow
from nipype.pipeline.plugins.base import GraphPluginBase, PluginBase

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.outputs import LOGS
from bids_qcm.bids.readers import read_yaml_mapping
from bids_qcm.bids.sidecars import is_number
from bids_qcm.settings import Settings
from bids_qcm.workflows.duration import format_time
from bids_qcm.workflows.fork_server import start_fork_server
from bids_qcm.workflows.memory import memory_limit_gb
from bids_qcm.workflows.plugin import SurvivingMultiProcPlugin
from bids_qcm.workflows.progress import Progress
from bids_qcm.workflows.slurm import ResourceSLURMPlugin, SubmissionError
from bids_qcm.workflows.usage import Usage

LOGGER = logging.getLogger("bids_qcm")

_OWN_PLUGINS = {"MultiProc": SurvivingMultiProcPlugin, "SLURM": ResourceSLURMPlugin}
_CLASS_OF_INPUT_ERROR = re.compile(rf"{re.escape(InputError.__module__)}\.\w+: ")

# Limits in s: the end of a node is logged if the node took at least `_SHORT`; its start is logged
# if the estimated duration is at least `_LONG`.
_SHORT = 1.0
_LONG = 10.0

# Plugin arguments whose types nipype does not check.
_NUMBERS = ("n_procs", "memory_gb", "max_jobs", "max_tries", "retry_timeout", "max_jobname_len")
_TEXTS = ("sbatch_args", "qsub_args", "template", "jobid_re", "scheduler", "mp_context")


@dataclass(frozen=True)
class Resources:
    """Resources that a node used, and its estimated peak memory in GB."""

    usage: Usage
    estimated_gb: float


class Monitor:
    """Status callback that records and logs the start, end and failure of nodes.

    Nodes that take little time are logged at the level DEBUG. If a display shows the progress, all
    nodes are logged at this level.

    Parameters
    ----------
    progress : Progress
        Progress of the run, which the callback updates.
    workflow : Workflow
        Workflow of the nodes.

    Attributes
    ----------
    finished : set of str
        Names of the nodes that finished without an error.
    errors : dict of str to str
        Last line of the traceback of each failed node, by node name.
    seconds : dict of str to float
        Duration of each finished node in s, by node name.
    resources : dict of str to Resources
        Resources of each node, by node name; empty without ``--resource-monitor``.
    """

    def __init__(self, progress: Progress, workflow: Workflow) -> None:
        self._progress = progress
        self._workflow = workflow
        self.finished: set[str] = set()
        self.errors: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self.resources: dict[str, Resources] = {}
        self._started: set[str] = set()

    def record_usage(self, node: Node, usage: Usage) -> None:
        """Record the resources of a node, which the default plugin reports."""
        self.resources[_name_of(node)] = Resources(usage, node.mem_gb)

    def __call__(self, node: Node, status: str) -> None:
        """Record the status of a node, which nipype's plugins report."""
        name = _name_of(node)
        if status == "start":
            self._started.add(name)
            self._progress.start(name)
            level = self._level(self._progress.estimate(name), _LONG)
            LOGGER.log(level, "%s: started", name)
        elif status == "exception":
            self.finished.discard(name)
            self.errors[name] = _error_of(node)
            self._progress.skip([name, *_dependent_nodes(self._workflow, name)])
            LOGGER.error("%s: FAILED: %s", name, self.errors[name])
        # check that the node was started, because some plugins report the end of nodes that never
        # started, because they depend on a failed node
        elif name in self._started and name not in self.errors:
            self.finished.add(name)
            self.seconds[name] = self._progress.end(name)
            LOGGER.log(
                self._level(self.seconds[name], _SHORT),
                "%s: done in %.1f s; %.0f %% of the run is done, about %s left",
                name,
                self.seconds[name],
                100 * self._progress.fraction,
                format_time(self._progress.seconds_left),
            )

    def _level(self, seconds: float, limit: float) -> int:
        """Return the level of a log message about a step that takes this time in s."""
        return logging.INFO if seconds >= limit and not self._progress.displayed else logging.DEBUG


def run_workflow(workflow: Workflow, settings: Settings, progress: Progress) -> Monitor:
    """Run a workflow to its end, even if some of its nodes fail.

    Parameters
    ----------
    workflow : Workflow
    settings : Settings
    progress : Progress
        Progress of the run, which is updated.

    Returns
    -------
    Monitor
        Result of each node.

    Raises
    ------
    InputError
        If the plugin file is not valid, or if Slurm rejects the jobs.
    OutputError
        If the path of the folder for temporary files is too long.
    """
    monitor = Monitor(progress, workflow)
    plugin = _plugin(settings, monitor)
    if settings.write_graph:
        _write_graph(workflow, settings)
    settings.work_dir.mkdir(parents=True, exist_ok=True)
    start_fork_server(settings)  # unless the command has started it earlier
    try:
        # workers and jobs start in this folder, so they do not read nipype.cfg of another project
        with chdir(settings.work_dir), _stopping_at_signals(plugin):
            workflow.run(plugin=plugin)
    except SubmissionError as error:
        raise InputError(
            settings.plugin_file or "--use-plugin",
            f"creates jobs that Slurm rejects ({error})",
            "correct sbatch_args",
        ) from error
    except Exception as error:
        # at the end, nipype raises the errors of its nodes, which the monitor has recorded
        if not monitor.errors:
            raise
        LOGGER.debug("nipype ended with %r", error)
    return monitor


def crash_reports(folder: Path) -> dict[str, Path]:
    """Find nipype's crash reports of failed nodes, and remove the user's name from file names.

    Parameters
    ----------
    folder : Path
        Folder of the crash reports.

    Returns
    -------
    dict of str to Path
        Path of the newest report of each node, by the node names that :class:`Monitor` uses.
    """
    found = {}
    # file names start with the time, so the newest report comes last
    for path in sorted(folder.glob("crash-*.txt")):
        with path.open(encoding="utf-8", errors="replace") as lines:
            label, _, fullname = lines.readline().partition(": ")
        if label == "Node":
            node = fullname.strip().partition(".")[2]
            found[node] = path.rename(path.with_name(_without_login(path.name, node)))
    return found


def _name_of(node: Node) -> str:
    """Return the full name of a node without its first part, the name of the whole workflow."""
    return str(node.fullname.partition(".")[2])


def _dependent_nodes(workflow: Workflow, name: str) -> list[str]:
    """Return the names of the nodes that need the results of a node, directly or not."""
    acquisition, dot, step = name.rpartition(".")
    part = workflow.get_node(acquisition) if acquisition else workflow
    dependent = networkx.descendants(part._graph, part.get_node(step))
    return [f"{acquisition}{dot}{node.name}" for node in dependent]


def _without_login(name: str, node: str) -> str:
    """Return the name of a crash report without the login name, which follows the time."""
    last = re.escape(node.rpartition(".")[2])
    return re.sub(rf"^(crash-\d+-\d+-).*?(?={last}-)", r"\1", name)


def _stopping_at_signals(plugin: PluginBase) -> AbstractContextManager[None]:
    in_main_thread = threading.current_thread() is threading.main_thread()
    if isinstance(plugin, SurvivingMultiProcPlugin) and in_main_thread:
        return plugin.stopping_at(signal.SIGINT, signal.SIGTERM)
    return nullcontext()


def _write_graph(workflow: Workflow, settings: Settings) -> None:
    path = settings.output_dir / LOGS / "graph.dot"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        workflow.write_graph(dotfilename=str(path), graph2use="colored")
    except OSError as error:
        LOGGER.warning("%s was written, but the image of the graph was not: %s", path, error)


def _plugin(settings: Settings, monitor: Monitor) -> PluginBase:
    """Return the plugin that runs the nodes: the default, or the plugin in the plugin file."""
    arguments = {
        "n_procs": settings.nprocs,
        "memory_gb": memory_limit_gb(settings),
        "raise_insufficient": False,
        # a worker forked from this process would inherit the locks of its threads, but not the
        # threads that release them
        "mp_context": "forkserver",
    }
    if settings.plugin_file is None:
        arguments["status_callback"] = monitor
        if settings.resource_monitor:
            arguments["usage_callback"] = monitor.record_usage
        return SurvivingMultiProcPlugin(plugin_args=arguments)
    kind, given = _read_plugin_file(settings.plugin_file)
    try:
        return kind(plugin_args={**arguments, **given, "status_callback": monitor})
    except Exception as error:  # nipype plugins do not check their arguments
        raise InputError(
            settings.plugin_file,
            f"has plugin_args that {kind.__name__} does not accept ({error!r})",
            "correct plugin_args",
        ) from error


def _read_plugin_file(path: Path) -> tuple[type[PluginBase], dict[str, Any]]:
    """Read the class of the plugin and its arguments from the plugin file."""
    remedy = "write the keys plugin (a name) and plugin_args (a mapping) to this YAML file"
    content = read_yaml_mapping(path, remedy)
    name, arguments = content.get("plugin"), content.get("plugin_args") or {}
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise InputError(path, "is not a plugin file", remedy)
    for key, value in arguments.items():
        if (key in _NUMBERS and not (is_number(value) and value > 0)) or (
            key in _TEXTS and not isinstance(value, str)
        ):
            raise InputError(
                path,
                f"has {value!r} as {key} in plugin_args",
                f"use {'a number above 0' if key in _NUMBERS else 'a string'}",
            )
    kind = _OWN_PLUGINS.get(name) or getattr(nipype.pipeline.plugins, f"{name}Plugin", None)
    if kind is None:
        raise InputError(path, f"names the plugin {name!r}, which does not exist in nipype", remedy)
    if issubclass(kind, GraphPluginBase):
        raise InputError(
            path,
            f"names the plugin {name}, which does not wait until the submitted jobs end",
            "use SLURM, SGE, PBS, LSF, OAR or Condor",
        )
    return kind, arguments


def _error_of(node: Node) -> str:
    """Return the last line of a failed node's traceback, from our plugin or the node's result."""
    try:
        traceback = getattr(node, "_traceback", None) or node.result.runtime.traceback
        last = "".join(traceback).strip().splitlines()[-1].strip()
        # remove the class name of an InputError, because its message is sufficient
        return _CLASS_OF_INPUT_ERROR.sub("", last, count=1)
    except (AttributeError, TypeError, OSError, IndexError):
        return (
            "its process ended without an error message; it may have been killed for lack of memory"
        )
