"""Run the group level in a new process: ``python -m benchmarks.group BIDS_DIR OUTPUT_DIR``.

Prints one line of JSON: the processor time in seconds, and the peak resident memory in bytes.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.fresh import peak_memory

_ROOT = Path(__file__).parents[1]


def run_group(raw: Path, out: Path) -> dict[str, float]:
    """Run this module as a program and return its output."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.group", str(raw), str(out)],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def main() -> None:
    """Run the program."""
    from bids_qcm.cli.run import main as run

    raw, out = sys.argv[1:]
    options = ["--group-by", "group", "--covariates", "age", "sex"]
    status = run([raw, out, "group", "-w", str(Path(out, "..", "work")), *options])
    if status:
        sys.exit(status)
    print(json.dumps({"processor_time": time.process_time(), "memory_peak": peak_memory()}))


if __name__ == "__main__":
    main()
