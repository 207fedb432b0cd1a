"""Interface that computes a conductivity map."""

from pathlib import Path

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, Bunch, File, TraitedSpec, traits
from numpy.typing import NDArray

from bids_qcm.bids.images import read_grid, read_integers, read_values, write_image
from bids_qcm.bids.sidecar_schema import MapSidecar, merge
from bids_qcm.interfaces.base import CheckedInterface, axes_of_kernels, optional_file, rounded
from bids_qcm.recon import Reconstruction, reconstruct
from bids_qcm.recon.methods import TARGET_STD
from bids_qcm.segmentation.lesions import separate_lesions

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
    lesions_file = optional_file()
    largest_fit_radius = traits.Float(
        0.0, usedefault=True, desc="radius of the quadratic fit in mm, to select separate lesions"
    )
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
    axes = axes_of_kernels()
    target_std = traits.Float(
        TARGET_STD,
        usedefault=True,
        desc="target noise standard deviation of automatic radii, in S/m",
    )
    uncertainty = traits.Bool(
        True, usedefault=True, desc="whether to compute condstd_file, if noise is given"
    )
    noise_maps = traits.Bool(
        False,
        usedefault=True,
        desc="whether to compute noise_maps_file in addition to condstd_file",
    )
    provenance = traits.Dict({}, usedefault=True, desc="provenance of phi0")
    labels_provenance = traits.Dict({}, usedefault=True)
    b1_provenance = traits.Dict({}, usedefault=True)
    n_threads = traits.Int(1, usedefault=True, nohash=True)


class _ReconstructOutputSpec(TraitedSpec):
    condmap_file = File(exists=True, desc="conductivity map in S/m")
    condstd_file = File(exists=True, desc="noise standard deviation in S/m, if noise was given")
    noise_maps_file = File(
        exists=True,
        desc="NumPy array of noise maps in S/m at the voxels of the mask, float32, (n, n_mask), "
        "if requested",
    )
    provenance = traits.Dict(desc="fields for the sidecars")


class Reconstruct(CheckedInterface):
    """Interface that computes a conductivity map with one method."""

    input_spec = _ReconstructInputSpec
    output_spec = _ReconstructOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs = self.inputs
        source = Path(inputs.phi0_file)
        labels, separate = self._labels()
        result = reconstruct(
            read_values(source),
            method=inputs.method,
            voxel_size=read_grid(source).voxel_size,
            frequency=inputs.frequency,
            mask=read_integers(Path(inputs.mask_file)) != 0,
            magnitude=read_values(Path(inputs.magnitude_file)),
            labels=labels,
            phase_type=inputs.phase_type,
            fit_radius=inputs.fit_radius,
            integral_radius=inputs.integral_radius,
            axes=tuple(inputs.axes),
            target_std=inputs.target_std,
            uncertainty=inputs.uncertainty,
            noise_maps=inputs.noise_maps,
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
        if result.noise_maps is not None:
            path = Path(runtime.cwd, "noise_maps.npy")
            np.save(path, result.noise_maps)
            self._results["noise_maps_file"] = str(path)
        self._results["provenance"] = {
            **merge(merge(inputs.provenance, inputs.labels_provenance), inputs.b1_provenance),
            **_describe(result, inputs.target_std).to_dict(),
            **MapSidecar(separate_lesions=separate).to_dict(),
        }
        return runtime

    def _labels(self) -> tuple[NDArray[np.int32] | None, list[int] | None]:
        """Return the tissue labels, and the numbers of the lesions with separate labels."""
        inputs = self.inputs
        if not inputs.labels_file:
            return None, None
        source = Path(inputs.labels_file)
        labels = read_integers(source)
        if not inputs.lesions_file:
            return labels, None
        lesions = read_integers(Path(inputs.lesions_file), allow_empty=True)
        return separate_lesions(
            labels, lesions, read_grid(source).voxel_size, inputs.largest_fit_radius
        )


def _describe(result: Reconstruction, target_std: float) -> MapSidecar:
    """Return the sidecar fields about the radii and the fit; omit values that are not finite."""
    linear, goodness = result.linear_phase, result.goodness
    error = None if linear is None else linear.standard_error
    automatic = result.predicted_std is not None
    return MapSidecar(
        fit_radius=None if result.fit_radius is None else list(result.fit_radius),
        integral_radius=None if result.integral_radius is None else list(result.integral_radius),
        target_std=target_std if automatic else None,
        predicted_std=result.predicted_std,
        linear_phase_removed=None if linear is None else linear.posterior_mean.round(2).tolist(),
        linear_phase_standard_error=None
        if error is None or not np.isfinite(error).all()
        else error.round(2).tolist(),
        reduced_chi_square=goodness and rounded(goodness.reduced_chi_square),
        prior_chi_square=goodness and rounded(goodness.prior_chi_square),
        linear_phase_effect=goodness and rounded(goodness.linear_phase_effect),
        invalid_fraction=result.invalid_fraction,
    )
