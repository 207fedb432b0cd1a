"""What is settled before computing: a plan for each acquisition, or why there is none."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.companions import b1_datasets, mask_datasets, segmentation_datasets
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

_MORE_MEMORY = "give more with --mem, or use a machine that has it"


@dataclass(frozen=True)
class Prospect:
    """An acquisition and what will become of it.

    Attributes
    ----------
    acquisition : Acquisition
    plan : Plan or None
    why_skipped : str
        Why there is no plan.
    """

    acquisition: Acquisition
    plan: Plan | None = None
    why_skipped: str = ""

    @property
    def failures(self) -> list[Failure]:
        """Why the acquisition, or methods of it, will not be computed."""
        if self.plan is None:
            return [Failure("checks", self.why_skipped)]
        return [Failure(method, reason) for method, reason in self.plan.refused.items()]


@dataclass(frozen=True)
class Preflight:
    """Plans acquisitions; whatever is wrong with one of them concerns it alone.

    Attributes
    ----------
    settings : Settings
    derivatives : mapping of str to Path
        Derivative datasets by name.

    Raises
    ------
    InputError
        If the segmentation, the mask or the |B1+| map is to be of a dataset that is not there.
    """

    settings: Settings
    derivatives: Mapping[str, Path]
    _segmentation_datasets: Sequence[Path] = field(init=False)
    _mask_datasets: Sequence[Path] = field(init=False)
    _b1_datasets: Sequence[Path] = field(init=False)

    def __post_init__(self) -> None:
        datasets = segmentation_datasets(self.settings.segmentation, self.derivatives)
        object.__setattr__(self, "_segmentation_datasets", datasets)
        datasets = mask_datasets(self.settings.mask, self.derivatives)
        object.__setattr__(self, "_mask_datasets", datasets)
        datasets = b1_datasets(self.settings.b1, self.settings.bids_dir, self.derivatives)
        object.__setattr__(self, "_b1_datasets", datasets)

    def outline(self, acquisitions: Iterable[Acquisition]) -> list[Prospect]:
        """Plan by headers and sidecars, which takes some hundredths of a second each."""
        return [self._look(acquisition, headers_only=True) for acquisition in acquisitions]

    def check(self, plans: Sequence[Plan]) -> list[Prospect]:
        """Plan once more with all values read, as many images at once as processes may run."""
        largest = max(map(reading_gb, plans))
        at_once = int(memory_limit_gb(self.settings) // largest)
        with ThreadPoolExecutor(max(min(self.settings.nprocs, at_once), 1)) as pool:
            return list(pool.map(self._look, (plan.acquisition for plan in plans)))

    def _look(self, acquisition: Acquisition, *, headers_only: bool = False) -> Prospect:
        try:
            plan = plan_acquisition(
                acquisition,
                self.settings,
                list(self.derivatives.values()),
                self._segmentation_datasets,
                self._mask_datasets,
                self._b1_datasets,
                headers_only=headers_only,
            )
            return Prospect(acquisition, fit_memory(plan, self.settings))
        except InputError as error:
            return Prospect(acquisition, why_skipped=str(error))
        except Exception as error:
            # whatever nobody has thought of must not end the run for the others
            LOGGER.debug("%s", acquisition.name, exc_info=True)
            return Prospect(acquisition, why_skipped=f"internal error, please report it: {error!r}")


def fit_memory(plan: Plan, settings: Settings) -> Plan:
    """Refuse what needs more memory than there may be used.

    Parameters
    ----------
    plan : Plan
    settings : Settings

    Returns
    -------
    Plan
        Without the methods that do not fit.

    Raises
    ------
    InputError
        If nothing fits.
    """
    limit = memory_limit_gb(settings)
    first_image = plan.echoes[0].files[0]
    needed = preparation_gb(plan)
    if needed > limit:
        raise InputError(
            first_image,
            f"needs about {needed:.1f} GB of memory, and {limit:.1f} GB may be used",
            _MORE_MEMORY,
        )
    needs = {method: reconstruction_gb(plan, settings, method) for method in plan.methods}
    refused = {
        method: f"{method} needs about {needed:.1f} GB of memory, and {limit:.1f} GB may be used; "
        f"{_MORE_MEMORY}{', or give --no-uncertainty' if settings.uncertainty else ''}"
        for method, needed in needs.items()
        if needed > limit
    }
    if len(refused) == len(plan.methods):
        raise InputError(first_image, "; ".join(refused.values()), "choose another --method")
    methods = tuple(method for method in plan.methods if method not in refused)
    return replace(plan, methods=methods, refused={**plan.refused, **refused})
