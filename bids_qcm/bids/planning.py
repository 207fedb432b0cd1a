"""Check the input of an acquisition before the computation, and plan the computation."""

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.anatomy.alignments import Alignment
from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.datasets import SearchedDatasets
from bids_qcm.bids.anatomy.finder import B1Origin, Finder, Found, FoundB1, MaskOrigin
from bids_qcm.bids.anatomy.regions import Regions, plan_regions
from bids_qcm.bids.anatomy.spaces import OutputSpace, T1wImage, plan_spaces
from bids_qcm.bids.balanced import plan_balanced
from bids_qcm.bids.echo_plans import EchoPlan, all_repetitions, common_grid, read_inputs
from bids_qcm.bids.echo_runs import echoes_named_as_runs
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.sequences import is_gradient_echo
from bids_qcm.bids.sidecars import contradictions, larmor_frequency, shows_head
from bids_qcm.bids.slicing import Slicing, plan_slicing
from bids_qcm.checks.b1 import DeclaredB1
from bids_qcm.grids import Grid
from bids_qcm.recon import METHODS
from bids_qcm.recon.automatic import LARGEST_SCALE
from bids_qcm.recon.kernels import Kernels
from bids_qcm.recon.methods import DEFAULT_METHODS
from bids_qcm.recon.radii import choose_kernels
from bids_qcm.settings import Settings

# Echo time in s below which a single gradient echo counts as phi0 (UTE, ZTE): an off-resonance of
# 100 Hz, as beside the sinuses, adds 0.06 rad at most.
_NEARLY_ZERO = 1e-4


@dataclass(frozen=True)
class Plan:
    """The plan of the computation for one acquisition: inputs, methods and warnings.

    Attributes
    ----------
    acquisition : Acquisition
    grid : Grid
        Grid of the phase.
    echoes : tuple of EchoPlan
        Echoes in the order of their echo numbers.
    frequency : float
        Larmor frequency in Hz.
    frequency_source : str
        Sidecar field from which the frequency was taken.
    segmentation, mask : AuxiliaryImage or None
        Images to use. `mask` may be a T1w image from which a brain mask is computed.
    segmentation_alignment, mask_alignment : Alignment
        How the segmentation and the mask are resampled to `grid`.
    lesions : AuxiliaryImage or None
        Lesion masks.
    lesion_alignment : Alignment
        How the lesion masks are resampled to `grid`.
    mask_origins : tuple of str
        Origins of the mask to try, in order. Each is used only if the previous origin fails.
    b1 : AuxiliaryImage or None
        Measured ``|B1+|`` map.
    b1_alignment : Alignment
        How the measured map is resampled to `grid`.
    b1_declared : DeclaredB1
        Unit and flip angles from the sidecar of the measured map.
    b1_origins : tuple of str
        Origins of ``|B1+|`` to try, in order. Each is used only if the previous origin fails.
        Empty for a constant ``|B1+|``, or if no method uses ``|B1+|``.
    shows_head : bool or None
        Whether the sidecar names the head as the body part; None if it names no body part.
    methods : tuple of str
        Names of the methods to compute, at least one.
    kernels : mapping of str to Kernels
        Kernels of each method; automatic radii have their largest values.
    axes : tuple of int
        Axes along which the phase is differentiated.
    slice_axis : int or None
        Axis across the slices of a 2-D acquisition; None for a 3-D acquisition.
    refused : dict of str to str
        Reason for each requested method that cannot be computed, for each requested space that is
        not available, and for each atlas that cannot be used.
    warnings : tuple of str
    manufacturer : str
        Manufacturer of the scanner from the sidecar; empty if the sidecar has none.
    t1w : T1wImage or None
        T1w image that the phase is aligned with; None if no T1w image is used.
    spaces : tuple of OutputSpace
        Spaces that the maps are resampled to, in addition to the grid of the phase.
    regions : tuple of Regions
        Segmentation and atlases for regional statistics.
    phase_cycled : bool
        Whether the repetitions are balanced SSFP acquisitions that differ in the phase increment of
        the radiofrequency pulses.
    may_have_bands : bool
        Whether to search for the bands of a balanced SSFP acquisition.
    """

    acquisition: Acquisition
    grid: Grid
    echoes: tuple[EchoPlan, ...]
    frequency: float
    frequency_source: str
    segmentation: AuxiliaryImage | None
    mask: AuxiliaryImage | None
    methods: tuple[str, ...]
    kernels: Mapping[str, Kernels]
    axes: tuple[int, ...]
    refused: dict[str, str]
    warnings: tuple[str, ...]
    slice_axis: int | None = None
    segmentation_alignment: Alignment = field(default_factory=Alignment)
    mask_alignment: Alignment = field(default_factory=Alignment)
    lesions: AuxiliaryImage | None = None
    lesion_alignment: Alignment = field(default_factory=Alignment)
    manufacturer: str = ""
    mask_origins: tuple[MaskOrigin, ...] = ("signal",)
    shows_head: bool | None = None
    b1: AuxiliaryImage | None = None
    b1_alignment: Alignment = field(default_factory=Alignment)
    b1_declared: DeclaredB1 = field(default_factory=DeclaredB1)
    b1_origins: tuple[B1Origin, ...] = ()
    t1w: T1wImage | None = None
    spaces: tuple[OutputSpace, ...] = ()
    regions: tuple[Regions, ...] = ()
    phase_cycled: bool = False
    may_have_bands: bool = False

    @property
    def tissues_are_regions(self) -> bool:
        """Whether the region table contains the tissues, because there is no finer segmentation."""
        return self.segmentation is not None and all(one.of_option for one in self.regions)

    @property
    def template_t1w(self) -> Path | None:
        """T1w image that the app registers to nilearn's template; None if none is needed."""
        of_spaces = [space.t1w.path for space in self.spaces if space.registers_template]
        of_regions = [one.alignment.template_t1w for one in self.regions]
        return next(filter(None, (*of_spaces, *of_regions)), None)

    @property
    def has_regions(self) -> bool:
        """Whether a region table is written for the maps."""
        return bool(self.regions) or self.tissues_are_regions or self.lesions is not None

    @property
    def has_echo_numbers(self) -> bool:
        """Whether the images have echo numbers."""
        return any(echo.number for echo in self.echoes)

    @property
    def combines_images(self) -> bool:
        """Whether repetitions are averaged or coils are combined before the processing."""
        return any(echo.repetitions for echo in self.echoes)

    @property
    def n_combined(self) -> int:
        """Number of images of each echo that are averaged or combined."""
        return 1 + len(self.echoes[0].repetitions)

    @property
    def files(self) -> tuple[Path, ...]:
        """All images of the acquisition, including repetitions and coils."""
        echoes = (one for echo in self.echoes for one in (echo, *echo.repetitions))
        return tuple(dict.fromkeys(path for echo in echoes for path in echo.files))

    @property
    def expects_head(self) -> bool:
        """Whether the sidecar names the head, or a T1w image in addition to the phase was found."""
        if self.shows_head or self.mask is None or "T1w" not in self.mask_origins:
            return bool(self.shows_head)
        return self.mask.path not in self.files

    @property
    def segments_t1w(self) -> bool:
        """Whether the mask or the tissue labels are computed from a T1w image."""
        return "T1w" in self.mask_origins or (
            self.segmentation is not None and self.segmentation.kind == "t1w"
        )


