"""Run a command of the app in a new process: ``python -m benchmarks.command ARGUMENT...``.

Prints one line of JSON: the processor time in seconds, and the peak resident memory in bytes. The
time of worker processes is not included.
"""

import json
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

from benchmarks.fresh import peak_memory

_ROOT = Path(__file__).parents[1]


def run_command(*arguments: object) -> dict[str, float]:
    """Run this module as a program and return its output."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.command", *map(str, arguments)],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def main() -> None:
    """Run the program."""
    from bids_qcm.cli.run import main as run

    # the command prints its plan
    with redirect_stdout(sys.stderr):
        status = run(sys.argv[1:])
    if status:
        sys.exit(status)
    print(json.dumps({"processor_time": time.process_time(), "memory_peak": peak_memory()}))


if __name__ == "__main__":
    main()
