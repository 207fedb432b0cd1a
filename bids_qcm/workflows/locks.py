"""Locks of acquisitions against concurrent runs in the same work directory."""

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile

from bids_qcm.bids.errors import OutputError
from bids_qcm.bids.planning import Plan
from bids_qcm.settings import Settings
from bids_qcm.workflows.configuration import require_private
from bids_qcm.workflows.names import acquisition_wf_name, run_name

LOGGER = logging.getLogger("bids_qcm")

# Intervals in s for file systems without locks. A run updates the modification times of its lock
# files at the first interval. A lock file that is older than the second interval was left by a
# killed run. The large difference allows for the clocks of different machines.
_RENEWAL_INTERVAL = 10
_ABANDONED = 300


@contextmanager
def lock_acquisitions(plans: Sequence[Plan], settings: Settings) -> Iterator[list[Plan]]:
    """Lock acquisitions against other runs until the ``with`` block or the process ends.

    Parameters
    ----------
    plans : sequence of Plan
    settings : Settings

    Yields
    ------
    list of Plan
        Plans of the acquisitions that no other run has locked.

    Raises
    ------
    OutputError
        If a lock file is a link, or if other users can write to the folder of the run.
    """
    folder = settings.work_dir / run_name(settings)
    require_private(folder)
    paths = [folder / f"{acquisition_wf_name(plan.acquisition)}.lock" for plan in plans]
    for path in paths:
        if path.is_symlink():
            raise OutputError(path, "is a link", "delete it")
    lock = _lock if _has_locks(folder) else _create
    with ExitStack() as stack:
        locked = [plan for plan, path in zip(plans, paths, strict=True) if lock(path, stack)]
        yield locked


@cache
def _has_locks(folder: Path) -> bool:
    """Whether the file system of a folder supports locks; log a warning once if it does not."""
    with TemporaryFile(dir=folder) as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except OSError as error:
            LOGGER.warning(
                "%s: the file system does not support locks (%s); if a run is killed, wait %d "
                "minutes before you start it again",
                folder,
                error.strerror,
                _ABANDONED // 60,
            )
            return False
    return True


def _lock(path: Path, stack: ExitStack) -> bool:
    """Lock a file until the stack ends; return False if another run has locked the file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    stack.callback(os.close, descriptor)
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _create(path: Path, stack: ExitStack) -> bool:
    """Create a file and keep its time current until the stack ends; return False if it exists.

    Creating a file that must not exist is atomic on all network file systems.
    """
    with suppress(FileNotFoundError):
        if time.time() - path.lstat().st_mtime > _ABANDONED:
            path.unlink()
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(_RENEWAL_INTERVAL):
            with suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    stack.callback(path.unlink, missing_ok=True)
    stack.callback(thread.join)
    stack.callback(ended.set)
    return True
