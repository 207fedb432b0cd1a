"""Server process that loads the interfaces once and forks the worker processes."""

import multiprocessing
import os
import signal
import tempfile
from contextlib import chdir
from multiprocessing import forkserver, resource_tracker

from bids_qcm.bids.errors import OutputError
from bids_qcm.settings import Settings

PRELOADED = [
    "bids_qcm.interfaces.masks",
    "bids_qcm.interfaces.phase",
    "bids_qcm.interfaces.reconstruction",
    "bids_qcm.interfaces.segmentation",
    "bids_qcm.interfaces.spaces",
    "bids_qcm.interfaces.statistics",
    "bids_qcm.workflows.workers",
    # slow to import, and needed for the sign and for the position of a segmentation
    "scipy.stats",
]
"""Modules that the server imports, so that the workers need not import them again."""

# Socket names are limited to 108 bytes. multiprocessing appends a suffix such as
# /pymp-12345678/listener-12345678 to the folder.
_LONGEST_TEMPORARY_FOLDER = 75


def start_fork_server(settings: Settings) -> None:
    """Start the server process, unless it is running.

    The server imports the interfaces, which takes about a second, while this process continues. It
    must start after nipype and the number of threads have been configured. A plugin from a plugin
    file may not need the server, so the server then starts with the first worker.

    Parameters
    ----------
    settings : Settings

    Raises
    ------
    OutputError
        If the path of the folder for temporary files is too long.
    """
    _check_temporary_folder()
    multiprocessing.set_forkserver_preload(PRELOADED)
    if settings.plugin_file is not None:
        return
    # Starting the resource tracker, which the server needs, would unblock the signal.
    resource_tracker.ensure_running()
    # The server starts in this folder, so that it does not read nipype.cfg of another project. It
    # inherits the blocked signal, so that Ctrl+C does not interrupt its imports.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        with chdir(settings.work_dir):
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _check_temporary_folder() -> None:
    """Check that the folder for temporary files has a path short enough for socket names."""
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) > _LONGEST_TEMPORARY_FOLDER:
        raise OutputError(
            folder,
            "is a path that is too long for socket names",
            "set TMPDIR to a folder with a shorter path",
        )
