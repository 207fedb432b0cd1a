"""Read and check the images and sidecars of the echoes of an acquisition."""

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bids_qcm.bids.acquisitions import Acquisition, echo_number, no_echoes, or_without
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.four_d import pair_volumes
from bids_qcm.bids.images import ImagePair, StoredImage, read_grid, read_volumes
from bids_qcm.bids.sequences import check_holds_phase, check_nucleus
from bids_qcm.bids.sidecars import are_same, echo_time, read_sidecar
from bids_qcm.grids import Grid
from bids_qcm.phase import PhaseUnits, PhaseUnitsError, recognise_units
from bids_qcm.settings import Settings

# Minimum range of the values, relative to the largest value. A wrong offset in the header
# makes the values so large that float32 cannot resolve their differences.
_LEAST_SPREAD = 2e-5

# Allowed range of the largest value. The range covers the units of all scanners, and the squares of
# the values stay within the range of float32.
_LARGEST_VALUES = (1e-15, 1e15)


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
    coil : str
        Name of the receive coil of these volumes; empty if the volumes are not coils.
    repetitions : tuple of EchoPlan
        The same echo in the other acquisitions that are averaged, or in the other coils that are
        combined.
    """

    files: tuple[Path, Path]
    units: PhaseUnits | None
    time: float | None
    number: int = 0
    volumes: tuple[int, int] | None = None
    coil: str = ""
    repetitions: tuple["EchoPlan", ...] = ()

    @property
    def images(self) -> ImagePair:
        """The images of this echo, and how to read them."""
        return ImagePair(*self.files, self.units, self.volumes)

    @property
    def unit_name(self) -> str:
        """Name of the phase unit in sidecars."""
        return self.units.name if self.units else "complex"


class Inputs(NamedTuple):
    """Echoes of an acquisition, and their metadata.

    Attributes
    ----------
    echoes : tuple of EchoPlan
    sidecars : list of dict
        Merged metadata of each echo of the first repetition.
    separate : list of dict
        For each echo of each repetition, the metadata of both images, keyed by path.
    first_images : pair of StoredImage or None
        Both images of the first echo; None if only headers were read.
    """

    echoes: tuple[EchoPlan, ...]
    sidecars: list[dict[str, Any]]
    separate: list[dict[Path, dict[str, Any]]]
    first_images: tuple[StoredImage, StoredImage] | None


def read_inputs(acquisition: Acquisition, settings: Settings, *, headers_only: bool) -> Inputs:
    """Read and check the sidecars and values of an acquisition, of its repetitions and its coils.

    Parameters
    ----------
    acquisition : Acquisition
    settings : Settings
    headers_only : bool
        Whether to read no image values. The units of the phases are then unknown.

    Returns
    -------
    Inputs
        Each echo contains its repetitions or coils.

    Raises
    ------
    InputError
        If a file cannot be used, or if the repetitions do not have the same echoes.
    """
    repeated: list[Inputs] = []
    for one in acquisition.repetitions or acquisition.coils or (acquisition,):
        found = _read_repetition(one, settings, headers_only=headers_only)
        # keep the values of one repetition only, because they need much memory
        repeated.append(found._replace(first_images=None) if repeated else found)
    first, *others = repeated
    if not others:
        return first
    in_volumes = [echo for one in repeated for echo in one.echoes if echo.repetitions]
    if in_volumes and acquisition.coils:
        raise InputError(
            in_volumes[0].files[1],
            "contains several receive coils, but its name has the entity coil",
            "use either the entity coil in the file names, or the list CoilString in the sidecars",
        )
    if in_volumes or any(one.coils for one in acquisition.repetitions):
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


def _read_repetition(acquisition: Acquisition, settings: Settings, *, headers_only: bool) -> Inputs:
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
    common_grid(echoes)
    echoes = _with_same_coils(echoes)
    first_images = None
    if not headers_only:
        echoes, first_images = _check_echoes(echoes, parts, separate, settings)
    _check_echo_times(echoes)
    return Inputs(tuple(echoes), sidecars, separate, first_images)


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
            "store all echoes in one 4-D file, or each echo in separate files (echo-1, echo-2)",
        )
    merged = dict(ChainMap(*(sidecars[path] for path in reversed(pair))))
    time = None
    if of_echoes[0][0].echo_time is None and (not is_only_pair or "EchoTime" in merged):
        time = echo_time(merged, pair[1])
    found = []
    for number, of_coils in zip(numbers, of_echoes, strict=True):
        first, *others = (
            EchoPlan(
                files=pair,
                units=None,
                time=time if one.echo_time is None else one.echo_time,
                number=number,
                volumes=one.volumes,
                coil=one.coil,
            )
            for one in of_coils
        )
        found.append(replace(first, repetitions=tuple(others)))
    return found


def _with_same_coils(echoes: Sequence[EchoPlan]) -> list[EchoPlan]:
    """Return the echoes with their coils in the order of the first echo.

    Each coil has one phase factor for all echoes, so an InputError is raised if the coils differ.
    """
    first = echoes[0]
    coils = [one.coil for one in (first, *first.repetitions)]
    ordered = []
    for echo in echoes:
        found = {one.coil: replace(one, repetitions=()) for one in (echo, *echo.repetitions)}
        if found.keys() != set(coils):
            own, expected = (", ".join(filter(None, names)) or "none" for names in (found, coils))
            raise InputError(
                echo.files[1],
                f"has different receive coils ({own}) from {first.files[1].name} ({expected})",
                "convert the same coils of all echoes, and use the same names in each CoilString",
            )
        one, *others = (found[coil] for coil in coils)
        ordered.append(replace(one, repetitions=tuple(others)))
    return ordered


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
        if not are_same(*times):
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


def common_grid(echoes: Sequence[EchoPlan]) -> Grid:
    """Return the grid of all images; raise InputError if their grids differ."""
    are_4d = {
        path: one.volumes is not None for one in all_repetitions(echoes) for path in one.files
    }
    first = next(iter(are_4d))
    grid = read_grid(first, four_d=are_4d[first])
    for path, four_d in are_4d.items():
        other = read_grid(path, four_d=four_d)
        if other.shape != grid.shape:
            raise InputError(
                path,
                f"has shape {other.shape}, but {first.name} has {grid.shape}",
                "use images of the same acquisition",
            )
        if not other.matches(grid):
            raise InputError(
                path,
                f"has a different affine from {first.name}",
                "use images of the same acquisition, and convert all of them in the same way",
            )
    return grid


def all_repetitions(echoes: Iterable[EchoPlan]) -> Iterator[EchoPlan]:
    """Yield all repetitions and coils of the echoes."""
    for echo in echoes:
        yield from (echo, *echo.repetitions)


def _check_echoes(
    echoes: Sequence[EchoPlan],
    parts: tuple[str, str],
    sidecars: Sequence[Mapping[Path, dict[str, Any]]],
    settings: Settings,
) -> tuple[list[EchoPlan], tuple[StoredImage, StoredImage] | None]:
    """Read and check all images; return the echoes with their units, and the first two images.

    The remedy of an error may suggest leaving out the echo.
    """
    stored = read_volumes([one for echo in all_repetitions(echoes) for one in echo.images.in_files])
    numbers = [echo.number for echo in echoes]
    checked = []
    first_images = None
    for echo, own in zip(echoes, sidecars, strict=True):
        same = []
        try:
            for one in (echo, *echo.repetitions):
                images = next(stored), next(stored)
                # the Units field in the sidecar of the magnitude does not apply to the phase
                units = _check_values(one.files, images, parts, own[one.files[1]], settings)
                same.append(replace(one, units=units))
                if first_images is None:
                    first_images = images
                del images  # before the next images are read
        except InputError as error:
            path, problem, remedy = error.args
            raise InputError(path, problem, remedy + or_without(echo.number, numbers)) from error
        checked.append(replace(same[0], repetitions=tuple(same[1:])))
    return checked, first_images


def _check_values(
    files: tuple[Path, Path],
    images: tuple[StoredImage, StoredImage],
    parts: tuple[str, str],
    sidecar: Mapping[str, Any],
    settings: Settings,
) -> PhaseUnits | None:
    """Check both images of an echo; return the unit of the phase.

    `sidecar` is the sidecar of the phase, or of the imaginary part.
    """
    for path, image, part in zip(files, images, parts, strict=True):
        _check_range(path, image, 0 if part == "phase" else _LEAST_SPREAD)
    if parts[1] != "phase":
        return None
    try:
        return recognise_units(
            images[1].values,
            images[1].slope,
            images[1].intercept,
            # In a malformed sidecar, this value may be a list, which is not hashable.
            units=str(sidecar["Units"]) if "Units" in sidecar else None,
            phase_units=settings.phase_units,
        )
    except PhaseUnitsError as error:
        remedy = "set --phase-units to rad, to mrad or to the number of units per cycle"
        raise InputError(files[1], str(error), remedy) from error


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
