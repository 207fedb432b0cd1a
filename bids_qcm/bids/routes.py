"""How a segmentation, mask or |B1+| map gets into the grid of the phase."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.candidates import find_t1w
from bids_qcm.bids.companions import NATIVE, SCANNER, Companion
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.files import require_content, visible
from bids_qcm.bids.images import Grid, read_grid
from bids_qcm.bids.names import IMAGE_EXTENSIONS
from bids_qcm.bids.transforms import Step, find_steps
from bids_qcm.settings import Coreg, Settings

# bias corrected before raw
_FREESURFER_IMAGES = ("nu.mgz", "orig_nu.mgz", "T1.mgz", "orig.mgz")


@dataclass(frozen=True)
class Route:
    """How an image gets into the grid of the phase.

    Attributes
    ----------
    same_grid : bool
        It is there already.
    steps : tuple of Step
        Transforms that points of the phase's coordinates take to those of the image.
    coreg : {"auto", "header", "rigid"} or None
        How the phase's coordinates are taken to those of the participant's anatomy, before the
        steps; None if the steps do that.
    anatomical : Path or None
        The image to register to the magnitude; None for `coreg` ``header`` or None.
    """

    same_grid: bool = False
    steps: tuple[Step, ...] = ()
    coreg: Coreg | None = None
    anatomical: Path | None = None

    def describe(self) -> dict[str, Any]:
        """Describe it for a sidecar; what a registration finds is not known yet."""
        if self.same_grid:
            return {"Resampling": "none, it is in the grid of the phase"}
        described: dict[str, Any] = {"Resampling": "label-wise linear, largest share"}
        if self.steps:
            described["Transforms"] = [
                step.path.name + (" (inverse)" if step.inverse else "") for step in self.steps
            ]
        if self.coreg == "header":
            described["Coregistration"] = "header"
        return described


def plan_route(
    companion: Companion,
    acquisition: Acquisition,
    grid: Grid,
    datasets: Sequence[Path],
    settings: Settings,
) -> tuple[Route, list[str]]:
    """Find how an image gets into the grid of an acquisition's phase.

    Parameters
    ----------
    companion : Companion
    acquisition : Acquisition
    grid : Grid
    datasets : sequence of Path
        Where to look for transforms, after the companion's own dataset.
    settings : Settings

    Returns
    -------
    route : Route
        As it is if it is in the same grid; by the headers if its coordinates are the phase's; else
        by transforms from its space to one that is named after the acquisition's suffix; else by
        transforms to the participant's anatomy, if it is not there already, and then as `settings`
        say.
    warnings : list of str

    Raises
    ------
    InputError
        If a transform that is needed is not there, or registration was asked for and cannot be
        had.
    """
    if read_grid(companion.path).matches(grid):
        return Route(same_grid=True), []
    if companion.space == SCANNER:
        return Route(coreg="header"), []
    own_first = [companion.dataset, *(path for path in datasets if path != companion.dataset)]
    if acquisition.suffix != NATIVE:
        steps = find_steps(acquisition.suffix, companion.space, acquisition, own_first)
        if steps is not None:
            return Route(steps=steps), []
    steps = find_steps(NATIVE, companion.space, acquisition, own_first)
    if steps is None:
        raise InputError(
            companion.path,
            f"is in the space {companion.space}, from which no transform leads to the phase",
            f"add sub-{acquisition.subject}_from-{companion.space}_to-{NATIVE}_mode-image_xfm.h5 "
            "(ITK's .h5 or .txt) beside it",
        )
    coreg, anatomical, warnings = _choose_coreg(companion, acquisition, grid, settings)
    return Route(steps=steps, coreg=coreg, anatomical=anatomical), warnings


def _choose_coreg(
    companion: Companion, acquisition: Acquisition, grid: Grid, settings: Settings
) -> tuple[Coreg, Path | None, list[str]]:
    if settings.coreg == "header":
        return "header", None, []
    anatomical = _anatomical_image(companion, acquisition, grid, settings)
    if anatomical is not None:
        require_content(anatomical)
    if anatomical is None:
        obstacle = "no T1w image of its space was found"
        remedy = "add the *_desc-preproc_T1w image beside it, or give --coreg header"
    else:
        return settings.coreg, anatomical, []
    if settings.coreg == "rigid":
        raise InputError(companion.path, f"cannot be registered: {obstacle}", remedy)
    warning = (
        f"{companion.path.name}: placed by the coordinates in its header, which was not checked: "
        f"{obstacle}; {remedy}"
    )
    return "header", None, [warning]


def _anatomical_image(
    companion: Companion, acquisition: Acquisition, grid: Grid, settings: Settings
) -> Path | None:
    """Find the T1w image in the coordinates of a segmentation: its dataset's, else the raw one."""
    if companion.kind == "t1w":
        return companion.path
    folder = companion.path.parent
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
    except InputError:  # several, of which none is known to be the right one
        return None
    return found.path if found else None
