"""Plan how a segmentation, mask or ``|B1+|`` map is resampled to the grid of the phase."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.anatomy.auxiliary import NATIVE, SCANNER, AuxiliaryImage
from bids_qcm.bids.anatomy.search import find_t1w
from bids_qcm.bids.anatomy.transforms import PointTransform, Step, find_steps, own_first
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.files import require_content, visible
from bids_qcm.bids.images import read_grid
from bids_qcm.bids.names import IMAGE_EXTENSIONS
from bids_qcm.bids.sidecar_schema import Placement
from bids_qcm.grids import Grid
from bids_qcm.settings import Coreg, Settings

# FreeSurfer's anatomical images, best first: bias-corrected images, then raw images.
_FREESURFER_IMAGES = ("nu.mgz", "orig_nu.mgz", "T1.mgz", "orig.mgz")


@dataclass(frozen=True)
class Alignment:
    """The mapping of points from the phase's coordinates to an image's coordinates.

    Attributes
    ----------
    same_grid : bool
        Whether the image is already on the grid of the phase, so that no mapping is needed.
    steps : tuple of Step
        Transforms in the order in which they are applied to a point.
    coreg : {"auto", "header", "rigid"} or None
        Method that aligns the phase with the participant's anatomy, before `steps`. None if the
        image is on the grid of the phase, or if the steps start in the space of the phase.
    anatomical : Path or None
        Anatomical image to register to the magnitude; None if `coreg` is ``header`` or None.
    template_t1w : Path or None
        T1w image that the app registers to nilearn's template, because the image is in the space of
        this template and no transform was found. This registration follows `steps`.
    """

    same_grid: bool = False
    steps: tuple[Step, ...] = ()
    coreg: Coreg | None = None
    anatomical: Path | None = None
    template_t1w: Path | None = None

    @cached_property
    def anatomical_grid(self) -> Grid | None:
        """Grid of `anatomical`. The header is read once, when the grid is first needed."""
        return None if self.anatomical is None else read_grid(self.anatomical)

    @property
    def checked_in_planning(self) -> bool:
        """Whether planning can sample the image: no registration, and only linear transforms.

        A displacement field may take more than a gigabyte of memory, so only the workflow reads it.
        """
        computed = self.coreg not in (None, "header") or self.template_t1w is not None
        return not computed and all(step.is_linear for step in self.steps)

    def point_map(
        self, pose: ArrayLike | None = None, template_file: Path | None = None
    ) -> PointTransform | None:
        """Return the mapping of points after a rigid pose; None if no mapping is needed.

        Parameters
        ----------
        pose : array_like, shape (4, 4), optional
            Affine matrix that is applied before the steps; the identity by default.
        template_file : Path, optional
            ITK transform of points from the T1w image to the template, if there is a
            `template_t1w`. It is applied after the steps.

        Raises
        ------
        InputError
            If a file cannot be read as an ITK transform.
        """
        if self.same_grid:
            return None
        template = () if template_file is None else (Step(template_file),)
        return PointTransform((*self.steps, *template), pose)

    def describe(self) -> dict[str, Any]:
        """Return the sidecar fields of the alignment; a registration adds its results later."""
        if self.same_grid:
            return Placement(resampling="none, same grid as the phase").to_dict()
        return Placement(
            resampling="linear for each label, largest fraction wins",
            transforms=self.transform_names(),
            coregistration="header" if self.coreg == "header" else None,
        ).to_dict()

    def transform_names(self) -> list[str] | None:
        """Return the file names of the transforms for a sidecar; None without transforms."""
        return transform_names(self.steps) or None


def transform_names(steps: Sequence[Step]) -> list[str]:
    """Return the file names of transforms for a sidecar; inverse transforms are marked."""
    return [step.path.name + (" (inverse)" if step.inverse else "") for step in steps]


def resampled_files(auxiliary: AuxiliaryImage | None, alignment: Alignment) -> list[Path]:
    """Return the files of a resampled image and of its transforms; empty for None."""
    if auxiliary is None:
        return []
    return [*auxiliary.paths, *(step.path for step in alignment.steps)]


def plan_alignment(
    auxiliary: AuxiliaryImage,
    acquisition: Acquisition,
    grid: Grid,
    datasets: Sequence[Path],
    settings: Settings,
) -> tuple[Alignment, list[str]]:
    """Return the alignment of an image to the grid of an acquisition's phase.

    The first possible alignment is used:

    1. No resampling, if the image is on the grid of the phase.
    2. The image headers, if the image is in the coordinates of the phase.
    3. Transforms to a space with the name of the acquisition's suffix, such as ``T2w``.
    4. Transforms to the participant's anatomy, if needed, followed by the alignment of the anatomy
       with the phase that `settings` select.

    Parameters
    ----------
    auxiliary : AuxiliaryImage
        Image to resample.
    acquisition : Acquisition
    grid : Grid
        Grid of the phase.
    datasets : sequence of Path
        Datasets to search for transforms, after the dataset of the image.
    settings : Settings

    Returns
    -------
    alignment : Alignment
    warnings : list of str

    Raises
    ------
    InputError
        If a required transform is missing, or rigid registration was requested but no anatomical
        image was found.
    """
    if auxiliary.grid.matches(grid):
        return Alignment(same_grid=True), []
    if auxiliary.space == SCANNER:
        return Alignment(coreg="header"), []
    searched = own_first(auxiliary.dataset, datasets)
    if acquisition.suffix != NATIVE:
        steps = find_steps(acquisition.suffix, auxiliary.space, acquisition, searched)
        if steps is not None:
            return Alignment(steps=steps), []
    steps = find_steps(NATIVE, auxiliary.space, acquisition, searched)
    if steps is None:
        raise InputError(
            auxiliary.path,
            f"is in the space {auxiliary.space}, but no transform from this space was found",
            f"add sub-{acquisition.subject}_from-{auxiliary.space}_to-{NATIVE}_mode-image_xfm.h5 "
            "(ITK .h5 or .txt) to its folder",
        )
    coreg, anatomical, warnings = _choose_coreg(auxiliary, acquisition, grid, settings)
    return Alignment(steps=steps, coreg=coreg, anatomical=anatomical), warnings


def _choose_coreg(
    auxiliary: AuxiliaryImage, acquisition: Acquisition, grid: Grid, settings: Settings
) -> tuple[Coreg, Path | None, list[str]]:
    if settings.coreg == "header":
        return "header", None, []
    anatomical = _anatomical_image(auxiliary, acquisition, grid, settings)
    if anatomical is not None:
        require_content(anatomical)
        return settings.coreg, anatomical, []
    obstacle = "no T1w image in its space was found"
    remedy = "add the *_desc-preproc_T1w image to its folder, or use --coreg header"
    if settings.coreg == "rigid":
        raise InputError(auxiliary.path, f"cannot be registered: {obstacle}", remedy)
    warning = (
        f"{auxiliary.path.name}: aligned by the coordinates in its header; the alignment was not "
        f"checked, because {obstacle}; {remedy}"
    )
    return "header", None, [warning]


def _anatomical_image(
    auxiliary: AuxiliaryImage, acquisition: Acquisition, grid: Grid, settings: Settings
) -> Path | None:
    """Return the T1w image in the coordinates of a derivative; None if it is not unique.

    The image is taken from the dataset of the derivative, otherwise from the raw dataset.
    """
    if auxiliary.kind == "t1w":
        return auxiliary.path
    folder = auxiliary.path.parent
    if folder.name == "fmap":
        folder = folder.with_name("anat")
    if folder.name == "mri":
        images = (folder / name for name in _FREESURFER_IMAGES)
        return next((path for path in images if path.exists() or path.is_symlink()), None)
    preprocessed = [
        path
        for path in visible(folder, "*_desc-preproc_T1w.nii*")
        if path.name.endswith(IMAGE_EXTENSIONS) and "_space-" not in path.name
    ]
    if len(preprocessed) == 1:
        return preprocessed[0]
    try:
        found = find_t1w(acquisition, grid, settings.bids_dir, {})
    except InputError:  # Several T1w images are equally good, so the correct image is unknown.
        return None
    return found.path if found else None
