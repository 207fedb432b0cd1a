"""What became of what was asked for."""

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.derivatives import derivative_path
from bids_qcm.bids.names import join_name
from bids_qcm.bids.planning import Plan
from bids_qcm.bids.results import SHARED
from bids_qcm.bids.run_records import Failure
from bids_qcm.cli.exits import ExitStatus
from bids_qcm.recon import METHODS
from bids_qcm.settings import Settings

LOGGER = logging.getLogger("bids_qcm")


@dataclass
class Summary:
    """What was done and what was not.

    Attributes
    ----------
    done : list of str
        A line for each map.
    failed : list of str
        Reasons, each naming its acquisition or file.
    failed_reports : list of str
        Reports that could not be written, with the reason.
    failures : dict of str to list of Failure
        What failed, by the name of its acquisition.
    seconds : dict of str to float
        How long the steps of each acquisition took together, by its name.
    methods : dict of str to list of str
        Methods whose maps were written, by what the names of the acquisition's files start with.
    """

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    failed_reports: list[str] = field(default_factory=list)
    failures: dict[str, list[Failure]] = field(default_factory=lambda: defaultdict(list))
    seconds: dict[str, float] = field(default_factory=dict)
    methods: dict[str, list[str]] = field(default_factory=dict)

    def fail(self, acquisition: Acquisition, failure: Failure) -> None:
        """Take note of something that was not done."""
        self.failed.append(f"{acquisition.name}: {failure.error}")
        self.failures[acquisition.name].append(failure)

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
        self.methods[join_name(plan.acquisition.output_entities)] = list(methods)
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
            differing = [key for key in SHARED if older.get(key) != newest.get(key)]
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
        for reason in self.failed:
            LOGGER.error("failed: %s", reason)
        for reason in self.failed_reports:
            LOGGER.error("report failed: %s", reason)
        LOGGER.info("%d map(s) written, %d failure(s)", len(self.done), len(self.failed))
        if self.failed:
            return ExitStatus.SOME_FAILED
        return ExitStatus.REPORT_FAILED if self.failed_reports else ExitStatus.DONE


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