def plan_acquisition(
    acquisition: Acquisition,
    settings: Settings,
    datasets: SearchedDatasets,
    *,
    headers_only: bool = False,
) -> Plan:
    """Check the headers, sidecars and values of an acquisition, and plan the computation.

    Parameters
    ----------
    acquisition : Acquisition
    settings : Settings
    datasets : SearchedDatasets
    headers_only : bool
        Whether to read only headers and sidecars, which is about a hundred times as fast. Later,
        the image values may reveal further errors.

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        If nothing can be computed. The message names the file and the remedy.
    """
    inputs = read_inputs(acquisition, settings, headers_only=headers_only)
    echoes, sidecar = inputs.echoes, inputs.sidecars[0]
    grid = common_grid(echoes)
    first_image = echoes[0].files[1]
    frequency, source = larmor_frequency(sidecar, first_image)
    finder = Finder(
        acquisition=acquisition,
        settings=settings,
        grid=grid,
        first_echo=echoes[0].images,
        first_images=inputs.first_images,
        datasets=datasets.derivatives,
        shows_head=shows_head(sidecar),
    )
    found_mask = finder.mask(datasets.mask)
    mask = found_mask.found
    segmentation = finder.segmentation(datasets.segmentation, mask)
    lesions = finder.lesions(datasets.lesions)
    slicing = plan_slicing(sidecar, grid, settings)
    methods = _choose_methods(settings, grid, slicing, segmentation, first_image)
    needs_b1 = any(map(settings.uses_b1, methods.kernels))
    b1 = finder.b1(datasets.b1, frequency) if needs_b1 else FoundB1()
    alignments = (segmentation.alignment, mask.alignment, lesions.alignment)
    spaces = plan_spaces(acquisition, grid, datasets.derivatives, settings, alignments)
    regions = plan_regions(
        acquisition,
        grid,
        datasets,
        settings,
        tissues=segmentation.auxiliary,
        anatomical=None if spaces.t1w is None else spaces.t1w.alignment.anatomical,
        headers_only=headers_only,
    )
    balanced = plan_balanced(
        acquisition,
        sidecar,
        # the last image is the phase or the imaginary part, whose fields take precedence
        {list(one)[-1]: dict(ChainMap(*reversed(one.values()))) for one in inputs.separate},
        len(echoes),
        slicing.axes,
    )
    warnings = (
        *(f"{acquisition.name}: left out: {reason}" for reason in methods.left_out),
        *(one for part in (segmentation, mask, lesions, b1.found) for one in part.warnings),
        *(one for part in (spaces, regions) for one in part.warnings),
        *contradictions(inputs.separate),
        *_unit_warnings(echoes),
        *_sequence_warnings(acquisition, echoes, sidecar, settings),
        *balanced.warnings,
        *(f"{acquisition.name}: {warning}" for warning in slicing.warnings),
    )
    return Plan(
        acquisition=acquisition,
        grid=grid,
        echoes=echoes,
        frequency=frequency,
        frequency_source=source,
        segmentation=segmentation.auxiliary,
        segmentation_alignment=segmentation.alignment,
        mask=mask.auxiliary,
        mask_alignment=mask.alignment,
        lesions=lesions.auxiliary,
        lesion_alignment=lesions.alignment,
        mask_origins=found_mask.origins,
        shows_head=finder.shows_head,
        b1=b1.found.auxiliary,
        b1_alignment=b1.found.alignment,
        b1_declared=b1.declared,
        b1_origins=b1.origins,
        methods=tuple(methods.kernels),
        kernels=methods.kernels,
        axes=slicing.axes,
        slice_axis=slicing.slice_axis,
        refused={**methods.refused, **spaces.refused, **regions.refused},
        t1w=spaces.t1w,
        spaces=spaces.spaces,
        regions=regions.regions,
        phase_cycled=balanced.phase_cycled,
        may_have_bands=balanced.may_have_bands,
        manufacturer=str(sidecar.get("Manufacturer", "")),
        warnings=warnings,
    )


