"""nipype's configuration."""

import os
import shutil
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

from bids_qcm import __version__
from bids_qcm.bids.derivatives import write_text
from bids_qcm.settings import Settings

_LOGGING = """\
[logging]
workflow_level = {level}
utils_level = {level}
interface_level = {level}
"""


# Linear algebra and OpenMP loops of the libraries; our loops and scipy's are told in each call.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def limit_threads(settings: Settings) -> None:
    """Let the libraries in each process of the workflow have ``--omp-nthreads`` threads.

    They read these variables when imported, so it holds for processes started afterwards.

    Parameters
    ----------
    settings : Settings
    """
    os.environ |= dict.fromkeys(_THREAD_VARIABLES, str(settings.omp_nthreads))


def share_compiled_code(settings: Settings) -> None:
    """Move numba's cache to the work directory where the given one cannot be written.

    That of a container is read-only. numba does not even read such a cache, and every process would
    compile anew. What the cache has for another kind of processor is compiled once, into the copy.

    Parameters
    ----------
    settings : Settings
    """
    given = Path(os.environ.get("NUMBA_CACHE_DIR", ""))
    if not (given.parts and given.is_dir()) or os.access(given, os.W_OK):
        return
    cache = settings.work_dir / f"numba-{__version__}"
    if not cache.exists():
        settings.work_dir.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=settings.work_dir) as folder:
            copy = shutil.copytree(given, Path(folder) / cache.name, copy_function=shutil.copyfile)
            try:
                copy.rename(cache)
            except OSError:
                # another run with the same work directory was faster
                if not cache.exists():
                    raise
    os.environ["NUMBA_CACHE_DIR"] = str(cache)


def configure_nipype(settings: Settings, *, verbose: bool) -> None:
    """Import nipype with our configuration, and no other.

    nipype reads two files when it is imported, here and in every worker: ``nipype.cfg`` in the
    folder that ``NIPYPE_CONFIG_DIR`` names (by default one in the user's home), and ``nipype.cfg``
    in the current folder, which may be of another project. In the work directory both are ours, so
    nipype is imported there, and :func:`bids_qcm.workflows.running.run_workflow` starts the workers
    there.
    Without the second variable nipype would look for updates on the network, and without the third
    its plugins for schedulers cannot name their jobs.

    Parameters
    ----------
    settings : Settings
    verbose : bool
        Let nipype log each step of each node.
    """
    level = "INFO" if verbose else "CRITICAL"
    write_text(settings.work_dir / "nipype.cfg", _LOGGING.format(level=level))
    os.environ["NIPYPE_CONFIG_DIR"] = str(settings.work_dir)
    os.environ["NIPYPE_NO_ET"] = "1"
    os.environ.setdefault("LOGNAME", "bids_qcm")
    with chdir(settings.work_dir):
        import nipype  # noqa: F401


def execution_options(settings: Settings) -> dict[str, str]:
    """Give nipype's options for the execution of a workflow.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    dict of str to str
        For ``workflow.config["execution"]``.
    """
    return {
        # a copied or touched input is not a changed one
        "hash_method": "content",
        # the parent would hand on cached nodes without a look at their files
        "local_hash_check": "false",
        "create_report": "false",
        "crashfile_format": "txt",
        "crashdump_dir": str(settings.output_dir / "logs"),
        # seconds between looks at what is done, for each node; a scheduler is asked less often
        "poll_sleep_duration": "0.05" if settings.plugin_file is None else "2",
        "stop_on_first_crash": str(settings.stop_on_first_crash).lower(),
    }
