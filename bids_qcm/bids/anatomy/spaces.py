"""Plan the spaces that the maps of an acquisition are resampled to (``--output-spaces``)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.anatomy.alignments import Alignment, plan_alignment
from bids_qcm.bids.anatomy.auxiliary import NATIVE, AuxiliaryImage
from bids_qcm.bids.anatomy.search import find_preprocessed_t1w, find_space_reference, find_t1w
from bids_qcm.bids.anatomy.transforms import Step, check_steps, find_steps, own_first
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_grid
from bids_qcm.grids import Grid
from bids_qcm.settings import ACQUISITION_SPACE, SHIPPED_TEMPLATE, Settings

_OPTION = "--output-spaces"


@dataclass(frozen=True)
class T1wImage:
    """The participant's T1w image and its alignment with the phase.

    Attributes
    ----------
    path : Path
    alignment : Alignment
        How points of the phase are mapped to the T1w image.
    to_phase : tuple of Step
        Transforms from a derivative dataset that map points of the T1w image to the phase. Empty if
        the image is aligned by the headers or by registration; the app then writes the transform.
    """

    path: Path
    alignment: Alignment
    to_phase: tuple[Step, ...] = ()


@dataclass(frozen=True)
class OutputSpace:
    """A space that the maps are resampled to.

    Attributes
    ----------
    name : str
        Label of the ``space`` entity: ``T1w`` or the label of a template.
    t1w : T1wImage
        T1w image that lies between the space and the phase.
    reference : Path or None
        Image with the grid of the space; None for the grid of nilearn's template.
    steps : tuple of Step
        Transforms that map points of the space to the T1w image, in the order of application.
    registers_template : bool
        Whether the T1w image is registered to nilearn's template, because there is no transform.
    """

    name: str
    t1w: T1wImage
    reference: Path | None
    steps: tuple[Step, ...] = ()
    registers_template: bool = False

    @property
    def is_native(self) -> bool:
        """Whether this is the space of the T1w image, not of a template."""
        return self.name == NATIVE

    @property
    def files(self) -> list[Path]:
        """Images and transforms from which the maps in the space are computed."""
        steps = (*self.steps, *self.t1w.to_phase)
        return [*filter(None, [self.t1w.path, self.reference]), *(step.path for step in steps)]


@dataclass(frozen=True)
class FoundSpaces:
    """Outcome of the search for output spaces.

    Attributes
    ----------
    t1w : T1wImage or None
        None if no T1w image is needed or found.
    spaces : tuple of OutputSpace
    refused : dict of str to str
        Spaces that maps cannot be resampled to, with the reason.
    warnings : tuple of str
    """

    t1w: T1wImage | None
    spaces: tuple[OutputSpace, ...]
    refused: dict[str, str]
    warnings: tuple[str, ...] = ()


def plan_spaces(
    acquisition: Acquisition,
    grid: Grid,
    datasets: Sequence[Path],
    settings: Settings,
    alignments: Sequence[Alignment],
) -> FoundSpaces:
    """Find the T1w image of an acquisition, and the transforms to the output spaces.

    Parameters
    ----------
    acquisition : Acquisition
    grid : Grid
        Grid of the phase.
    datasets : sequence of Path
        Derivative datasets in search order.
    settings : Settings
    alignments : sequence of Alignment
        Alignments of the segmentation, the mask and the lesions, best first. The T1w image of the
        first alignment with a T1w image is used, so that one registration serves all purposes.

    Returns
    -------
    FoundSpaces
    """
    registered = next((one for one in alignments if one.anatomical is not None), None)
    t1w = None
    if registered is not None and registered.anatomical is not None:
        own = Alignment(coreg=registered.coreg, anatomical=registered.anatomical)
        t1w = T1wImage(registered.anatomical, own)
    wanted = [name for name in settings.output_spaces if name != ACQUISITION_SPACE]
    if not wanted:
        return FoundSpaces(t1w, (), {})
    warnings: list[str] = []
    spaces, refused = [], {}
    for name in wanted:
        try:
            t1w = t1w or _find_t1w(acquisition, grid, datasets, settings, warnings)
            spaces.append(_find_space(name, t1w, acquisition, datasets))
        except InputError as error:
            refused[f"{_OPTION} {name}"] = f"{_OPTION} {name}: {error}"
    return FoundSpaces(t1w, tuple(spaces), refused, tuple(warnings))


def require_t1w(
    acquisition: Acquisition, grid: Grid, datasets: Sequence[Path], settings: Settings
) -> AuxiliaryImage:
    """Find the preprocessed T1w image of a derivative dataset, otherwise the raw T1w image.

    Parameters
    ----------
    acquisition, grid, datasets, settings
        As in :func:`plan_spaces`.

    Returns
    -------
    AuxiliaryImage

    Raises
    ------
    InputError
        If there is no T1w image.
    """
    found = find_preprocessed_t1w(acquisition, grid, datasets) or find_t1w(
        acquisition, grid, settings.bids_dir, settings.segmentation_filters, any_of_equal=True
    )
    if found is None:
        raise InputError(
            acquisition.name,
            "has no T1w image",
            f"add sub-{acquisition.subject}/anat/*_T1w.nii.gz, or a derivative dataset with "
            "*_desc-preproc_T1w.nii.gz",
        )
    return found


def _find_t1w(
    acquisition: Acquisition,
    grid: Grid,
    datasets: Sequence[Path],
    settings: Settings,
    warnings: list[str],
) -> T1wImage:
    """Find the T1w image and its alignment with the phase."""
    found = require_t1w(acquisition, grid, datasets, settings)
    if acquisition.suffix != NATIVE:
        searched = own_first(found.dataset, datasets)
        to_phase = find_steps(NATIVE, acquisition.suffix, acquisition, searched)
        if to_phase is not None:
            check_steps(to_phase)
            return T1wImage(found.path, Alignment(), to_phase)
    alignment, found_warnings = plan_alignment(found, acquisition, grid, datasets, settings)
    if alignment.steps:
        raise InputError(
            alignment.steps[0].path,
            "has no inverse, which is needed to resample the maps to the T1w image",
            f"add the transform from {acquisition.suffix} to {NATIVE} to its folder",
        )
    warnings += found_warnings
    return T1wImage(found.path, alignment)


def _find_space(
    name: str, t1w: T1wImage, acquisition: Acquisition, datasets: Sequence[Path]
) -> OutputSpace:
    if name == NATIVE:
        return OutputSpace(name, t1w, t1w.path)
    steps = find_steps(name, NATIVE, acquisition, datasets)
    if steps is None:
        if name == SHIPPED_TEMPLATE:
            return OutputSpace(name, t1w, None, registers_template=True)
        raise InputError(
            acquisition.name,
            f"has no transform from T1w to {name}",
            "use --derivatives to add a derivative dataset that contains "
            f"sub-{acquisition.subject}_from-{NATIVE}_to-{name}_mode-image_xfm.h5, or choose "
            f"{SHIPPED_TEMPLATE}",
        )
    check_steps(steps)
    reference = find_space_reference(name, acquisition, datasets)
    if reference is None and name != SHIPPED_TEMPLATE:
        raise InputError(
            steps[0].path,
            f"leads to the space {name}, but no image in this space was found",
            f"add *_space-{name}_desc-preproc_T1w.nii.gz to its folder",
        )
    if reference is not None:
        read_grid(reference)
    return OutputSpace(name, t1w, reference, steps)
