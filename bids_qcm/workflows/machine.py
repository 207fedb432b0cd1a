"""Cores and memory that are available to this process."""

import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def available_cores() -> int:
    """Return the number of cores that CPU affinity and container limits allow this process."""
    import joblib

    return int(joblib.cpu_count())


def available_memory_gb() -> float:
    """Return the memory in GB that this process may use.

    This is the smaller of the physical memory and the control group limits, with which schedulers
    and containers limit memory. A process that exceeds these limits is killed.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_cgroup_limits(_CGROUPS, _OWN_CGROUPS)]) / 1e9


def _cgroup_limits(root: Path, own_groups: Path) -> Iterator[int]:
    """Yield the memory limits in bytes of the process's control group and its parent groups."""
    try:
        lines = own_groups.read_text().splitlines()
    except OSError:  # the file exists only on Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # cgroup version 2
            top, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        # in a container the path may be the host's and absent here; the cgroup root always exists
        folder = top / path.lstrip("/")
        for group in (folder, *folder.parents):
            text = _text_of(group / name)
            if text.isdecimal():
                yield int(text)
            if group == top:
                break


def _text_of(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
