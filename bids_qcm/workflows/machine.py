"""What the machine has for this process."""

import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def available_cores() -> int:
    """Count the cores that this process may use, by affinity and the limits of its container."""
    import joblib

    return joblib.cpu_count()


def available_memory_gb() -> float:
    """Give the memory that this process may use, by the machine and the limits of its container.

    A scheduler or a container limits it by control groups, and whoever goes beyond is killed.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_cgroup_limits(_CGROUPS, _OWN_CGROUPS)]) / 1e9


def _cgroup_limits(root: Path, own_groups: Path) -> Iterator[int]:
    """Give the limits of the process's control group and of those above it, in bytes."""
    try:
        lines = own_groups.read_text().splitlines()
    except OSError:  # not on Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # of version 2
            top, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        # inside a container, the path may be that of the host, which is not there: then the top is
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
