"""Processor time and peak memory of a process."""

import resource
import sys
import time
from dataclasses import dataclass

# Unit of the peak memory that the operating system reports.
_BYTES = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Usage:
    """Resources that a step used.

    Attributes
    ----------
    processor_seconds : float
        Processor time of all threads in s.
    peak_gb : float
        Peak memory of the process in GB since its start.
    """

    processor_seconds: float
    peak_gb: float


def usage_since(start: float) -> Usage:
    """Return the resources that this process has used.

    Parameters
    ----------
    start : float
        Value of ``time.process_time()`` at the start of the step.

    Returns
    -------
    Usage
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES
    return Usage(time.process_time() - start, peak / 1e9)
