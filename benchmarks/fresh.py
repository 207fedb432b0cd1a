"""Map a saved head in a new process, to measure effects that occur once per process.

``python -m benchmarks.fresh HEAD.npz [OPTIONS] METHOD...`` prints one line of JSON: the seconds for
the import of `bids_qcm.recon` and for the methods' first calls, and the resident memory in bytes
before the first call and at the peak.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]


def run_fresh(
    head: Path,
    methods: Sequence[str],
    *,
    n_threads: int,
    radius: float | None = None,
    uncertainty: bool = False,
    environment: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """Run this module as a program and return its output.

    Parameters
    ----------
    head : path
        A saved head.
    methods : sequence of str
        Methods to call, one after the other.
    n_threads : int
        Number of threads.
    radius : float, optional
        Radius of all kernels in mm; default: the published optima.
    uncertainty : bool
        Whether to compute the standard deviations, too.
    environment : mapping, optional
        Additional environment variables.
    """
    radii = [] if radius is None else [f"--radius={radius}"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.fresh", str(head)),
            *(*radii, *(["--uncertainty"] if uncertainty else [])),
            *(f"--threads={n_threads}", *methods),
        ],
        cwd=_ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("head", type=Path)
    parser.add_argument("methods", nargs="+")
    parser.add_argument("--radius", type=float)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--uncertainty", action="store_true")
    arguments = parser.parse_args()
    start = time.perf_counter()
    from bids_qcm.recon import reconstruct  # noqa: F401

    imported = time.perf_counter()
    from benchmarks.head import Head

    head = Head.load(arguments.head)
    options: dict[str, Any] = {"n_threads": arguments.threads}
    if arguments.radius is not None:
        options |= {"fit_radius": arguments.radius, "integral_radius": arguments.radius}
    if arguments.uncertainty:
        options |= head.noise()
    memory_before = peak_memory()
    called = time.perf_counter()
    for method in arguments.methods:
        head.reconstruct(method, **options)
    done = time.perf_counter()
    figures = {
        "import": imported - start,
        "calls": done - called,
        "memory_before": memory_before,
        "memory_peak": peak_memory(),
    }
    print(json.dumps(figures))


def peak_memory() -> float:
    """Return the largest resident memory so far, in bytes."""
    # On Linux, getrusage starts from the peak of the parent process, which is large.
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
