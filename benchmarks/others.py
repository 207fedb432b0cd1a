"""Processor time of other programs, which can disturb a benchmark."""

import os
import time
from pathlib import Path
from typing import Self

_STAT = Path("/proc/stat")


QUIET = 0.1
"""Number of processors that other programs may use without disturbing a measurement."""

_LOOK_FOR = 0.5


class OtherPrograms:
    """Processor time that other programs use inside a `with` block.

    Attributes
    ----------
    cores : float or None
        Average number of processors that other programs used; None if `/proc/stat` of Linux is not
        available.
    own_seconds : float
        Processor time of this program and its finished child processes, summed over all threads.
    """

    cores: float | None = None
    own_seconds: float = 0.0

    def __enter__(self) -> Self:
        self._start = _now()
        return self

    def __exit__(self, *_: object) -> None:
        clock, all_programs, self.own_seconds = (
            end - start for end, start in zip(_now(), self._start, strict=True)
        )
        if _STAT.exists() and clock > 0:
            self.cores = max(0.0, (all_programs - self.own_seconds) / clock)


def wait_for_quiet(patience: float) -> None:
    """Wait until other programs are idle, but not longer than `patience` seconds."""
    end = time.perf_counter() + patience
    while time.perf_counter() < end:
        with OtherPrograms() as others:
            time.sleep(_LOOK_FOR)
        if others.cores is None or others.cores < QUIET:
            return


def _now() -> tuple[float, float, float]:
    """Return the clock, the processor time of all programs, and the time of this program, in s."""
    own = os.times()
    return time.perf_counter(), _busy(), sum(own[:4])


def _busy() -> float:
    if not _STAT.exists():
        return 0.0
    user, nice, system, _idle, _wait, irq, softirq, steal = map(
        int, _STAT.read_text().split(maxsplit=9)[1:9]
    )
    # processor time of the whole machine, including the time of other virtual machines
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
