"""Interface that averages repeated acquisitions."""

from itertools import chain
from pathlib import Path

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, Bunch, File, TraitedSpec, traits

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_echo, write_image
from bids_qcm.bids.names import stem
from bids_qcm.bids.sidecar_schema import Phi0Sidecar
from bids_qcm.interfaces.base import OVERRIDE, CheckedInterface, image_checks
from bids_qcm.phase import PhaseUnits
from bids_qcm.phase.averaging import Average, average_repetitions
from bids_qcm.phase.masking import find_signal
from bids_qcm.phase.phi0 import complex_signal

# Largest deviation of the phase of a repetition from the first repetition, apart from a constant
# and linear phase, rad. Eddy currents of opposite polarity cause up to 0.2 rad.
_LARGEST_REMAINDER = 0.3


class _AverageRunsInputSpec(BaseInterfaceInputSpec):
    first_files = traits.List(
        traits.List(File(exists=True)),
        mandatory=True,
        desc="magnitudes or real parts: for each echo, one file of each repetition",
    )
    second_files = traits.List(
        traits.List(File(exists=True)), mandatory=True, desc="phases or imaginary parts, likewise"
    )
    phase_units = traits.List(
        traits.List(traits.Either(None, traits.Instance(PhaseUnits))),
        mandatory=True,
        desc="unit of each phase, likewise; None for real and imaginary parts",
    )
    volumes = traits.List(
        traits.List(traits.Either(None, traits.Int)),
        mandatory=True,
        desc="index of the volume in 4-D images, likewise; None for 3-D images",
    )
    axes = traits.List(traits.Int, [0, 1, 2], usedefault=True, desc="axes of the kernels")
    names = traits.List(traits.Str, mandatory=True, desc="names of the averaged acquisitions")
    image_checks = image_checks()


class _AverageRunsOutputSpec(TraitedSpec):
    first_files = traits.List(File(exists=True), desc="averaged magnitude of each echo")
    second_files = traits.List(File(exists=True), desc="averaged phase of each echo, in rad")
    phase_units = traits.List(traits.Instance(PhaseUnits), desc="unit of the averaged phases")
    provenance = traits.Dict(desc="fields for the sidecars")


class AverageRuns(CheckedInterface):
    """Interface that averages each echo of repeated acquisitions as complex images."""

    input_spec = _AverageRunsInputSpec
    output_spec = _AverageRunsOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs = self.inputs
        mask = None
        remainders: list[list[float]] = []
        warnings: list[str] = []
        written: list[list[str]] = []
        for firsts, seconds, units, volumes in zip(
            inputs.first_files,
            inputs.second_files,
            inputs.phase_units,
            inputs.volumes,
            strict=True,
        ):
            polar = (
                read_echo(Path(a), Path(b), unit, volume)
                for a, b, unit, volume in zip(firsts, seconds, units, volumes, strict=True)
            )
            magnitude, phase = next(polar)
            if mask is None:
                mask = self._signal(magnitude, phase)
            signals = (complex_signal(*one) for one in chain([(magnitude, phase)], polar))
            average = average_repetitions(signals, mask)
            remainders.append(average.remainders)
            warnings += self._contradictions(average, seconds)
            written.append(
                [
                    _write(Path(runtime.cwd), Path(like), volumes[0], values)
                    for like, values in (
                        (firsts[0], np.abs(average.signal)),
                        (seconds[0], np.angle(average.signal)),
                    )
                ]
            )
        self._results["first_files"] = [first for first, _ in written]
        self._results["second_files"] = [second for _, second in written]
        self._results["phase_units"] = [PhaseUnits("rad")] * len(written)
        self._results["provenance"] = Phi0Sidecar(
            averaged_acquisitions=list(inputs.names),
            averaging_remainder=[round(max(one), 4) for one in zip(*remainders, strict=True)],
            warnings=warnings,
            failed_image_checks=warnings or None,
        ).to_dict()
        return runtime

    def _signal(self, magnitude: np.ndarray, phase: np.ndarray) -> np.ndarray:
        try:
            return find_signal(magnitude, phase, self.inputs.axes).mask
        except ValueError as error:
            raise InputError(
                self.inputs.first_files[0][0], str(error), "check that this image is a magnitude"
            ) from error

    def _contradictions(self, average: Average, phases: list[str]) -> list[str]:
        """Return warnings about repetitions that do not match the first repetition."""
        found = []
        first = Path(phases[0]).name
        for remainder, is_reversed, path in zip(
            average.remainders, average.reversed, phases[1:], strict=True
        ):
            if is_reversed:
                problem = f"fits {first} better with the opposite sign"
            elif remainder > _LARGEST_REMAINDER:
                problem = (
                    f"differs from {first} by more than a constant and linear phase: by "
                    f"{remainder:.2f} rad (limit: {_LARGEST_REMAINDER:g})"
                )
            else:
                continue
            remedy = (
                "average only acquisitions of one head position with the same sign and unit, or "
                "leave out this acquisition with --bids-filter-file"
            )
            if self.inputs.image_checks == "stop":
                raise InputError(path, problem, f"{remedy}; {OVERRIDE}")
            found.append(f"{Path(path).name} {problem}; {remedy}")
        return found


def _write(folder: Path, like: Path, volume: int | None, values: np.ndarray) -> str:
    """Write an average under the name of the image of the first repetition."""
    which = "" if volume is None else f"_volume-{volume}"
    path = folder / f"{stem(like)}{which}.nii.gz"
    write_image(path, values.astype(np.float32), like=like)
    return str(path)
