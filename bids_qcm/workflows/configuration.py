"""Configuration of nipype and of the libraries in its worker processes."""

import os
import shutil
from contextlib import chdir
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory

from bids_qcm import __version__
from bids_qcm.bids.derivatives import write_text
from bids_qcm.bids.errors import OutputError
from bids_qcm.bids.outputs import LOGS
from bids_qcm.folders import make_private
from bids_qcm.settings import Settings

_LOGGING = """\
[logging]
workflow_level = {level}
utils_level = {level}
interface_level = {level}
"""


# Environment variables that limit the threads of linear algebra libraries and OpenMP. Functions of
# this package and of scipy receive the number of threads as an argument.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def require_private(folder: Path) -> None:
    """Make a folder for intermediate results that only the current user can write.

    nipype stores results as pickles, so any user who can write to the folder can run code.

    Raises
    ------
    OutputError
        If the folder exists and other users can write to it, or if it is a link.
    """
    reason = make_private(folder)
    if reason:
        raise OutputError(
            folder,
            f"{reason}, but intermediate results can contain code",
            "choose another --work-dir; if you made all files in this folder yourself, make it "
            f"private with `chmod go-w {quote(str(folder))}`",
        )


def limit_threads(settings: Settings) -> None:
    """Limit the libraries in each worker process to ``--omp-nthreads`` threads.

    Libraries read the environment variables on import, so the limit applies only to processes that
    start after this call.

    Parameters
    ----------
    settings : Settings
    """
    os.environ |= dict.fromkeys(_THREAD_VARIABLES, str(settings.omp_nthreads))


def share_compiled_code(settings: Settings) -> None:
    """Copy a read-only numba cache to the work directory, and use the copy.

    The cache in a container image is read-only. numba ignores a read-only cache, so every process
    would compile all functions again. If the cache was made for another type of processor, the
    functions are compiled once, into the copy.

    Parameters
    ----------
    settings : Settings
    """
    given = Path(os.environ.get("NUMBA_CACHE_DIR", ""))
    if not (given.parts and given.is_dir()) or os.access(given, os.W_OK):
        return
    cache = settings.work_dir / f"numba-{__version__}"
    if cache.exists():
        require_private(cache)
    else:
        settings.work_dir.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=settings.work_dir) as folder:
            copy = shutil.copytree(given, Path(folder) / cache.name, copy_function=shutil.copyfile)
            copy.chmod(0o700)
            try:
                copy.rename(cache)
            except OSError:
                # another run with the same work directory may have made the copy in the meantime
                if not cache.exists():
                    raise
    os.environ["NUMBA_CACHE_DIR"] = str(cache)


def configure_nipype(settings: Settings, *, verbose: bool) -> None:
    """Import nipype with the configuration of this app only.

    On import, in this process and in every worker, nipype reads two configuration files:
    ``nipype.cfg`` in the folder ``NIPYPE_CONFIG_DIR`` (by default a folder in the user's home), and
    ``nipype.cfg`` in the current folder, which may belong to another project. This function writes
    the configuration to the work directory and imports nipype with the work directory as the
    current folder, so that nipype reads this file in both cases.
    :func:`bids_qcm.workflows.running.run_workflow` starts the workers in the work directory for the
    same reason. The variable ``NIPYPE_NO_ET`` stops nipype from looking for updates on the network.
    nipype's scheduler plugins need ``LOGNAME`` to name their jobs.

    Parameters
    ----------
    settings : Settings
    verbose : bool
        Whether nipype logs each step of each node.

    Raises
    ------
    OutputError
        If other users can write to the work directory.
    """
    require_private(settings.work_dir)
    level = "INFO" if verbose else "CRITICAL"
    write_text(settings.work_dir / "nipype.cfg", _LOGGING.format(level=level))
    os.environ["NIPYPE_CONFIG_DIR"] = str(settings.work_dir)
    os.environ["NIPYPE_NO_ET"] = "1"
    os.environ.setdefault("LOGNAME", "bids_qcm")
    with chdir(settings.work_dir):
        import nipype  # noqa: F401


def execution_options(settings: Settings) -> dict[str, str]:
    """Return nipype's execution options for a workflow.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    dict of str to str
        Options for ``workflow.config["execution"]``.
    """
    return {
        # copying or touching an input file must not invalidate cached results
        "hash_method": "content",
        # with a local hash check, the main process would skip cached nodes without checking that
        # their output files still exist
        "local_hash_check": "false",
        "create_report": "false",
        "crashfile_format": "txt",
        "crashdump_dir": str(settings.output_dir / LOGS),
        # Interval in s at which nipype checks for finished nodes. The default plugin waits for its
        # workers, and schedulers are polled at longer intervals.
        "poll_sleep_duration": "0.01" if settings.plugin_file is None else "2",
        "stop_on_first_crash": str(settings.stop_on_first_crash).lower(),
    }
