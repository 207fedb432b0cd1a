"""The search for an acquisition's mask and segmentation, before anything is computed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.candidates import find_mask, find_segmentation, find_t1w
from bids_qcm.bids.companions import Companion
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import Grid, read_echo, read_integers, read_stored
from bids_qcm.bids.routes import Route, plan_route
from bids_qcm.bids.segmentations import (
    check_agreement,
    check_placement,
    read_tissues,
    sample_mask,
)
from bids_qcm.bids.transforms import PointTransform
from bids_qcm.phase import PhaseUnits, signal_mask
from bids_qcm.settings import Settings


@dataclass(frozen=True)
class Found:
    """A companion and its way into the phase's grid, or why there is none.

    Attributes
    ----------
    companion : Companion or None
    route : Route
    why_none : str
    warnings : tuple of str
    brain : ndarray of bool or None
        A mask at the nearest voxels, where its place is known before registering.
    """

    companion: Companion | None = None
    route: Route = field(default_factory=Route)
    why_none: str = ""
    warnings: tuple[str, ...] = ()
    brain: NDArray[np.bool_] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Finder:
    """Finds an acquisition's mask and segmentation, and checks what can be checked at once.

    Attributes
    ----------
    acquisition : Acquisition
    settings : Settings
    grid : Grid
        The phase's.
    first_echo : pair of Path
        Magnitude and phase, or real and imaginary part.
    units : PhaseUnits or None
        The phase's; None for real and imaginary parts.
    datasets : sequence of Path
        Derivative datasets, in the order in which they are searched.
    headers_only : bool
        Whether to leave the values, and what is found by them, for later.
    """

    acquisition: Acquisition
    settings: Settings
    grid: Grid
    first_echo: tuple[Path, Path]
    units: PhaseUnits | None
    datasets: Sequence[Path]
    headers_only: bool = False

    def mask(self) -> Found:
        """Find the brain mask; one that cannot be used is a warning, as the signal mask will do."""
        try:
            found = find_mask(
                self.acquisition, self.grid, self.datasets, self.settings.mask_filters
            )
            if found is None:
                return Found(warnings=self._no_mask())
            route, warnings = self._route(found)
            brain = None
            if self.headers_only:
                return Found(found, route, "", tuple(warnings))
            read_integers(found.path)
            if route.coreg in (None, "header"):
                brain = sample_mask(found.path, self.grid, _point_map(route))
        except InputError as error:
            return Found(warnings=(f"using a mask of reliable signal, as {error}",))
        return Found(found, route, "", tuple(warnings), brain)

    def segmentation(self, datasets: Sequence[Path], mask: Found) -> Found:
        """Find the segmentation, or tell why there is none.

        Where no method was asked for, one that cannot be used is a warning, as others will do.
        """
        acquisition, settings = self.acquisition, self.settings
        if settings.segmentation == "none":
            return Found(why_none=f"--segmentation none was given for {acquisition.name}")
        try:
            if settings.segmentation == "t1w":
                return self._t1w()
            found = find_segmentation(
                acquisition, self.grid, datasets, settings.segmentation_filters
            )
            if found is None:
                filtered = bool(settings.segmentation_filters)
                return self._none(_no_segmentation(acquisition, filtered), worth_a_warning=filtered)
            route, warnings = self._route(found)
            if not self.headers_only:
                self._check(found, route, mask)
        except InputError as error:
            return self._none(str(error), worth_a_warning=True)
        return Found(found, route, "", tuple(warnings))

    def _no_mask(self) -> tuple[str, ...]:
        if not self.settings.mask_filters:
            return ()
        name = self.acquisition.name
        return (f"using a mask of reliable signal, as no mask for {name} passes the filters",)

    def _none(self, why: str, *, worth_a_warning: bool = False) -> Found:
        """Tell why there is none; methods that were asked for are refused with the same words."""
        worth_a_warning |= self.settings.segmentation != "auto"
        told = worth_a_warning and not self.settings.methods
        return Found(why_none=why, warnings=(f"using no segmentation, as {why}",) if told else ())

    def _route(self, found: Companion) -> tuple[Route, list[str]]:
        return plan_route(found, self.acquisition, self.grid, self.datasets, self.settings)

    def _t1w(self) -> Found:
        acquisition, settings = self.acquisition, self.settings
        found = find_t1w(acquisition, self.grid, settings.bids_dir, settings.segmentation_filters)
        if found is None:
            return self._none(f"--segmentation t1w, but {acquisition.name} has no T1w image")
        if not self.headers_only:
            read_stored(found.path)
        route, warnings = self._route(found)
        warning = (
            f"{acquisition.name}: the segmentation is of low confidence: tissue classes of "
            f"{found.path.name}; a segmentation by FreeSurfer, FastSurfer or SynthSeg is better"
        )
        return Found(found, route, "", (warning, *warnings))

    def _check(self, found: Companion, route: Route, mask: Found) -> None:
        """Check a segmentation's labels, and its place as far as it is known before registering."""
        labels, _ = read_tissues(found, self.settings.label_table)
        if route.coreg not in (None, "header"):
            PointTransform(route.steps)
            return
        magnitude, _ = read_echo(*self.first_echo, self.units)
        point_map = _point_map(route)
        check_placement(found.path, labels, self.grid, magnitude, signal_mask(magnitude), point_map)
        if mask.brain is not None:
            where = mask.companion.path
            check_agreement(found.path, labels, self.grid, mask.brain, where, point_map)


def _point_map(route: Route) -> PointTransform | None:
    return None if route.same_grid else PointTransform(route.steps)


def _no_segmentation(acquisition: Acquisition, filtered: bool) -> str:
    if filtered:
        return f"no segmentation for {acquisition.name} passes the filters of --bids-filter-file"
    return (
        f"no segmentation for {acquisition.name}; give a derivative dataset that has "
        f"sub-{acquisition.subject}/anat/*_dseg.nii.gz with --derivatives, or let its T1w image be "
        "segmented with --segmentation t1w"
    )
