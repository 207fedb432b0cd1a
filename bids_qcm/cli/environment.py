"""Describe the environment of a run for its record."""

import platform

from bids_qcm.bids.container import describe_container
from bids_qcm.settings import Settings
from bids_qcm.workflows.memory import memory_limit_gb


def describe_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a run, without the names of the user and the machine.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    dict of str to str
        Operating system, Python version, container if any, threads and memory limit.
    """
    container = describe_container()
    return {
        "system": f"{platform.system()}, {platform.machine()}",
        "Python": platform.python_version(),
        **({} if container is None else {"container": f"{container.type}, {container.tag}"}),
        "threads": f"{settings.nprocs}, at most {settings.omp_nthreads} in a step",
        "memory limit": f"{memory_limit_gb(settings):.1f} GB",
    }
