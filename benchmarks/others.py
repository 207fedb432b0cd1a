"""What other programs do meanwhile, which no benchmark can be trusted without."""

import os
import time
from pathlib import Path
from typing import Self

_STAT = Path("/proc/stat")


QUIET = 0.1
"""Processors that other programs may keep busy without disturbing a measurement much."""

_LOOK_FOR = 0.5


class OtherPrograms:
    """Processor time that other programs take inside a `with` block.

    Attributes
    ----------
    cores : float or None
        Processors that they kept busy on average; None where Linux's `/proc/stat` is missing.
    own_seconds : float
        Processor time that this program and its finished children took, all threads together.
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
    """Wait until other programs rest, but no longer than `patience` seconds."""
    end = time.perf_counter() + patience
    while time.perf_counter() < end:
        with OtherPrograms() as others:
            time.sleep(_LOOK_FOR)
        if others.cores is None or others.cores < QUIET:
            return


def _now() -> tuple[float, float, float]:
    """Give the clock, and the processor time of all programs and of this one, in s."""
    own = os.times()
    return time.perf_counter(), _busy(), sum(own[:4])


def _busy() -> float:
    if not _STAT.exists():
        return 0.0
    user, nice, system, _idle, _wait, irq, softirq, steal = map(
        int, _STAT.read_text().split(maxsplit=9)[1:9]
    )
    # of the whole machine, also what a hypervisor gave to others
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
