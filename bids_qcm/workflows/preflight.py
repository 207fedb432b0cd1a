"""Planning of all acquisitions before the computation starts."""

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.anatomy.datasets import SearchedDatasets
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.planning import Plan, plan_acquisition
from bids_qcm.bids.run_records import Failure
from bids_qcm.settings import Settings
from bids_qcm.workflows.memory import (
    memory_limit_gb,
    preparation_gb,
    reading_gb,
    reconstruction_gb,
)

LOGGER = logging.getLogger("bids_qcm")

_MORE_MEMORY = "raise --mem, or use a machine with more memory"


@dataclass(frozen=True)
class PlanningResult:
    """An acquisition with its plan, or with the reason why it cannot be computed.

    Attributes
    ----------
    acquisition : Acquisition
    plan : Plan or None
        None if the acquisition is skipped.
    why_skipped : str
        Reason why the acquisition is skipped; empty if there is a plan.
    """

    acquisition: Acquisition
    plan: Plan | None = None
    why_skipped: str = ""

    @property
    def failures(self) -> list[Failure]:
        """Reasons why the acquisition, or some of its methods, will not be computed."""
        if self.plan is None:
            return [Failure("checks", self.why_skipped)]
        return [Failure(method, reason) for method, reason in self.plan.refused.items()]


@dataclass(frozen=True)
class Preflight:
    """Planner of acquisitions. An error in one acquisition does not affect the others.

    Attributes
    ----------
    settings : Settings
    datasets : SearchedDatasets
    """

    settings: Settings
    datasets: SearchedDatasets

    def outline(self, acquisitions: Iterable[Acquisition]) -> list[PlanningResult]:
        """Plan from headers and sidecars only, which takes less than 0.1 s per acquisition."""
        return [self._plan(acquisition, headers_only=True) for acquisition in acquisitions]

    def check(self, plans: Sequence[Plan]) -> list[PlanningResult]:
        """Plan the acquisitions again, and read all image values.

        Images are read in parallel, in as many threads as the process and memory limits allow.
        """
        largest = max(map(reading_gb, plans))
        at_once = int(memory_limit_gb(self.settings) // largest)
        with ThreadPoolExecutor(max(min(self.settings.nprocs, at_once), 1)) as pool:
            return list(pool.map(self._plan, (plan.acquisition for plan in plans)))

    def _plan(self, acquisition: Acquisition, *, headers_only: bool = False) -> PlanningResult:
        try:
            plan = plan_acquisition(
                acquisition, self.settings, self.datasets, headers_only=headers_only
            )
            return PlanningResult(acquisition, fit_memory(plan, self.settings))
        except InputError as error:
            return PlanningResult(acquisition, why_skipped=str(error))
        except Exception as error:
            # an unexpected error in one acquisition must not stop the other acquisitions
            LOGGER.debug("%s", acquisition.name, exc_info=True)
            why = f"internal error, please report it: {error!r}"
            return PlanningResult(acquisition, why_skipped=why)


def fit_memory(plan: Plan, settings: Settings) -> Plan:
    """Remove the methods that need more memory than the limit.

    Parameters
    ----------
    plan : Plan
    settings : Settings

    Returns
    -------
    Plan
        The plan without these methods, which are listed in ``refused`` with the reason.

    Raises
    ------
    InputError
        If no method fits into the memory limit.
    """
    limit = memory_limit_gb(settings)
    first_image = plan.echoes[0].files[0]
    needed = preparation_gb(plan)
    if needed > limit:
        raise InputError(
            first_image,
            f"needs about {needed:.1f} GB of memory, but only {limit:.1f} GB may be used",
            _MORE_MEMORY,
        )
    needs = {method: reconstruction_gb(plan, settings, method) for method in plan.methods}
    refused = {
        method: f"{method} needs about {needed:.1f} GB of memory, but only {limit:.1f} GB may be "
        f"used; {_MORE_MEMORY}{', or use --no-uncertainty' if settings.uncertainty else ''}"
        for method, needed in needs.items()
        if needed > limit
    }
    if len(refused) == len(plan.methods):
        raise InputError(first_image, "; ".join(refused.values()), "choose another --method")
    methods = tuple(method for method in plan.methods if method not in refused)
    return replace(plan, methods=methods, refused={**plan.refused, **refused})
