"""Check the input of an acquisition before the computation, and plan the computation."""

import math
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bids_qcm.bids.acquisitions import Acquisition, echo_number, no_echoes, or_without
from bids_qcm.bids.anatomy.alignments import Alignment
from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.finder import B1Origin, Finder, FoundB1, MaskOrigin
from bids_qcm.bids.anatomy.regions import Regions, plan_regions
from bids_qcm.bids.anatomy.spaces import OutputSpace, T1wImage, plan_spaces
from bids_qcm.bids.balanced import plan_balanced
from bids_qcm.bids.echo_runs import echoes_named_as_runs
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.four_d import pair_volumes
from bids_qcm.bids.images import ImagePair, StoredImage, read_grid, read_volumes
from bids_qcm.bids.sequences import check_holds_phase, check_nucleus, is_gradient_echo
from bids_qcm.bids.sidecars import (
    contradictions,
    echo_time,
    larmor_frequency,
    read_sidecar,
    shows_head,
)
from bids_qcm.bids.slicing import Slicing, plan_slicing
from bids_qcm.checks.b1 import DeclaredB1
from bids_qcm.grids import Grid
from bids_qcm.phase import PhaseUnits, PhaseUnitsError, recognise_units
from bids_qcm.recon import METHODS
from bids_qcm.recon.automatic import LARGEST_SCALE
from bids_qcm.recon.kernels import Kernels
from bids_qcm.recon.methods import DEFAULT_METHODS
from bids_qcm.recon.radii import choose_kernels
from bids_qcm.settings import Settings

# Minimum range of the values, relative to the largest value. A wrong offset in the header
# makes the values so large that float32 cannot resolve their differences.
_LEAST_SPREAD = 2e-5

# Allowed range of the largest value. The range covers the units of all scanners, and the squares of
# the values stay within the range of float32.
_LARGEST_VALUES = (1e-15, 1e15)

# Echo time in s below which a single gradient echo counts as phi0 (UTE, ZTE): an off-resonance of
# 100 Hz, as beside the sinuses, adds 0.06 rad at most.
_NEARLY_ZERO = 1e-4


# Relative tolerance of the echo times of repetitions.
_SAME_ECHO_TIME = 1e-3


