"""Outcome of a run."""

import errno
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.names import join_name
from bids_qcm.bids.planning import Plan
from bids_qcm.bids.results import Result, duplicate_maps, find_results, map_warnings
from bids_qcm.bids.run_records import Failure
from bids_qcm.bids.sidecar_schema import MaskSidecar, SegmentationSidecar
from bids_qcm.checks.verdict import Verdict
from bids_qcm.cli.exits import ExitStatus
from bids_qcm.settings import Settings
from bids_qcm.workflows.preflight import PlanningResult

if TYPE_CHECKING:  # for type checking only, because this module imports nipype
    from bids_qcm.workflows.computing import Outcome

LOGGER = logging.getLogger("bids_qcm")

# Start of the message of an OSError if a file cannot be written.
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
    """Outcome of a run: written maps, and skipped or failed acquisitions, methods and reports.

    Attributes
    ----------
    done : list of str
        One line for each map that was written.
    unchanged : list of str
        One line for each map that was not recomputed, because nothing changed.
    skipped : dict of str to list of Failure
        For each acquisition, the reasons why it, or some of its methods, were skipped; an empty
        list if nothing was skipped.
    failed : dict of str to list of Failure
        Errors during the computation, keyed by acquisition name.
    failed_reports : list of str
        Reports that could not be written, with the reason.
    computed : dict of str to Outcome
        Outcomes of the acquisitions that were computed, keyed by acquisition name.
    methods : dict of str to list of str
        Methods whose maps were written or are unchanged, keyed by the prefix of the acquisition's
        output files.
    """

    done: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    skipped: dict[str, list[Failure]] = field(default_factory=dict)
    failed: dict[str, list[Failure]] = field(default_factory=lambda: defaultdict(list))
    failed_reports: list[str] = field(default_factory=list)
    computed: dict[str, "Outcome"] = field(default_factory=dict)
    methods: dict[str, list[str]] = field(default_factory=dict)
    _warnings: set[str] = field(default_factory=set)

    def fail(self, acquisition: Acquisition, failure: Failure) -> None:
        """Add a failure of an acquisition."""
        self.failed[acquisition.name].append(failure)

    def failures(self, acquisition: Acquisition) -> list[Failure]:
        """Return everything that was skipped or failed for an acquisition."""
        return [*self.skipped.get(acquisition.name, ()), *self.failed.get(acquisition.name, ())]

    def add_planning_results(
        self, results: Iterable[PlanningResult], *, already_logged: bool = False
    ) -> list[Plan]:
        """Add planning results, and log each new error and warning once.

        Parameters
        ----------
        results : iterable of PlanningResult
        already_logged : bool
            Whether the reasons for skipped acquisitions and methods have already been logged.

        Returns
        -------
        list of Plan
            Plans of the acquisitions that will be computed.
        """
        plans = []
        for result in results:
            name = result.acquisition.name
            before = self.skipped.get(name, ())
            self.skipped[name] = result.failures
            for failure in result.failures:
                if failure not in before and not already_logged:
                    LOGGER.error("skipped: %s: %s", name, failure.error)
            if result.plan is not None:
                plans.append(result.plan)
                for warning in result.plan.warnings:
                    if warning not in self._warnings:
                        LOGGER.warning("%s", warning)
                self._warnings.update(result.plan.warnings)
        return plans

    def add_outcomes(self, outcomes: Sequence["Outcome"], settings: Settings) -> None:
        """Add the outcomes, the failures and the maps of computed acquisitions."""
        for outcome in outcomes:
            acquisition = outcome.plan.acquisition
            for failure in outcome.failures:
                self.fail(acquisition, failure)
            self.computed[acquisition.name] = outcome
        written = [(one.plan, one.methods) for one in outcomes if one.methods]
        self._add_maps(written, settings, self.done)

    def add_unchanged(self, plans: Iterable[Plan], settings: Settings) -> None:
        """Add the maps of acquisitions that need not be computed again."""
        self._add_maps([(plan, plan.methods) for plan in plans], settings, self.unchanged)

    def _add_maps(
        self,
        written: Iterable[tuple[Plan, Sequence[str]]],
        settings: Settings,
        lines: list[str],
    ) -> None:
        """Add the maps of acquisitions and their methods to the lines.

        The results of each participant are read only once.
        """
        of_subject: dict[str, list[tuple[Plan, Sequence[str]]]] = defaultdict(list)
        for plan, methods in written:
            of_subject[plan.acquisition.subject].append((plan, methods))
        for subject, its_maps in of_subject.items():
            damaged: list[InputError] = []
            results = find_results(settings.output_dir, f"sub-{subject}", damaged)
            for plan, methods in its_maps:
                self._add_acquisition(plan, methods, results, damaged, lines)

    def _add_acquisition(
        self,
        plan: Plan,
        methods: Sequence[str],
        results: Sequence[Result],
        damaged: Sequence[InputError],
        lines: list[str],
    ) -> None:
        """Add the maps of an acquisition to the lines, and log the warnings from their sidecars.

        `results` and `damaged` are the results and unreadable files of the participant.
        """
        source = join_name(plan.acquisition.output_entities)
        result = next((one for one in results if one.source == source), None)
        if result is None:
            for error in damaged:
                self.fail(plan.acquisition, Failure("report", str(error)))
            return
        for written in result.maps:
            if written.method in methods:
                invalid = written.sidecar.invalid_fraction
                lines.append(f"{written.condmap} ({invalid:.1%} invalid)")
        self.methods[source] = list(methods)
        _log_mask(plan.acquisition.name, result.mask_sidecar)
        if result.segmentation_sidecar:
            _log_segmentation(plan.acquisition.name, result.segmentation_sidecar)
        for warning in (*map_warnings(result), *duplicate_maps(results)):
            # the warnings of the plan have already been logged
            if warning not in self._warnings:
                LOGGER.warning("%s: %s", plan.acquisition.name, warning)
        for method in methods:
            _log_verdict(f"{plan.acquisition.name}, {method}", result.verdicts.get(method))

    def conclude(self, *, only_planned: bool = False) -> ExitStatus:
        """Log the summary and return the exit status.

        Parameters
        ----------
        only_planned : bool
            Whether the run computes nothing, so that the numbers of maps are not logged.

        Returns
        -------
        ExitStatus
        """
        for line in self.done:
            LOGGER.info("written: %s", line)
        for line in self.unchanged:
            LOGGER.info("unchanged: %s", line)
        skipped, failed = _lines(self.skipped), _lines(self.failed)
        for line in skipped:
            LOGGER.error("skipped: %s", line)
        for line in failed:
            LOGGER.error("failed: %s", line)
        for reason in self.failed_reports:
            LOGGER.error("report failed: %s", reason)
        incomplete = {
            name
            for failures in (self.skipped, self.failed)
            for name, of_acquisition in failures.items()
            if of_acquisition
        }
        if not only_planned:
            LOGGER.info(
                "%d map(s) written, %d unchanged; %d acquisition(s) complete, %d incomplete",
                len(self.done),
                len(self.unchanged),
                len({*self.skipped, *self.failed} - incomplete),
                len(incomplete),
            )
        if any(map(_CANNOT_WRITE.search, failed)):
            LOGGER.error(
                "free space in OUTPUT_DIR and the work directory and check that both are writable, "
                "or choose other folders"
            )
            return ExitStatus.CANNOT_WRITE
        if skipped or failed:
            return ExitStatus.SOME_FAILED
        return ExitStatus.REPORT_FAILED if self.failed_reports else ExitStatus.DONE


