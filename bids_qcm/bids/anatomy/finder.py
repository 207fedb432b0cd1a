"""Find and check the masks, segmentation and ``|B1+|`` map before the computation."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.anatomy.alignments import Alignment, plan_alignment
from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.b1_maps import read_declared
from bids_qcm.bids.anatomy.lesions import read_lesions
from bids_qcm.bids.anatomy.search import (
    b1_maps_for_other_images,
    find_b1_map,
    find_lesions,
    find_mask,
    find_segmentation,
    find_t1w,
    other_masks,
)
from bids_qcm.bids.anatomy.segmentations import (
    check_agreement,
    check_placement,
    read_tissues,
    sample_mask,
)
from bids_qcm.bids.anatomy.transforms import check_steps
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import (
    ImagePair,
    StoredImage,
    read_grid,
    read_integers,
    read_stored,
    scale_parts,
    to_polar,
)
from bids_qcm.checks.b1 import DeclaredB1
from bids_qcm.grids import Grid, Volume
from bids_qcm.phase import signal_mask
from bids_qcm.recon import METHODS
from bids_qcm.recon.b1 import model_helps
from bids_qcm.settings import Settings


@dataclass(frozen=True)
class Found:
    """Outcome of a search: an image and its alignment with the phase, or a reason for no image.

    Attributes
    ----------
    auxiliary : AuxiliaryImage or None
        The image; None if no usable image was found.
    alignment : Alignment
        How the image is resampled to the grid of the phase.
    why_none : str
        Reason why no image is used; empty if there is an image.
    warnings : tuple of str
    brain : Volume of bool or None
        Brain mask, sampled at the nearest voxels. None if the image is not a mask, or if its
        position is known only after the registration.
    """

    auxiliary: AuxiliaryImage | None = None
    alignment: Alignment = field(default_factory=Alignment)
    why_none: str = ""
    warnings: tuple[str, ...] = ()
    brain: Volume | None = field(default=None, compare=False)


MaskOrigin = Literal["derivative", "T1w", "template", "signal"]
"""Origin of a mask."""


@dataclass(frozen=True)
class FoundMask:
    """Outcome of the search for a mask.

    Attributes
    ----------
    found : Found
        The brain mask, or the T1w image to compute a brain mask from.
    origins : tuple of str
        Origins to try, in order. Each origin is used only if the previous origin fails.
    """

    found: Found
    origins: tuple[MaskOrigin, ...]


B1Origin = Literal["measured", "model", "none"]
"""Origin of ``|B1+|``; ``none`` stands for a constant ``|B1+|``."""


@dataclass(frozen=True)
class FoundB1:
    """Outcome of the search for a ``|B1+|`` map.

    Attributes
    ----------
    found : Found
        The measured map.
    origins : tuple of str
        Origins to try, in order. Each origin is used only if the previous origin fails. Empty for
        a constant ``|B1+|``.
    declared : DeclaredB1
        Unit and flip angles from the sidecar of the map.
    """

    found: Found = field(default_factory=Found)
    origins: tuple[B1Origin, ...] = ()
    declared: DeclaredB1 = field(default_factory=DeclaredB1)


@dataclass(frozen=True)
class Finder:
    """Search for the masks, segmentation and ``|B1+|`` map of an acquisition.

    The images that are found are checked as far as possible before the computation.

    Attributes
    ----------
    acquisition : Acquisition
    settings : Settings
    grid : Grid
        Grid of the phase.
    first_echo : ImagePair
        Magnitude and phase, or real and imaginary part.
    first_images : pair of StoredImage or None
        Both images of the first echo. None skips all checks that need voxel values, including the
        values of masks, segmentations and maps.
    datasets : sequence of Path
        Derivative datasets in search order.
    shows_head : bool or None
        Whether the sidecar names the head as the body part; None if it names no body part.
    """

    acquisition: Acquisition
    settings: Settings
    grid: Grid
    first_echo: ImagePair
    first_images: tuple[StoredImage, StoredImage] | None
    datasets: Sequence[Path]
    shows_head: bool | None = None

    @property
    def _headers_only(self) -> bool:
        return self.first_images is None

    def mask(self, datasets: Sequence[Path]) -> FoundMask:
        """Find the brain mask, or the image from which a brain mask is computed.

        An unusable mask causes a warning, because a mask can be computed instead. If the user named
        the dataset of the mask, an unusable mask raises an error.

        Parameters
        ----------
        datasets : sequence of Path
            Derivative datasets to search for a mask.

        Returns
        -------
        FoundMask

        Raises
        ------
        InputError
            If the dataset named by the user has no usable mask.
        """
        wanted = self.settings.mask
        if wanted == "signal":
            return FoundMask(Found(), ("signal",))
        warnings: tuple[str, ...] = ()
        try:
            derived = self._derived_mask(datasets)
            if derived is not None:
                return FoundMask(derived, ("derivative",))
            why, warnings = self._no_mask(), self._unused_masks()
            if self.settings.mask_filters:
                warnings = (f"a brain mask is computed, because {why}", *warnings)
        except InputError as error:
            if wanted not in ("auto", "brain"):
                raise
            why = f"the brain mask from a derivative dataset is not used: {error}"
            warnings = (why,)
        if wanted not in ("auto", "brain"):
            raise InputError(datasets[0], why, "choose another dataset with --mask, or omit --mask")
        # With --mask brain, a signal mask is not an acceptable substitute.
        last: tuple[MaskOrigin, ...] = ("signal",) if wanted == "auto" else ()
        if self.shows_head is False and wanted == "auto":
            return FoundMask(Found(warnings=warnings), last)
        image = self._image_for_mask()
        image = replace(image, warnings=(*warnings, *image.warnings))
        first: tuple[MaskOrigin, ...] = ("T1w",) if image.auxiliary else ()
        return FoundMask(image, (*first, "template", *last))

    def _derived_mask(self, datasets: Sequence[Path]) -> Found | None:
        found = find_mask(self.acquisition, self.grid, datasets, self.settings.mask_filters)
        if found is None:
            return None
        alignment, warnings = self._alignment(found)
        brain = None
        if not self._headers_only:
            if alignment.checked_in_planning:
                sampled = sample_mask(found.path, self.grid, alignment.point_map())
                brain = Volume(sampled, self.grid, found.path)
            else:
                read_integers(found.path)
        return Found(found, alignment, "", tuple(warnings), brain)

    def _image_for_mask(self) -> Found:
        """Find the T1w image to compute a brain mask from."""
        filters = self.settings.segmentation_filters
        try:
            # Any of several repeated T1w images is suitable, because all show the same brain.
            found = find_t1w(
                self.acquisition, self.grid, self.settings.bids_dir, filters, any_of_equal=True
            )
            if found is None:
                return Found()
            if not self._headers_only:
                read_stored(found.path)
            alignment, warnings = self._alignment(found)
        except InputError as error:
            return Found(warnings=(f"the brain mask is computed without a T1w image: {error}",))
        return Found(found, alignment, "", tuple(warnings))

    def segmentation(self, datasets: Sequence[Path], mask: Found) -> Found:
        """Find the segmentation, or the reason why no segmentation is used.

        An unusable segmentation causes a warning. If the user requested a method that needs a
        segmentation, the method is refused with the same reason, and the warning is omitted.

        Parameters
        ----------
        datasets : sequence of Path
            Derivative datasets to search for a segmentation.
        mask : Found
            Brain mask with which the segmentation must agree.

        Returns
        -------
        Found
        """
        acquisition, settings = self.acquisition, self.settings
        if settings.segmentation == "none":
            return Found(why_none=f"--segmentation none was set for {acquisition.name}")
        try:
            if settings.segmentation == "t1w":
                return self._t1w()
            found = find_segmentation(
                acquisition, self.grid, datasets, settings.segmentation_filters
            )
            if found is None:
                filtered = bool(settings.segmentation_filters)
                return self._without_segmentation(
                    _no_segmentation(acquisition, filtered), worth_a_warning=filtered
                )
            alignment, warnings = self._alignment(found)
            if self.first_images is not None:
                self._check(found, alignment, mask, *self.first_images)
        except InputError as error:
            return self._without_segmentation(str(error), worth_a_warning=True)
        return Found(found, alignment, "", tuple(warnings))

    def lesions(self, datasets: Sequence[Path]) -> Found:
        """Find the lesion masks.

        An unusable mask leads to a warning, because the maps can be computed without it.

        Parameters
        ----------
        datasets : sequence of Path
            Datasets to search for lesion masks.

        Returns
        -------
        Found
            Its auxiliary image contains all usable masks.
        """
        name, warnings = self.acquisition.name, []
        try:
            found = find_lesions(
                self.acquisition, self.grid, datasets, self.settings.lesion_filters
            )
            if found is None:
                return Found()
            usable = []
            for path in found.paths:
                try:
                    self._check_lesions(path)
                    usable.append(path)
                except InputError as error:
                    warnings.append(f"{name}: a lesion mask is not used: {error}")
            if not usable:
                return Found(warnings=tuple(warnings))
            found = replace(found, paths=tuple(usable))
            alignment, of_alignment = self._alignment(found)
            if not self._headers_only:
                check_steps(alignment.steps)
        except InputError as error:
            return Found(warnings=(*warnings, f"{name}: the lesion masks are not used: {error}"))
        return Found(found, alignment, "", (*warnings, *of_alignment))

    def _check_lesions(self, path: Path) -> None:
        if self._headers_only:
            read_grid(path)
        else:
            read_lesions(path)

    def b1(self, datasets: Sequence[Path], frequency: float) -> FoundB1:
        """Find the measured ``|B1+|`` map, and the alternatives if it is missing or fails.

        With ``auto``, an unusable map causes a warning, because the model or a constant ``|B1+|``
        can be used instead. If the user named the dataset of the map, an unusable map raises an
        error.

        Parameters
        ----------
        datasets : sequence of Path
            Datasets to search for a map.
        frequency : float
            Larmor frequency in Hz.

        Returns
        -------
        FoundB1

        Raises
        ------
        InputError
            If the dataset named by the user has no usable map.
        """
        wanted = self.settings.b1
        if wanted in ("none", "model"):
            return FoundB1(origins=("model",) if wanted == "model" else ())
        name = self.acquisition.name
        warnings: tuple[str, ...] = ()
        try:
            measured = self._measured_b1(datasets)
            if measured is not None:
                others: tuple[B1Origin, ...] = (*self._modelled(frequency), "none")
                return replace(
                    measured, origins=("measured", *(others if wanted == "auto" else ()))
                )
            if wanted == "auto":
                warnings = self._unused_b1_maps(datasets)
        except InputError as error:
            if wanted != "auto":
                raise
            warnings = (f"{name}: the measured |B1+| map is not used: {error}",)
        if wanted != "auto":
            raise InputError(
                datasets[0],
                f"has no |B1+| map for {name}",
                f"add sub-{self.acquisition.subject}/fmap/*_TB1map.nii.gz of the same session, "
                "choose another dataset with --b1, or omit --b1",
            )
        model = self._modelled(frequency)
        return FoundB1(Found(warnings=warnings), (*model, "none") if model else ())

    def _modelled(self, frequency: float) -> tuple[B1Origin, ...]:
        """Return the model as an origin if the modelled ``|B1+|`` may improve the maps.

        The model is kept if the sidecar does not name the body part, because a later step can
        still find out whether the image shows a head.
        """
        helps = model_helps(frequency, is_head=self.shows_head is not False)
        return ("model",) if helps else ()

    def _measured_b1(self, datasets: Sequence[Path]) -> FoundB1 | None:
        allow_unintended = self.settings.b1 != "auto"
        filters = self.settings.b1_filters
        found = find_b1_map(
            self.acquisition, self.grid, datasets, filters, allow_unintended=allow_unintended
        )
        if found is None:
            return None
        declared = read_declared(found)
        if not self._headers_only:
            read_stored(found.path)
        alignment, warnings = self._alignment(found)
        return FoundB1(Found(found, alignment, "", tuple(warnings)), declared=declared)

    def _unused_b1_maps(self, datasets: Sequence[Path]) -> tuple[str, ...]:
        """Return at most one warning, which lists the maps intended only for other images."""
        others = ", ".join(p.name for p in b1_maps_for_other_images(self.acquisition, datasets))
        if not others:
            return ()
        return (
            f"{self.acquisition.name}: these |B1+| maps are not used, because their IntendedFor "
            f"lists only other images: {others}. If the head did not move between the scans, add "
            "an image of this acquisition to IntendedFor, or name the map's dataset with --b1",
        )

    def _no_mask(self) -> str:
        name = self.acquisition.name
        if self.settings.mask_filters:
            return f"no mask for {name} passes the filters"
        return f"has no brain mask for {name}"

    def _unused_masks(self) -> tuple[str, ...]:
        """Return at most one warning, which lists the masks that may not show the brain."""
        others = ", ".join(path.name for path in other_masks(self.acquisition, self.datasets))
        if not others:
            return ()
        return (
            f"{self.acquisition.name}: these masks are not used: {others}. If one of them is a "
            "brain mask, rename it to *_desc-brain_mask, or choose it with --bids-filter-file",
        )

    def _without_segmentation(self, why: str, *, worth_a_warning: bool = False) -> Found:
        """Return a result without a segmentation, with the reason and an optional warning.

        The methods that need a segmentation are refused with the same reason, so the warning is
        omitted if the user requested one of these methods.
        """
        worth_a_warning |= self.settings.segmentation != "auto"
        refused = any(METHODS[name].uses_labels for name in self.settings.methods)
        told = worth_a_warning and not refused
        return Found(why_none=why, warnings=(f"no segmentation is used: {why}",) if told else ())

    def _alignment(self, found: AuxiliaryImage) -> tuple[Alignment, list[str]]:
        return plan_alignment(found, self.acquisition, self.grid, self.datasets, self.settings)

    def _t1w(self) -> Found:
        acquisition, settings = self.acquisition, self.settings
        found = find_t1w(acquisition, self.grid, settings.bids_dir, settings.segmentation_filters)
        if found is None:
            return self._without_segmentation(
                f"--segmentation t1w was requested, but {acquisition.name} has no T1w image"
            )
        if not self._headers_only:
            read_stored(found.path)
        alignment, warnings = self._alignment(found)
        warning = (
            f"{acquisition.name}: the segmentation has low confidence, because it was computed "
            f"from {found.path.name} by intensity classification; a segmentation by FreeSurfer, "
            "FastSurfer or SynthSeg is more accurate"
        )
        return Found(found, alignment, "", (warning, *warnings))

    def _check(
        self,
        found: AuxiliaryImage,
        alignment: Alignment,
        mask: Found,
        first: StoredImage,
        second: StoredImage,
    ) -> None:
        """Check the labels of a segmentation, and its position if planning can sample it.

        The workflow checks the position of every segmentation again.
        """
        labels, _ = read_tissues(found, self.settings.label_table)
        if not alignment.checked_in_planning:
            check_steps(alignment.steps)
            return
        units, point_map = self.first_echo.units, alignment.point_map()
        magnitude, phase = to_polar(scale_parts(first, second, units), units)
        try:
            head = signal_mask(magnitude, phase)
        except ValueError as error:
            raise InputError(
                self.first_echo.first, str(error), "check this image in a viewer"
            ) from error
        check_placement(labels, Volume(magnitude, self.grid), head, point_map)
        if mask.brain is not None:
            check_agreement(labels, mask.brain, point_map)


def _no_segmentation(acquisition: Acquisition, filtered: bool) -> str:
    if filtered:
        return f"no segmentation for {acquisition.name} passes the filters of --bids-filter-file"
    return (
        f"no segmentation for {acquisition.name}; use --derivatives to add a derivative dataset "
        f"that contains sub-{acquisition.subject}/anat/*_dseg.nii.gz, or --segmentation t1w to "
        "segment the T1w image"
    )
