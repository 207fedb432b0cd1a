"""Interfaces that compute the phase at echo time zero and apply its sign."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Bunch,
    File,
    TraitedSpec,
    traits,
)

from bids_qcm.bids.images import read_echoes, read_grid, read_integers, read_values, write_image
from bids_qcm.bids.sidecar_schema import NULL, AlternatingPhase, Phi0Sidecar, merge
from bids_qcm.interfaces.base import (
    CheckedInterface,
    ImagesInputSpec,
    axes_of_kernels,
    image_pairs,
)
from bids_qcm.phase import Phi0, compute_phi0
from bids_qcm.recon import determine_sign
from bids_qcm.recon.sign import usual_sign

_WORTH_A_WARNING = 0.001


class _PreparePhi0InputSpec(ImagesInputSpec):
    mask_file = File(exists=True, mandatory=True, desc="mask in which to compute phi0")
    used_echoes = traits.List(traits.Int, [], usedefault=True, desc="indices; empty for all echoes")
    axes = axes_of_kernels()
    provenance = traits.Dict({}, usedefault=True, desc="provenance of the images and the mask")


class _PreparePhi0OutputSpec(TraitedSpec):
    phi0_file = File(exists=True, desc="phase at echo time zero, in rad, unwrapped")
    magnitude_file = File(exists=True, desc="root sum of squares over the echoes")
    mask_file = File(exists=True, desc="voxels in which phi0 was computed")
    noise_file = File(exists=True, desc="noise standard deviation of phi0 in rad")
    magnitude_noise = traits.Float(desc="noise standard deviation of the magnitude")
    provenance = traits.Dict(desc="fields for the sidecars")


class PreparePhi0(CheckedInterface):
    """Interface that computes phi0 from the images of an acquisition."""

    input_spec = _PreparePhi0InputSpec
    output_spec = _PreparePhi0OutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs = self.inputs
        pairs = image_pairs(inputs)
        used = inputs.used_echoes or range(len(pairs))
        magnitudes, phases = zip(*read_echoes([pairs[k] for k in used]), strict=True)
        phi0 = compute_phi0(
            magnitudes,
            phases,
            [inputs.echo_times[k] for k in used],
            mask=read_integers(Path(inputs.mask_file)) != 0,
            echo_numbers=[inputs.echo_numbers[k] for k in used if inputs.echo_numbers],
            axes=inputs.axes,
        )
        volumes = {
            "phi0": phi0.phase,
            "magnitude": phi0.magnitude,
            "mask": phi0.mask,
            "noise": phi0.noise,
        }
        for name, values in volumes.items():
            path = Path(runtime.cwd, f"{name}.nii.gz")
            write_image(path, values, like=Path(inputs.first_files[0]))
            self._results[f"{name}_file"] = str(path)
        self._results["magnitude_noise"] = phi0.magnitude_noise
        found = Phi0Sidecar(
            alternate_slices_flipped=["ijk"[axis] for axis in phi0.axes_flipped],
            slices_aligned_along=next(("ijk"[a] for a in range(3) if a not in inputs.axes), None),
            warnings=_warnings(phi0),
            magnitude_noise=phi0.magnitude_noise,
            median_phase_noise=float(np.median(phi0.noise[phi0.mask])),
            echo_misfit=round(max(phi0.echo_misfit), 5) if phi0.echo_misfit else None,
            echo_misfit_of_each=[round(misfit, 5) for misfit in phi0.echo_misfit] or None,
            alternating_phase=_alternating_phase(phi0),
        )
        self._results["provenance"] = merge(inputs.provenance, found.to_dict())
        return runtime


def _alternating_phase(phi0: Phi0) -> AlternatingPhase | None:
    """Return the sidecar field of the phase that was removed from the even echoes."""
    if phi0.alternation is None:
        return None
    return AlternatingPhase(
        amplitude=round(phi0.alternation.amplitude, 4),
        constant=round(phi0.alternation.constant, 4),
        gradient=[round(one, 6) for one in phi0.alternation.gradient],
    )


def _warnings(phi0: Phi0) -> list[str]:
    if phi0.blank_fraction < _WORTH_A_WARNING:
        return []
    return [
        f"the phase is constant in {phi0.blank_fraction:.1%} of the mask, as if the phase image "
        "had been masked; the map excludes these voxels"
    ]


class _ApplySignInputSpec(BaseInterfaceInputSpec):
    phi0_file = File(exists=True, mandatory=True)
    mask_file = File(exists=True, mandatory=True)
    sign = traits.Enum("auto", "+", "-", usedefault=True)
    manufacturer = traits.Str(
        usedefault=True,
        desc="scanner manufacturer, whose usual sign is used if the evidence is weak",
    )
    axes = axes_of_kernels()
    provenance = traits.Dict({}, usedefault=True, desc="provenance of phi0")


class _ApplySignOutputSpec(TraitedSpec):
    phi0_file = File(exists=True, desc="phi0 in rad, with the sign applied")
    provenance = traits.Dict(desc="fields for the sidecars")


class ApplySign(CheckedInterface):
    """Interface that applies the given sign of the phase, or determines the sign and applies it."""

    input_spec = _ApplySignInputSpec
    output_spec = _ApplySignOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        source = Path(self.inputs.phi0_file)
        phi0 = read_values(source)
        sign, found = self.inputs.sign, Phi0Sidecar(phase_sign_origin="given")
        if sign == "auto":
            decision = determine_sign(
                phi0,
                read_integers(Path(self.inputs.mask_file)) != 0,
                read_grid(source).voxel_size,
                axes=self.inputs.axes,
                n_threads=1,  # so that the segmentation is imported at the same time
            )
            usual = usual_sign(self.inputs.manufacturer)
            by_manufacturer = decision.weak and usual is not None
            sign = usual if by_manufacturer else decision.sign
            found = Phi0Sidecar(
                phase_sign_origin="Manufacturer" if by_manufacturer else "auto",
                phase_sign_of_manufacturer=NULL if usual is None else usual,
                phase_sign_median_laplacian=decision.median_laplacian,
                phase_sign_agreement=decision.agreement,
                phase_sign_weak=decision.weak,
            )
        path = Path(runtime.cwd, "phi0.nii.gz")
        write_image(path, phi0 if sign == "+" else -phi0, like=source)
        self._results["phi0_file"] = str(path)
        self._results["provenance"] = {
            **self.inputs.provenance,
            **replace(found, phase_sign=sign).to_dict(),
        }
        return runtime
