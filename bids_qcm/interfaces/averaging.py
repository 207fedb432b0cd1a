"""Interface that averages repeated acquisitions, and base classes for image combination."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, Bunch, File, TraitedSpec, traits
from numpy.typing import NDArray

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import ImagePair, read_echoes, write_image
from bids_qcm.bids.names import stem
from bids_qcm.bids.sidecar_schema import Phi0Sidecar
from bids_qcm.interfaces.base import (
    OVERRIDE,
    CheckedInterface,
    axes_of_kernels,
    image_checks,
    image_of,
    no_magnitude,
)
from bids_qcm.phase import PhaseUnits
from bids_qcm.phase.averaging import Average, average_repetitions
from bids_qcm.phase.balanced import average_phase_cycles
from bids_qcm.phase.masking import find_signal
from bids_qcm.phase.phi0 import complex_signal

# Maximum phase deviation of a repetition from the first repetition, rad. The constant and linear
# phase is removed first; for phase cycles, only the constant phase is removed. Eddy currents cause
# deviations of up to 0.2 rad between readouts of opposite polarity.
_LARGEST_REMAINDER = 0.3

_REMEDY = (
    "average only acquisitions with the same head position, sign and unit, or leave out this "
    "acquisition with --bids-filter-file"
)


class SeveralImagesInputSpec(BaseInterfaceInputSpec):
    """Input specification of interfaces that combine several images of each echo."""

    first_files = traits.List(
        traits.List(File(exists=True)),
        mandatory=True,
        desc="magnitudes or real parts: for each echo, all files to combine",
    )
    second_files = traits.List(
        traits.List(File(exists=True)),
        mandatory=True,
        desc="phases or imaginary parts, nested in the same way",
    )
    phase_units = traits.List(
        traits.List(traits.Either(None, traits.Instance(PhaseUnits))),
        mandatory=True,
        desc="unit of each phase, nested in the same way; None for real and imaginary parts",
    )
    volumes = traits.List(
        traits.List(traits.Either(None, traits.Tuple(traits.Int, traits.Int))),
        mandatory=True,
        desc="volumes of both parts in 4-D images, nested in the same way; None for 3-D images",
    )


class CombinedOutputSpec(TraitedSpec):
    """Output specification of these interfaces."""

    first_files = traits.List(File(exists=True), desc="combined magnitude of each echo")
    second_files = traits.List(File(exists=True), desc="combined phase of each echo, in rad")
    phase_units = traits.List(
        traits.Either(None, traits.Instance(PhaseUnits)),
        desc="unit of the phases; None for real and imaginary parts",
    )
    provenance = traits.Dict(desc="fields for the sidecars")


def read_signals(
    inputs: SeveralImagesInputSpec, echo: int
) -> Iterator[NDArray[np.complexfloating]]:
    """Yield the complex images of an echo."""
    for one in read_echoes(_pairs(inputs, echo)):
        yield complex_signal(*one)


def combined_results(
    inputs: SeveralImagesInputSpec,
    combined: Iterable[NDArray[np.complexfloating]],
    folder: Path,
) -> dict[str, Any]:
    """Write the combined image of each echo; return the results of the interface.

    The combined images have the same names as the first images of the echo.
    """
    results: dict[str, Any] = {"first_files": [], "second_files": [], "phase_units": []}
    for echo, signal in enumerate(combined):
        like = _pairs(inputs, echo)[0]
        pair = write_polar(like, np.abs(signal), np.angle(signal), folder)
        results["first_files"].append(str(pair.first))
        results["second_files"].append(str(pair.second))
        results["phase_units"].append(pair.units)
    return results


def write_polar(
    like: ImagePair, magnitude: NDArray[np.floating], phase: NDArray[np.floating], folder: Path
) -> ImagePair:
    """Write magnitude and phase with the names of the original images, which errors may contain."""
    written = []
    for (original, volume), values in zip(like.in_files, (magnitude, phase), strict=True):
        which = "" if volume is None else f"_volume-{volume}"
        path = folder / f"{stem(original)}{which}.nii.gz"
        write_image(path, values.astype(np.float32), like=original)
        written.append(path)
    return ImagePair(written[0], written[1], PhaseUnits("rad"))


def _pairs(inputs: SeveralImagesInputSpec, echo: int) -> list[ImagePair]:
    """Return the images of an echo, and how to read them."""
    return [
        ImagePair(Path(first), Path(second), units, volumes)
        for first, second, units, volumes in zip(
            inputs.first_files[echo],
            inputs.second_files[echo],
            inputs.phase_units[echo],
            inputs.volumes[echo],
            strict=True,
        )
    ]


class _AverageRunsInputSpec(SeveralImagesInputSpec):
    axes = axes_of_kernels()
    names = traits.List(traits.Str, mandatory=True, desc="names of the averaged acquisitions")
    phase_cycled = traits.Bool(
        False,
        usedefault=True,
        desc="whether balanced SSFP acquisitions differ in the phase increment of their pulses",
    )
    image_checks = image_checks()


class AverageRuns(CheckedInterface):
    """Interface that averages each echo of repeated acquisitions as complex images."""

    input_spec = _AverageRunsInputSpec
    output_spec = CombinedOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs = self.inputs
        averages: list[Average] = []
        self._results |= combined_results(inputs, self._signals(averages), Path(runtime.cwd))
        warnings = [
            text
            for echo, average in enumerate(averages)
            for text in self._contradictions(average, _pairs(inputs, echo))
        ]
        remainders = zip(*(average.remainders for average in averages), strict=True)
        self._results["provenance"] = Phi0Sidecar(
            averaged_acquisitions=list(inputs.names),
            phase_cycled=True if inputs.phase_cycled else None,
            averaging_remainder=[round(max(one), 4) for one in remainders],
            warnings=warnings,
            failed_image_checks=warnings or None,
        ).to_dict()
        return runtime

    def _signals(self, averages: list[Average]) -> Iterator[NDArray[np.complexfloating]]:
        """Yield the average of each echo, and append the results without the signals."""
        combine = (
            partial(average_phase_cycles, axes=self.inputs.axes)
            if self.inputs.phase_cycled
            else average_repetitions
        )
        mask = None
        for echo in range(len(self.inputs.first_files)):
            polar = read_echoes(_pairs(self.inputs, echo))
            first = next(polar)
            if mask is None:
                mask = self._signal_mask(*first)
            signals = (complex_signal(*one) for one in chain([first], polar))
            try:
                average = combine(signals, mask)
            except ValueError as error:
                raise no_magnitude(self.inputs.first_files[echo][0], error) from error
            yield average.signal
            averages.append(average._replace(signal=average.signal[:0]))

    def _signal_mask(
        self, magnitude: NDArray[np.floating], phase: NDArray[np.floating]
    ) -> NDArray[np.bool_]:
        try:
            return find_signal(magnitude, phase, self.inputs.axes).mask
        except ValueError as error:
            raise no_magnitude(self.inputs.first_files[0][0], error) from error

    def _contradictions(self, average: Average, pairs: list[ImagePair]) -> list[str]:
        """Return warnings about repetitions that do not match the first repetition."""
        found = []
        first = pairs[0].second.name
        for remainder, is_reversed, pair in zip(
            average.remainders, average.reversed, pairs[1:], strict=True
        ):
            if is_reversed:
                problem, remedy = f"fits {first} better with the opposite sign", _REMEDY
            elif remainder > _LARGEST_REMAINDER:
                problem, remedy = self._difference(first, remainder)
            else:
                continue
            path, which = image_of(pair, 1)
            if self.inputs.image_checks == "stop":
                raise InputError(path, which + problem, f"{remedy}; {OVERRIDE}")
            found.append(f"{path.name} {which}{problem}; {remedy}")
        return found

    def _difference(self, first: str, remainder: float) -> tuple[str, str]:
        """Return the problem of a repetition that differs from the first, and the remedy."""
        if self.inputs.phase_cycled:
            return (
                f"differs from {first} by more than a constant phase: by {remainder:.2f} rad "
                f"(limit: {_LARGEST_REMAINDER:g})",
                "combine only phase cycles with the same readout polarity and head position, or "
                "leave out this acquisition with --bids-filter-file",
            )
        return (
            f"differs from {first} by more than a constant and linear phase: by {remainder:.2f} "
            f"rad (limit: {_LARGEST_REMAINDER:g})",
            _REMEDY,
        )
