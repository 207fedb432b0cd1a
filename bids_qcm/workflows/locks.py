"""Locks of acquisitions against concurrent runs in the same work directory."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock

from bids_qcm.bids.planning import Plan
from bids_qcm.settings import Settings
from bids_qcm.workflows.base import acquisition_wf_name, run_name


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
        Plans of the acquisitions that no other run has locked. If the file system does not support
        locks, all plans are returned.
    """
    folder = settings.work_dir / run_name(settings)
    folder.mkdir(parents=True, exist_ok=True)
    locked = []
    with ExitStack() as stack:
        for plan in plans:
            path = folder / f"{acquisition_wf_name(plan.acquisition)}.lock"
            file = stack.enter_context(path.open("w"))
            try:
                flock(file, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                continue
            except OSError:
                pass
            locked.append(plan)
        yield locked
