"""What became of what was asked for."""

import errno
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from bids_qcm.bids.derivatives import derivative_path
from bids_qcm.bids.planning import Plan
from bids_qcm.cli.exits import ExitStatus
from bids_qcm.recon import METHODS
from bids_qcm.settings import Settings
from bids_qcm.workflows.preflight import Prospect

LOGGER = logging.getLogger("bids_qcm")

# Maps of one acquisition that differ in these do not belong together.
_SHARED = ("PhaseSign", "PhaseType", "MaskType", "ImagingFrequency")

# As Python has it in the messages of errors.
_CANNOT_WRITE = re.compile(
    rf"\[Errno ({'|'.join(map(str, (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)))})\]"
)


@dataclass
class Summary:
    """What was done and what was not.

    Attributes
    ----------
    done : list of str
        A line for each map.
    skipped : dict of str to list of str
        For acquisitions: why they, or some methods, were not computed.
    failed : list of str
        What went wrong with others. All reasons name their acquisition or file.
    """

    done: list[str] = field(default_factory=list)
    skipped: dict[str, list[str]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    _warnings: set[str] = field(default_factory=set)

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
            self.skipped[name] = prospect.reasons
            for reason in prospect.reasons:
                if reason not in before and not told:
                    LOGGER.error("skipped: %s", reason)
            if prospect.plan is not None:
                plans.append(prospect.plan)
                for warning in prospect.plan.warnings:
                    if warning not in self._warnings:
                        LOGGER.warning("%s", warning)
                self._warnings.update(prospect.plan.warnings)
        return plans

    def add_maps(self, plan: Plan, settings: Settings, methods: Sequence[str]) -> None:
        """Take note of an acquisition's new maps, and warn of what their sidecars tell."""
        sidecars = {}
        for method in methods:
            path = _sidecar_path(plan, settings, METHODS[method].desc)
            sidecars[path] = json.loads(path.read_text())
            image = path.with_suffix(".nii.gz")
            self.done.append(f"{image} ({sidecars[path]['InvalidFraction']:.1%} invalid)")
            _warn_of_target(image, sidecars[path])
        if not sidecars:
            return
        newest = list(sidecars.values())[-1]
        _tell_of_segmentation(plan, sidecars.values())
        if newest.get("PhaseSignWeak"):
            LOGGER.warning(
                "%s: the evidence for the sign %s of the phase is weak, %.0f %% of the voxels "
                "agree; look at the map, and give --sign if you know it",
                plan.acquisition.name,
                newest["PhaseSign"],
                100 * newest["PhaseSignAgreement"],
            )
        others = {_sidecar_path(plan, settings, m.desc) for m in METHODS.values()} - set(sidecars)
        for path in sorted(filter(Path.exists, others)):
            older = json.loads(path.read_text())
            differing = [key for key in _SHARED if older.get(key) != newest.get(key)]
            if differing:
                LOGGER.warning(
                    "%s is of an earlier run with another %s; delete it, or compute it again",
                    path.with_suffix(".nii.gz"),
                    " and ".join(differing),
                )

    def conclude(self) -> ExitStatus:
        """Log the summary, and give the exit status."""
        for line in self.done:
            LOGGER.info("written: %s", line)
        skipped = list(chain.from_iterable(self.skipped.values()))
        for reason in skipped:
            LOGGER.error("skipped: %s", reason)
        for reason in self.failed:
            LOGGER.error("failed: %s", reason)
        LOGGER.info(
            "%d map(s) written, %d skipped, %d failed",
            len(self.done),
            len(skipped),
            len(self.failed),
        )
        if any(map(_CANNOT_WRITE.search, self.failed)):
            LOGGER.error("make room in OUTPUT_DIR and the work directory, or give others")
            return ExitStatus.CANNOT_WRITE
        return ExitStatus.SOME_FAILED if skipped or self.failed else ExitStatus.DONE


def _sidecar_path(plan: Plan, settings: Settings, desc: str) -> Path:
    return derivative_path(settings.output_dir, plan.acquisition, "condmap", ".json", desc=desc)


def _warn_of_target(image: Path, sidecar: Mapping[str, Any]) -> None:
    """Warn where the largest automatic radii are too small for the noise."""
    if sidecar.get("PredictedStd", 0) > sidecar.get("TargetStd", 0):
        LOGGER.warning(
            "%s: twice the published radii leave a standard deviation of %.2g S/m, above the "
            "target of %.2g S/m; larger ones would average structures flat",
            image,
            sidecar["PredictedStd"],
            sidecar["TargetStd"],
        )


def _tell_of_segmentation(plan: Plan, sidecars: Iterable[Mapping[str, Any]]) -> None:
    """Log how the segmentation was brought to the phase, and what was found only then."""
    using = next((sidecar for sidecar in sidecars if "TissueVolumes" in sidecar), None)
    if using is None:
        return
    name = plan.acquisition.name
    volumes = ", ".join(f"{tissue} {ml:.0f} ml" for tissue, ml in using["TissueVolumes"].items())
    LOGGER.info("%s: segmentation of %s", name, volumes)
    if "RegisteredShift" in using:
        LOGGER.info(
            "%s: placed by the %s: the registration moves the head by %.1f mm and takes the mutual "
            "information from %.3f to %.3f",
            name,
            {"rigid": "registration", "header": "headers"}[using["Coregistration"]],
            using["RegisteredShift"],
            using["MutualInformationHeader"],
            using["MutualInformationRegistered"],
        )
    for warning in using["Warnings"]:
        if warning not in plan.warnings:
            LOGGER.warning("%s: %s", name, warning)