@dataclass(frozen=True)
class EchoPlan:
    """The files, phase unit and echo time of one echo.

    Attributes
    ----------
    files : pair of Path
        Magnitude and phase, or real and imaginary part.
    units : PhaseUnits or None
        Unit of the phase. None for real and imaginary parts, or if only headers were read.
    time : float or None
        Echo time in s. None for a single echo whose sidecar has no echo time.
    number : int
        Number of the echo; 0 for an image without a number.
    volumes : pair of int or None
        Indices of the volumes along the fourth axis of both files; None for 3-D images.
    repetitions : tuple of EchoPlan
        The same echo in the other acquisitions that are averaged, or in the other coils that are
        combined.
    """

    files: tuple[Path, Path]
    units: PhaseUnits | None
    time: float | None
    number: int = 0
    volumes: tuple[int, int] | None = None
    repetitions: tuple["EchoPlan", ...] = ()

    @property
    def images(self) -> ImagePair:
        """The images of this echo, and how to read them."""
        return ImagePair(*self.files, self.units, self.volumes)


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
    datasets: Sequence[Path],
    segmentation_datasets: Sequence[Path] | None = None,
    mask_datasets: Sequence[Path] | None = None,
    b1_datasets: Sequence[Path] | None = None,
    lesion_datasets: Sequence[Path] | None = None,
    *,
    headers_only: bool = False,
) -> Plan:
    """Check the headers, sidecars and values of an acquisition, and plan the computation.

    Parameters
    ----------
    acquisition : Acquisition
    settings : Settings
    datasets : sequence of Path
        Derivative datasets to search for segmentations, masks and transforms.
    segmentation_datasets, mask_datasets : sequence of Path, optional
        Datasets to search for the segmentation and the mask; by default, `datasets`.
    b1_datasets : sequence of Path, optional
        Datasets to search for a ``|B1+|`` map; by default, the raw dataset and `datasets`.
    lesion_datasets : sequence of Path, optional
        Datasets to search for lesion masks; by default, `datasets` and the raw dataset.
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
    inputs = _read_inputs(acquisition, settings, headers_only=headers_only)
    echoes, sidecars = inputs.echoes, inputs.sidecars
    grid = _common_grid(echoes)
    first_image = echoes[0].files[1]
    frequency, source = larmor_frequency(sidecars[0], first_image)
    finder = Finder(
        acquisition=acquisition,
        settings=settings,
        grid=grid,
        first_echo=echoes[0].images,
        datasets=datasets,
        headers_only=headers_only,
        shows_head=shows_head(sidecars[0]),
    )
    found_mask = finder.mask(datasets if mask_datasets is None else mask_datasets)
    mask = found_mask.found
    if segmentation_datasets is None:
        segmentation_datasets = datasets
    segmentation = finder.segmentation(segmentation_datasets, mask)
    lesions = finder.lesions(
        [*datasets, settings.bids_dir] if lesion_datasets is None else lesion_datasets
    )
    slicing = plan_slicing(sidecars[0], grid, settings)
    kernels, refused = _choose_methods(
        settings, grid, slicing, segmentation.auxiliary, segmentation.why_none
    )
    left_out = []
    if kernels and not settings.methods:
        # The user did not request these default methods by name, so a method that cannot be
        # computed causes only a warning.
        left_out = [f"{acquisition.name}: left out: {reason}" for reason in refused.values()]
        refused = {}
    if not kernels:
        raise InputError(
            first_image,
            "; ".join(refused.values()),
            "change these options, or choose another --method",
        )
    b1 = FoundB1()
    if any(map(settings.uses_b1, kernels)):
        where = [settings.bids_dir, *datasets] if b1_datasets is None else b1_datasets
        b1 = finder.b1(where, frequency)
    alignments = (segmentation.alignment, mask.alignment, lesions.alignment)
    spaces = plan_spaces(acquisition, grid, datasets, settings, alignments)
    regions = plan_regions(
        acquisition,
        grid,
        datasets,
        segmentation_datasets,
        settings,
        tissues=segmentation.auxiliary,
        anatomical=None if spaces.t1w is None else spaces.t1w.alignment.anatomical,
        headers_only=headers_only,
    )
    balanced = plan_balanced(
        acquisition,
        sidecars[0],
        # the phase, or the imaginary part, is the last image, and its fields take precedence
        {list(one)[-1]: dict(ChainMap(*reversed(one.values()))) for one in inputs.separate},
        len(echoes),
        slicing.axes,
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
        methods=tuple(kernels),
        kernels=kernels,
        axes=slicing.axes,
        slice_axis=slicing.slice_axis,
        refused={**refused, **spaces.refused, **regions.refused},
        t1w=spaces.t1w,
        spaces=spaces.spaces,
        regions=regions.regions,
        phase_cycled=balanced.phase_cycled,
        may_have_bands=balanced.may_have_bands,
        manufacturer=str(sidecars[0].get("Manufacturer", "")),
        warnings=(
            *left_out,
            *segmentation.warnings,
            *mask.warnings,
            *lesions.warnings,
            *b1.found.warnings,
            *spaces.warnings,
            *regions.warnings,
            *contradictions(inputs.separate),
            *_unit_warnings(echoes),
            *_sequence_warnings(acquisition, echoes, sidecars[0], settings),
            *balanced.warnings,
            *(f"{acquisition.name}: {warning}" for warning in slicing.warnings),
        ),
    )


class _Inputs(NamedTuple):
    """Echoes of an acquisition, and their metadata.

    Attributes
    ----------
    echoes : tuple of EchoPlan
    sidecars : list of dict
        Merged metadata of each echo of the first repetition.
    separate : list of dict
        For each echo of each repetition, the metadata of both images, keyed by path.
    """

    echoes: tuple[EchoPlan, ...]
    sidecars: list[dict[str, Any]]
    separate: list[dict[Path, dict[str, Any]]]


def _read_inputs(acquisition: Acquisition, settings: Settings, *, headers_only: bool) -> _Inputs:
    """Read and check the sidecars and values of an acquisition and of its repetitions."""
    repeated = [
        _read_repetition(one, settings, headers_only=headers_only)
        for one in acquisition.repetitions or acquisition.coils or (acquisition,)
    ]
    first, *others = repeated
    if not others:
        return first
    in_files = any(echo.repetitions for one in repeated for echo in one.echoes)
    if in_files or any(one.coils for one in acquisition.repetitions):
        raise InputError(
            acquisition.first_file,
            "belongs to repetitions of uncombined coils, which cannot be averaged",
            "omit --average-runs",
        )
    for other in others:
        _check_repetition(other.echoes, first.echoes)
    echoes = tuple(
        replace(echo, repetitions=tuple(same))
        for echo, *same in zip(*(one.echoes for one in repeated), strict=True)
    )
    return first._replace(echoes=echoes, separate=[own for one in repeated for own in one.separate])


def _read_repetition(
    acquisition: Acquisition, settings: Settings, *, headers_only: bool
) -> _Inputs:
    """Read one repetition. Coils in the volumes of 4-D images are the repetitions of each echo."""
    parts, pairs = acquisition.echoes(() if isinstance(settings.echoes, str) else settings.echoes)
    echoes: list[EchoPlan] = []
    sidecars: list[dict[str, Any]] = []
    separate: list[dict[Path, dict[str, Any]]] = []
    for pair in pairs:
        own = {path: read_sidecar(path, settings.bids_dir) for path in pair}
        merged = dict(ChainMap(*reversed(own.values())))
        check_nucleus(merged, pair[1])
        if parts[1] == "phase":
            check_holds_phase(own[pair[1]], pair[1])
        found = _plan_echoes(pair, parts, own, settings, is_only_pair=len(pairs) == 1)
        echoes += found
        sidecars += [
            merged if one.time is None else {**merged, "EchoTime": one.time} for one in found
        ]
        separate += [own] * len(found)
    _common_grid(echoes)
    if not headers_only:
        echoes = _check_echoes(echoes, parts, separate, settings)
    _check_echo_times(echoes)
    return _Inputs(tuple(echoes), sidecars, separate)


def _plan_echoes(
    pair: tuple[Path, Path],
    parts: tuple[str, str],
    sidecars: Mapping[Path, dict[str, Any]],
    settings: Settings,
    *,
    is_only_pair: bool,
) -> list[EchoPlan]:
    """Plan the echo of 3-D images, or the echoes and coils in the volumes of 4-D images."""
    of_echoes = pair_volumes(pair, parts, [sidecars[path] for path in pair])
    if len(of_echoes) == 1:
        numbers = [echo_number(pair[1])]
    elif is_only_pair:
        numbers = _chosen_numbers(len(of_echoes), settings, pair[1])
        of_echoes = [of_echoes[number - 1] for number in numbers]
    else:
        raise InputError(
            pair[1],
            f"has volumes with {len(of_echoes)} echo times, but belongs to one of several echoes",
            "store all echoes in one 4-D file, or each echo in files of its own (echo-1, echo-2)",
        )
    merged = dict(ChainMap(*(sidecars[path] for path in reversed(pair))))
    time = None
    if of_echoes[0][0].echo_time is None and (not is_only_pair or "EchoTime" in merged):
        time = echo_time(merged, pair[1])
    found = []
    for number, of_coils in zip(numbers, of_echoes, strict=True):
        first, *others = (
            EchoPlan(
                pair, None, time if one.echo_time is None else one.echo_time, number, one.volumes
            )
            for one in of_coils
        )
        found.append(replace(first, repetitions=tuple(others)))
    return found


def _check_repetition(echoes: Sequence[EchoPlan], first: Sequence[EchoPlan]) -> None:
    """Check that a repetition has the echoes of the first repetition."""
    remedy = (
        "combine only repetitions of one protocol, or coils of one acquisition (--average-runs, "
        "--bids-filter-file)"
    )
    if len(echoes) != len(first):
        raise InputError(
            echoes[0].files[1],
            f"has {len(echoes)} echo(es), but {first[0].files[1].name} has {len(first)}",
            remedy,
        )
    for echo, expected in zip(echoes, first, strict=True):
        times = (echo.time or 0, expected.time or 0)
        if not math.isclose(*times, rel_tol=_SAME_ECHO_TIME):
            raise InputError(
                echo.files[1],
                f"has EchoTime {times[0]:g} s, but {expected.files[1].name} has {times[1]:g} s",
                remedy,
            )


def _chosen_numbers(n: int, settings: Settings, image: Path) -> list[int]:
    """Return the numbers of the echoes to use from a 4-D image with `n` echoes."""
    if isinstance(settings.echoes, str):
        return list(range(1, n + 1))
    absent = [number for number in settings.echoes if number > n]
    if absent:
        raise no_echoes(image, absent, range(1, n + 1))
    return list(settings.echoes)


def _common_grid(echoes: Sequence[EchoPlan]) -> Grid:
    """Return the grid of all images; raise InputError if their grids differ."""
    are_4d = {
        path: one.volumes is not None for one in _all_repetitions(echoes) for path in one.files
    }
    first = next(iter(are_4d))
    grid = read_grid(first, four_d=are_4d[first])
    for path, four_d in are_4d.items():
        other = read_grid(path, four_d=four_d)
        if other.shape != grid.shape:
            raise InputError(
                path,
                f"has shape {other.shape}, but {first.name} has {grid.shape}",
                "use images of one acquisition",
            )
        if not other.matches(grid):
            raise InputError(
                path,
                f"has a different affine from {first.name}",
                "use images of one acquisition, and convert all of them in the same way",
            )
    return grid


def _all_repetitions(echoes: Iterable[EchoPlan]) -> Iterator[EchoPlan]:
    """Yield all repetitions and coils of the echoes."""
    for echo in echoes:
        yield from (echo, *echo.repetitions)


def _check_echoes(
    echoes: Sequence[EchoPlan],
    parts: tuple[str, str],
    sidecars: Sequence[Mapping[Path, dict[str, Any]]],
    settings: Settings,
) -> list[EchoPlan]:
    """Read and check all images; return the echoes with the units of their phases.

    The remedy of an error may suggest leaving out the echo.
    """
    stored = read_volumes(
        [one for echo in _all_repetitions(echoes) for one in echo.images.in_files]
    )
    numbers = [echo.number for echo in echoes]
    checked = []
    for echo, own in zip(echoes, sidecars, strict=True):
        try:
            first, *others = (
                # the Units field in the sidecar of the magnitude does not apply to the phase
                replace(one, units=_check_values(one, parts, own[one.files[1]], settings, stored))
                for one in (echo, *echo.repetitions)
            )
        except InputError as error:
            path, problem, remedy = error.args
            raise InputError(path, problem, remedy + or_without(echo.number, numbers)) from error
        checked.append(replace(first, repetitions=tuple(others)))
    return checked


def _check_values(
    echo: EchoPlan,
    parts: tuple[str, str],
    sidecar: Mapping[str, Any],
    settings: Settings,
    stored: Iterator[StoredImage],
) -> PhaseUnits | None:
    """Check both images of an echo, which are read next; return the unit of the phase.

    `sidecar` is the sidecar of the phase, or of the imaginary part.
    """
    pair = echo.files
    one, other = next(stored), next(stored)
    for path, image, part in zip(pair, (one, other), parts, strict=True):
        _check_range(path, image, 0 if part == "phase" else _LEAST_SPREAD)
    if parts[1] != "phase":
        return None
    try:
        return recognise_units(
            other.values,
            other.slope,
            other.intercept,
            # In a malformed sidecar, this value may be a list, which is not hashable.
            units=str(sidecar["Units"]) if "Units" in sidecar else None,
            phase_units=settings.phase_units,
        )
    except PhaseUnitsError as error:
        remedy = "set --phase-units to rad, to mrad or to the number of units per cycle"
        raise InputError(pair[1], str(error), remedy) from error


def _check_range(path: Path, image: StoredImage, least_spread: float) -> None:
    """Check that an image is not constant and that its largest value is plausible.

    `least_spread` is the smallest allowed range of the values, relative to the largest value.
    """
    finite = image.values[np.isfinite(image.values)]
    ends = [image.slope * float(end) + image.intercept for end in (finite.min(), finite.max())]
    largest = max(map(abs, ends))
    if abs(ends[1] - ends[0]) <= least_spread * largest:
        raise InputError(path, "has the same value everywhere", "create the image again")
    low, high = _LARGEST_VALUES
    if not low < largest < high:
        raise InputError(
            path,
            f"has values up to {largest:g}, which is not plausible",
            "correct its scl_slope, or convert the DICOM files again",
        )


def _check_echo_times(echoes: Sequence[EchoPlan]) -> None:
    seen: dict[float | None, Path] = {}
    for echo in echoes:
        if echo.time in seen:
            raise InputError(
                echo.files[1],
                f"has the same EchoTime, {echo.time:g} s, as {seen[echo.time].name}",
                "set EchoTime in the sidecar of each echo",
            )
        seen[echo.time] = echo.files[1]


def _choose_methods(
    settings: Settings,
    grid: Grid,
    slicing: Slicing,
    segmentation: AuxiliaryImage | None,
    why_none: str,
) -> tuple[dict[str, Kernels], dict[str, str]]:
    """Return the kernels of each method that can be computed, and the reason for each refusal."""
    wanted = settings.methods or DEFAULT_METHODS[segmentation is not None]
    kernels, refused = {}, {}
    for name in wanted:
        method = METHODS[name]
        if method.uses_labels and segmentation is None:
            refused[name] = f"{name} needs a segmentation: {why_none}"
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
    return kernels, refused


def _unit_warnings(echoes: Sequence[EchoPlan]) -> list[str]:
    found = (
        f"{one.files[1].name}: {one.units.warning}"
        for one in _all_repetitions(echoes)
        if one.units and one.units.warning
    )
    # all volumes of a file may have the same warning
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