@dataclass(frozen=True)
class _Methods:
    """The methods to compute, and the reasons for the others.

    Attributes
    ----------
    kernels : dict of str to Kernels
        Kernels of each method to compute, at least one.
    refused : dict of str to str
        Reason for each requested method that cannot be computed.
    left_out : tuple of str
        Reason for each default method that cannot be computed.
    """

    kernels: dict[str, Kernels]
    refused: dict[str, str]
    left_out: tuple[str, ...]


def _choose_methods(
    settings: Settings,
    grid: Grid,
    slicing: Slicing,
    segmentation: Found,
    first_image: Path,
) -> _Methods:
    """Choose the methods to compute, and raise InputError if none can be computed."""
    has_labels = segmentation.auxiliary is not None
    kernels, refused = {}, {}
    for name in settings.methods or DEFAULT_METHODS[has_labels]:
        method = METHODS[name]
        if method.uses_labels and not has_labels:
            refused[name] = f"{name} needs a segmentation: {segmentation.why_none}"
            continue
        try:
            kernels[name] = choose_kernels(
                method,
                grid.voxel_size,
                grid.shape,
                settings.fit_radius,
                settings.integral_radius,
                LARGEST_SCALE,
                slicing.axes,
            )
        except ValueError as error:
            in_plane = "--in-plane none" if slicing.chosen else "--in-plane"
            refused[name] = f"{error} (--fit-radius, --integral-radius, {in_plane})"
    if not kernels:
        raise InputError(
            first_image,
            "; ".join(refused.values()),
            "change these options, or choose another --method",
        )
    if settings.methods:
        return _Methods(kernels, refused, ())
    # The user did not request the default methods by name, so a default method that cannot be
    # computed causes only a warning.
    return _Methods(kernels, {}, tuple(refused.values()))


def _unit_warnings(echoes: Sequence[EchoPlan]) -> list[str]:
    found = (
        f"{one.files[1].name}: {one.units.warning}"
        for one in all_repetitions(echoes)
        if one.units and one.units.warning
    )
    # remove duplicates, because all volumes of a file may have the same warning
    return list(dict.fromkeys(found))


def _keeps_off_resonance(echoes: Sequence[EchoPlan], sidecar: dict[str, Any], suffix: str) -> bool:
    """Whether phi0 contains the off-resonance phase of a single gradient echo."""
    (time, *others) = (one.time for one in echoes)
    if others or not is_gradient_echo(sidecar, suffix):
        return False
    return time is None or time >= _NEARLY_ZERO


def _sequence_warnings(
    acquisition: Acquisition,
    echoes: Sequence[EchoPlan],
    sidecar: dict[str, Any],
    settings: Settings,
) -> list[str]:
    """Return warnings about a pulse sequence that may bias the conductivity."""
    warnings = []
    if runs := echoes_named_as_runs(echoes[0].files[1], settings.bids_dir):
        shown = ", ".join(f"{path.name} ({time:g} s)" for path, time in runs.items())
        warnings.append(
            f"{acquisition.name}: these runs differ in EchoTime, so they seem to be the echoes of "
            f"one acquisition: {shown}. Each run is processed separately; rename run-1 to echo-1, "
            "and so on, to process them together"
        )
    elif _keeps_off_resonance(echoes, sidecar, acquisition.suffix):
        warnings.append(
            f"{acquisition.name}: the phase of a single gradient echo contains off-resonance "
            "effects, which bias the conductivity. Acquire several echoes, a spin echo or bSSFP"
        )
    return warnings
