"""Interface that computes a conductivity map."""

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, Bunch, File, TraitedSpec, traits

from bids_qcm.bids.images import read_grid, read_integers, read_values, write_image
from bids_qcm.interfaces.base import CheckedInterface, joined, optional_file
from bids_qcm.recon import Reconstruction, reconstruct
from bids_qcm.recon.methods import TARGET_STD

_RADIUS = {
    "default": None,
    "usedefault": True,
    "desc": "radius in mm; None for the published radius of the method",
}


def _radius() -> traits.Either:
    return traits.Either(None, "auto", traits.Tuple((0.0, 0.0, 0.0)), **_RADIUS)


class _ReconstructInputSpec(BaseInterfaceInputSpec):
    phi0_file = File(
        exists=True, mandatory=True, desc="phi0 in rad, unwrapped, with the sign applied"
    )
    mask_file = File(exists=True, mandatory=True)
    magnitude_file = File(exists=True, mandatory=True)
    labels_file = optional_file()
    b1_file = optional_file()
    noise_file = optional_file()
    magnitude_noise = traits.Float(
        0.0, usedefault=True, desc="noise standard deviation of the magnitude"
    )
    method = traits.Str(mandatory=True, desc="name of the method")
    frequency = traits.Float(mandatory=True, desc="Larmor frequency in Hz")
    phase_type = traits.Enum("transceive", "transmit", usedefault=True)
    fit_radius = _radius()
    integral_radius = _radius()
    target_std = traits.Float(
        TARGET_STD,
        usedefault=True,
        desc="target noise standard deviation of automatic radii, in S/m",
    )
    uncertainty = traits.Bool(
        True, usedefault=True, desc="whether to compute condstd_file, if noise is given"
    )
    provenance = traits.Dict({}, usedefault=True, desc="provenance of phi0")
    labels_provenance = traits.Dict({}, usedefault=True)
    b1_provenance = traits.Dict({}, usedefault=True)
    n_threads = traits.Int(1, usedefault=True, nohash=True)


class _ReconstructOutputSpec(TraitedSpec):
    condmap_file = File(exists=True, desc="conductivity map in S/m")
    condstd_file = File(exists=True, desc="noise standard deviation in S/m, if noise was given")
    provenance = traits.Dict(desc="fields for the sidecars")


class Reconstruct(CheckedInterface):
    """Interface that computes a conductivity map with one method."""

    input_spec = _ReconstructInputSpec
    output_spec = _ReconstructOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs = self.inputs
        source = Path(inputs.phi0_file)
        result = reconstruct(
            read_values(source),
            method=inputs.method,
            voxel_size=read_grid(source).voxel_size,
            frequency=inputs.frequency,
            mask=read_integers(Path(inputs.mask_file)) != 0,
            magnitude=read_values(Path(inputs.magnitude_file)),
            labels=read_integers(Path(inputs.labels_file)) if inputs.labels_file else None,
            phase_type=inputs.phase_type,
            fit_radius=inputs.fit_radius,
            integral_radius=inputs.integral_radius,
            target_std=inputs.target_std,
            uncertainty=inputs.uncertainty,
            phase_noise=read_values(Path(inputs.noise_file)) if inputs.noise_file else None,
            magnitude_noise=inputs.magnitude_noise,
            b1_map=read_values(Path(inputs.b1_file)) if inputs.b1_file else None,
            n_threads=inputs.n_threads,
        )
        if result.invalid_fraction == 1:
            raise ValueError(
                f"{inputs.method} could not be computed in any voxel: the mask, or every tissue in "
                "it, is too thin for the kernels; try other radii or another mask"
            )
        maps = {"condmap": result.conductivity, "condstd": result.conductivity_std}
        for name, values in maps.items():
            if values is not None:
                path = Path(runtime.cwd, f"{name}.nii.gz")
                write_image(path, values, like=source)
                self._results[f"{name}_file"] = str(path)
        measured = {}
        if result.predicted_std is not None:
            measured = {"TargetStd": inputs.target_std, "PredictedStd": result.predicted_std}
        measured |= _inversion_fields(result)
        radii = {"FitRadius": result.fit_radius, "IntegralRadius": result.integral_radius}
        self._results["provenance"] = {
            **joined(joined(inputs.provenance, inputs.labels_provenance), inputs.b1_provenance),
            **{name: list(radius) for name, radius in radii.items() if radius is not None},
            **measured,
            "InvalidFraction": result.invalid_fraction,
        }
        return runtime


def _inversion_fields(result: Reconstruction) -> dict[str, Any]:
    """Return the sidecar fields about the fit of an inversion; omit values that are not finite."""
    found: dict[str, Any] = {}
    if result.linear_phase is not None:
        found["LinearPhaseRemoved"] = result.linear_phase.posterior_mean.round(2).tolist()
        error = result.linear_phase.standard_error
        if np.isfinite(error).all():
            found["LinearPhaseStandardError"] = error.round(2).tolist()
    if result.goodness is not None:
        numbers = {
            "ReducedChiSquare": result.goodness.reduced_chi_square,
            "PriorChiSquare": result.goodness.prior_chi_square,
            "LinearPhaseEffect": result.goodness.linear_phase_effect,
        }
        found |= {name: round(value, 4) for name, value in numbers.items() if np.isfinite(value)}
    return found
