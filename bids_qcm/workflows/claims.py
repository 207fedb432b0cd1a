"""Who computes an acquisition in a work directory: one run at a time."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock

from bids_qcm.bids.planning import Plan
from bids_qcm.settings import Settings
from bids_qcm.workflows.base import acquisition_wf_name, run_name


@contextmanager
def claimed(plans: Sequence[Plan], settings: Settings) -> Iterator[list[Plan]]:
    """Keep other runs off acquisitions as long as the block lasts, or the process lives.

    Parameters
    ----------
    plans : sequence of Plan
    settings : Settings

    Yields
    ------
    list of Plan
        Those that no other run computes now. Where a file system has no locks, it is all of them.
    """
    folder = settings.work_dir / run_name(settings)
    folder.mkdir(parents=True, exist_ok=True)
    ours = []
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
            ours.append(plan)
        yield ours
