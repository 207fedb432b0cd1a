"""What became of what was asked for."""

import errno
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.names import join_name
from bids_qcm.bids.planning import Plan
from bids_qcm.bids.results import caveats, find_results, read_sidecar, twins
from bids_qcm.bids.run_records import Failure
from bids_qcm.checks.verdict import Verdict
from bids_qcm.cli.exits import ExitStatus
from bids_qcm.settings import Settings
from bids_qcm.workflows.preflight import Prospect

LOGGER = logging.getLogger("bids_qcm")

# As Python has it in the messages of errors.
_CANNOT_WRITE = re.compile(
    rf"\[Errno ({'|'.join(map(str, (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)))})\]"
)


_ORIGINS = {
    "derivative": "derivative dataset",
    "T1w": "T1w image",
    "template": "MNI152 template",
    "signal": "magnitude",
}


@dataclass
class Summary:
    """What was done and what was not.

    Attributes
    ----------
    done : list of str
        A line for each map.
    skipped : dict of str to list of Failure
        Why acquisitions, or some methods of them, were not computed, by the acquisition's name.
    failed : dict of str to list of Failure
        What went wrong with others.
    failed_reports : list of str
        Reports that could not be written, with the reason.
    seconds : dict of str to float
        How long the steps of each acquisition took together, by its name.
    methods : dict of str to list of str
        Methods whose maps were written, by what the names of the acquisition's files start with.
    """

    done: list[str] = field(default_factory=list)
    skipped: dict[str, list[Failure]] = field(default_factory=dict)
    failed: dict[str, list[Failure]] = field(default_factory=lambda: defaultdict(list))
    failed_reports: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    methods: dict[str, list[str]] = field(default_factory=dict)
    _warnings: set[str] = field(default_factory=set)

    def fail(self, acquisition: Acquisition, failure: Failure) -> None:
        """Take note of something that went wrong."""
        self.failed[acquisition.name].append(failure)

    def failures(self, acquisition: Acquisition) -> list[Failure]:
        """Give what was not done of an acquisition."""
        return [*self.skipped.get(acquisition.name, ()), *self.failed.get(acquisition.name, ())]

    def add_prospects(self, prospects: Iterable[Prospect], *, told: bool = False) -> list[Plan]:
        """Take note of what will not be computed, and warn of what is doubtful, once each.

        Parameters
        ----------
        prospects : iterable of Prospect
        told : bool
            What will not be computed has been told already.

        Returns
        -------
        list of Plan
            Of what will be computed.
        """
        plans = []
        for prospect in prospects:
            name = prospect.acquisition.name
            before = self.skipped.get(name, ())
            self.skipped[name] = prospect.failures
            for failure in prospect.failures:
                if failure not in before and not told:
                    LOGGER.error("skipped: %s: %s", name, failure.error)
            if prospect.plan is not None:
                plans.append(prospect.plan)
                for warning in prospect.plan.warnings:
                    if warning not in self._warnings:
                        LOGGER.warning("%s", warning)
                self._warnings.update(prospect.plan.warnings)
        return plans

    def add_maps(self, plan: Plan, settings: Settings, methods: Sequence[str]) -> None:
        """Take note of an acquisition's new maps, and warn of what their sidecars tell."""
        if not methods:
            return
        source = join_name(plan.acquisition.output_entities)
        results = find_results(settings.output_dir, f"sub-{plan.acquisition.subject}")
        (result,) = (one for one in results if one.source == source)
        for one in result.maps:
            if one.method in methods:
                invalid = one.sidecar["InvalidFraction"]
                self.done.append(f"{one.condmap} ({invalid:.1%} invalid)")
        self.methods[source] = list(methods)
        _tell_of_mask(plan.acquisition.name, read_sidecar(result.mask))
        if result.segmentation:
            _tell_of_segmentation(plan.acquisition.name, read_sidecar(result.segmentation))
        for caveat in (*caveats(result), *twins(results)):
            # those of the plan were told before
            if caveat not in self._warnings:
                LOGGER.warning("%s: %s", plan.acquisition.name, caveat)
        for method in methods:
            _tell_of_verdict(f"{plan.acquisition.name}, {method}", result.verdicts.get(method))

    def conclude(self) -> ExitStatus:
        """Log the summary, and give the exit status."""
        for line in self.done:
            LOGGER.info("written: %s", line)
        skipped, failed = _lines(self.skipped), _lines(self.failed)
        for line in skipped:
            LOGGER.error("skipped: %s", line)
        for line in failed:
            LOGGER.error("failed: %s", line)
        for reason in self.failed_reports:
            LOGGER.error("report failed: %s", reason)
        LOGGER.info(
            "%d map(s) written, %d skipped, %d failed", len(self.done), len(skipped), len(failed)
        )
        if any(map(_CANNOT_WRITE.search, failed)):
            LOGGER.error("make room in OUTPUT_DIR and the work directory, or give others")
            return ExitStatus.CANNOT_WRITE
        if skipped or failed:
            return ExitStatus.SOME_FAILED
        return ExitStatus.REPORT_FAILED if self.failed_reports else ExitStatus.DONE


def _lines(found: Mapping[str, Sequence[Failure]]) -> list[str]:
    return [f"{name}: {failure.error}" for name, some in found.items() for failure in some]


def _tell_of_verdict(name: str, verdict: Verdict | None) -> None:
    """Log the verdict on a map: red as a warning, the others as information."""
    if verdict is None:
        return
    level = logging.WARNING if verdict.colour == "red" else logging.INFO
    reasons = f": {'; '.join(verdict.reasons)}" if verdict.reasons else ""
    LOGGER.log(level, "%s: verdict %s%s", name, verdict.colour, reasons)


def _tell_of_mask(name: str, sidecar: Mapping[str, Any]) -> None:
    """Log the origin of the mask, and how well it fits."""
    parts = [f"{sidecar['MaskType']} mask from the {_ORIGINS[sidecar['MaskOrigin']]}"]
    if "MaskOverlap" in sidecar:
        parts.append(f"{sidecar['MaskOverlap']:.0%} of it has signal")
    if "MutualInformation" in sidecar:
        parts.append(
            f"mutual information {sidecar['MutualInformation']:.3f}, at least "
            f"{sidecar['MutualInformationThreshold']:.3f} needed"
        )
    parts += [sidecar["MaskNote"]] if "MaskNote" in sidecar else []
    LOGGER.info("%s: %s", name, "; ".join(parts))


def _tell_of_segmentation(name: str, sidecar: Mapping[str, Any]) -> None:
    """Log what the segmentation holds, and how it was brought to the phase."""
    volumes = ", ".join(f"{tissue} {ml:.0f} ml" for tissue, ml in sidecar["TissueVolumes"].items())
    LOGGER.info("%s: segmentation of %s", name, volumes)
    if "RegisteredShift" in sidecar:
        LOGGER.info(
            "%s: placed by the %s: the registration moves the head by %.1f mm and takes the mutual "
            "information from %.3f to %.3f",
            name,
            {"rigid": "registration", "header": "headers"}[sidecar["Coregistration"]],
            sidecar["RegisteredShift"],
            sidecar["MutualInformationHeader"],
            sidecar["MutualInformationRegistered"],
        )