def log_existing_maps(plans: Sequence[Plan], settings: Settings) -> None:
    """Log which of the planned maps exist after an interruption."""
    planned = {
        (join_name(plan.acquisition.output_entities), method)
        for plan in plans
        for method in plan.methods
    }
    existing = [
        one.condmap
        for subject in sorted({plan.acquisition.subject for plan in plans})
        for result in find_results(settings.output_dir, f"sub-{subject}", [])
        for one in result.maps
        if (result.source, one.method) in planned
    ]
    for path in existing:
        LOGGER.info("there: %s", path)
    LOGGER.info("%d of %d map(s) are in OUTPUT_DIR", len(existing), len(planned))


def _lines(by_name: Mapping[str, Sequence[Failure]]) -> list[str]:
    return [f"{name}: {one.error}" for name, failures in by_name.items() for one in failures]


def _log_verdict(name: str, verdict: Verdict | None) -> None:
    """Log the verdict on a map, at warning level if it is red and at info level otherwise."""
    if verdict is None:
        return
    level = logging.WARNING if verdict.colour == "red" else logging.INFO
    reasons = f": {'; '.join(verdict.reasons)}" if verdict.reasons else ""
    LOGGER.log(level, "%s: verdict %s%s", name, verdict.colour, reasons)


def _log_mask(name: str, sidecar: MaskSidecar) -> None:
    """Log the origin of the mask and how well the mask fits the image."""
    origin = _ORIGINS.get(sidecar.mask_origin or "", "unknown source")
    parts = [f"{sidecar.mask_type} mask from the {origin}"]
    if sidecar.mask_overlap is not None:
        parts.append(f"signal in {sidecar.mask_overlap:.0%} of the mask")
    if sidecar.mutual_information is not None:
        parts.append(
            f"mutual information {sidecar.mutual_information:.3f} (minimum "
            f"{sidecar.mutual_information_threshold:.3f})"
        )
    parts += [sidecar.mask_note] if sidecar.mask_note else []
    LOGGER.info("%s: %s", name, "; ".join(parts))


def _log_segmentation(name: str, sidecar: SegmentationSidecar) -> None:
    """Log the tissue volumes of the segmentation and its alignment with the phase."""
    of_tissues = sidecar.tissue_volumes or {}
    volumes = ", ".join(f"{tissue} {ml:.0f} ml" for tissue, ml in of_tissues.items())
    LOGGER.info("%s: segmentation with %s", name, volumes)
    if sidecar.registered_shift is not None and sidecar.coregistration is not None:
        LOGGER.info(
            "%s: the segmentation was aligned by the %s. The registration moves the head by "
            "%.1f mm and changes the mutual information from %.3f to %.3f",
            name,
            {"rigid": "registration", "header": "headers"}[sidecar.coregistration],
            sidecar.registered_shift,
            sidecar.mutual_information_header,
            sidecar.mutual_information_registered,
        )
