"""Interface that checks the images of an acquisition before any computation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import Bunch, File, TraitedSpec, traits
from numpy.typing import NDArray

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import ImagePair, read_grid, read_parts, to_polar, write_image
from bids_qcm.bids.sidecar_schema import NULL, Phi0Sidecar, merge
from bids_qcm.checks.acquisition import ImageEvidence, Pair, check_acquisition, check_roles
from bids_qcm.checks.findings import Finding
from bids_qcm.interfaces.base import (
    OVERRIDE,
    CheckedInterface,
    ImagesInputSpec,
    axes_of_kernels,
    image_checks,
    image_of,
    image_pairs,
    no_magnitude,
    rounded,
)
from bids_qcm.phase.echo_selection import LeftOut, inconsistent_echoes
from bids_qcm.phase.masking import Signal, find_signal


class _CheckImagesInputSpec(ImagesInputSpec):
    axes = axes_of_kernels()
    slice_axis = traits.Either(
        None, traits.Int, default=None, usedefault=True, desc="slice axis of a 2-D acquisition"
    )
    frequency = traits.Either(
        None, traits.Float, default=None, usedefault=True, desc="Larmor frequency in Hz"
    )
    phase_type = traits.Enum("transceive", "transmit", usedefault=True)
    image_checks = image_checks()
    provenance = traits.Dict({}, usedefault=True, desc="provenance of averaged images")
    unit_names = traits.List(
        traits.Str, mandatory=True, desc="phase unit of each echo in the dataset, for the sidecar"
    )
    select_echoes = traits.Bool(
        False,
        usedefault=True,
        desc="whether to leave out echoes whose phase is not linear in echo time",
    )


class _CheckImagesOutputSpec(TraitedSpec):
    magnitude_file = File(exists=True, desc="magnitude of the first echo")
    signal_file = File(exists=True, desc="mask of the voxels with signal")
    used_echoes = traits.List(traits.Int, desc="indices of the echoes to use")
    provenance = traits.Dict(desc="fields for the sidecars")


class CheckImages(CheckedInterface):
    """Interface that checks each image of an acquisition and the consistency between the images."""

    input_spec = _CheckImagesInputSpec
    output_spec = _CheckImagesOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs = self.inputs
        every = image_pairs(inputs)
        parts = list(read_parts(every))
        echoes = [to_polar(*one) for one in zip(parts, inputs.phase_units, strict=True)]
        signal, left_out = self._inconsistent(echoes) if inputs.select_echoes else (None, [])
        warnings = [_left_out_sentence(one, every) for one in left_out]
        without = {one.echo for one in left_out}
        used = [k for k in range(len(every)) if k not in without]
        pairs, echoes = [every[k] for k in used], [echoes[k] for k in used]
        roles = check_roles([parts[k] for k in used], cartesian=inputs.phase_units[0] is None)
        self._stop_at(roles, pairs)
        evidence = self._check(pairs, echoes, used, None if 0 in without else signal)
        found = [*roles, *evidence.findings]
        self._stop_at(found, pairs)
        folder = Path(runtime.cwd)
        self._results |= {
            "magnitude_file": _write(folder / "magnitude.nii", echoes[0][0], pairs[0]),
            "signal_file": _write(folder / "signal.nii", evidence.signal, pairs[0]),
            "used_echoes": used,
        }
        failed = [_sentence(finding, pairs) for finding in found if finding.fatal]
        found_fields = Phi0Sidecar(
            signal_to_noise_ratio=round(evidence.snr, 2) if np.isfinite(evidence.snr) else NULL,
            incoherent_fraction=round(evidence.incoherent_fraction, 6),
            warnings=[*warnings, *(_sentence(finding, pairs) for finding in found)],
            failed_image_checks=failed or None,
            slice_offset=rounded(evidence.slice_offset),
            **self._fields_of_used(used),
        )
        self._results["provenance"] = merge(inputs.provenance, found_fields.to_dict())
        return runtime

    def _check(
        self,
        pairs: Sequence[ImagePair],
        echoes: Sequence[Pair],
        used: Sequence[int],
        signal: Signal | None,
    ) -> ImageEvidence:
        """Check the used echoes, whose indices are `used`."""
        inputs = self.inputs
        try:
            return check_acquisition(
                [magnitude for magnitude, _ in echoes],
                [phase for _, phase in echoes],
                [inputs.echo_times[k] for k in used],
                read_grid(pairs[0].first, four_d=pairs[0].volumes is not None).voxel_size,
                axes=inputs.axes,
                slice_axis=inputs.slice_axis,
                phase_type=inputs.phase_type,
                frequency=inputs.frequency,
                echo_numbers=[inputs.echo_numbers[k] for k in used if inputs.echo_numbers],
                signal=signal,
            )
        except ValueError as error:
            raise no_magnitude(pairs[0].first, error) from error

    def _inconsistent(self, echoes: Sequence[Pair]) -> tuple[Signal | None, list[LeftOut]]:
        """Find the signal of the first echo, and the echoes whose phase is not linear in echo time.

        The signal is None if it cannot be found.
        """
        try:
            signal = find_signal(*echoes[0], self.inputs.axes)
        except ValueError:  # ignored here, because the image checks report this error
            return None, []
        left_out = inconsistent_echoes(
            [magnitude for magnitude, _ in echoes],
            [phase for _, phase in echoes],
            self.inputs.echo_times,
            signal.mask,
            signal.noise.sd,
            self.inputs.echo_numbers,
        )
        return signal, left_out

    def _fields_of_used(self, used: Sequence[int]) -> dict[str, Any]:
        """Return the sidecar fields that depend on the echoes that are used."""
        if len(used) == len(self.inputs.first_files):
            return {}
        return {
            "echoes_used": [self.inputs.echo_numbers[k] for k in used],
            "echo_time": [self.inputs.echo_times[k] for k in used],
            "phase_units": [self.inputs.unit_names[k] for k in used],
        }

    def _stop_at(self, findings: Sequence[Finding], pairs: Sequence[ImagePair]) -> None:
        """Raise one error for all fatal findings, with the file of the first finding."""
        fatal = [finding for finding in findings if finding.fatal]
        if not fatal or self.inputs.image_checks == "warn":
            return
        first, *others = fatal
        more = "".join(f"; {_statement(finding, pairs)}" for finding in others)
        path, which = image_of(pairs[first.echo], first.part)
        raise InputError(path, which + first.problem + more, f"{first.remedy}; {OVERRIDE}")


def _write(path: Path, values: NDArray[np.generic], like: ImagePair) -> str:
    """Write an image without compression, which saves time, because it is not an output."""
    write_image(path, values, like=like.first)
    return str(path)


def _left_out_sentence(one: LeftOut, pairs: Sequence[ImagePair]) -> str:
    path, which = image_of(pairs[one.echo], 1)
    return (
        f"{path.name} {which}is left out, because its phase is inconsistent with a line over echo "
        f"time through the earlier echoes: misfit {one.misfit:.3f} rad (limit: {one.limit:.3f})"
    )


def _sentence(finding: Finding, pairs: Sequence[ImagePair]) -> str:
    return f"{_statement(finding, pairs)}; {finding.remedy}"


def _statement(finding: Finding, pairs: Sequence[ImagePair]) -> str:
    path, which = image_of(pairs[finding.echo], finding.part)
    return f"{path.name} {which}{finding.problem}"
