"""Interface that creates the ``|B1+|`` map of an acquisition."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from nipype.interfaces.base import Bunch, File, TraitedSpec, traits
from numpy.typing import NDArray

from bids_qcm.bids.anatomy.b1_maps import import_b1
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_grid, read_integers, read_values, write_image
from bids_qcm.bids.sidecar_schema import B1Sidecar, Registration, merge
from bids_qcm.checks.b1 import DeclaredB1
from bids_qcm.interfaces.base import (
    CheckedInterface,
    OriginsInputSpec,
    optional_file,
    raise_failure,
)
from bids_qcm.phase.masking import body_outline
from bids_qcm.recon.b1 import average_head, model_b1, model_helps
from bids_qcm.recon.b1_smoothing import SMOOTHING_MM

_DIGITS = 4


class _MakeB1InputSpec(OriginsInputSpec):
    frequency = traits.Float(mandatory=True, desc="Larmor frequency in Hz")
    mask_file = File(exists=True, mandatory=True, desc="mask in which the |B1+| map is needed")
    is_brain = traits.Bool(mandatory=True, desc="whether the mask is a brain mask")
    declared = traits.Instance(DeclaredB1, mandatory=True)


class _MakeB1OutputSpec(TraitedSpec):
    b1_file = optional_file()
    origin = traits.Enum("measured", "model", "none")
    metadata = traits.Dict(desc="sidecar of the |B1+| map")
    provenance = traits.Dict(desc="fields for the sidecars of results that use the |B1+| map")


class MakeB1(CheckedInterface):
    """Interface that resamples a measured ``|B1+|`` map to the phase grid or models the field.

    The origins are tried in the given order. The output map is divided by its median over the mask.
    """

    input_spec = _MakeB1InputSpec
    output_spec = _MakeB1OutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs, failures = self.inputs, []
        for origin in self._useful_origins():
            try:
                b1_map, described = getattr(self, f"_{origin}")()
                break
            except InputError as error:
                if origin == inputs.origins[-1]:
                    raise
                failures.append(f"{_NOT_USED[origin]}: {error}")
        path = None
        metadata = inputs.metadata.get(origin, {})
        planned = B1Sidecar.from_dict(metadata)
        used = replace(
            described,
            b1_map=origin,
            b1_map_requested=inputs.requested,
            warnings=[*failures, *(described.warnings or ())],
        )
        if b1_map is not None:
            path = Path(runtime.cwd, "b1.nii.gz")
            mask = self._read(inputs.mask_file)
            relative = np.where(mask, b1_map / np.median(b1_map[mask]), 0).astype(np.float32)
            low, high = np.percentile(relative[mask], (5, 95)).tolist()
            used = replace(used, b1_map_range=[round(low, _DIGITS), round(high, _DIGITS)])
            write_image(path, relative, like=Path(inputs.mask_file))
        self._results |= {
            "b1_file": path and str(path),
            "origin": origin,
            "metadata": merge(metadata, used.to_dict()),
            # The model is made from the signal mask. Its source images are the acquisition's own
            # images, which are already sources of every conductivity map.
            "provenance": replace(
                used, sources=planned.sources if origin == "measured" else None
            ).to_dict(),
        }
        return runtime

    def _useful_origins(self) -> list[str]:
        """Return the origins; omit the model if it was not requested and may not improve maps."""
        inputs = self.inputs
        is_head = inputs.is_brain or inputs.head_expected
        helps = model_helps(inputs.frequency, is_head=is_head) or inputs.requested != "auto"
        return [origin for origin in inputs.origins if origin != "model" or helps]

    def _measured(self) -> tuple[NDArray[np.float32], B1Sidecar]:
        inputs = self.inputs
        raise_failure(inputs.pose_failure)
        point_map = inputs.alignment.point_map(inputs.pose)
        magnitude = Path(inputs.magnitude_file)
        path = Path(inputs.auxiliary.path)
        checked = import_b1(
            path,
            inputs.declared,
            read_grid(magnitude),
            point_map,
            self._read(inputs.mask_file),
            read_values(magnitude),
            inputs.frequency,
        )
        registration = asdict(Registration.from_dict(inputs.pose_provenance))
        return checked.smooth.values, B1Sidecar(
            b1_map_units=checked.unit,
            b1_map_median=round(checked.median, _DIGITS),
            b1_map_smoothing=SMOOTHING_MM,
            b1_map_filled_fraction=round(checked.smooth.filled, _DIGITS),
            b1_map_remote_fraction=round(checked.smooth.remote, _DIGITS),
            **{f"b1_map_{name}": value for name, value in registration.items()},
            warnings=[f"{path.name} {warning}" for warning in checked.warnings],
        )

    def _model(self) -> tuple[NDArray[np.float32], B1Sidecar]:
        inputs = self.inputs
        outline = body_outline(self._read(inputs.signal_file))
        voxel_size = read_grid(Path(inputs.signal_file)).voxel_size
        try:
            b1_map = model_b1(outline, voxel_size, inputs.frequency)
        except (ValueError, RuntimeError) as error:
            raise InputError(
                inputs.source,
                f"has no modelled |B1+|: {error}",
                "provide a measured |B1+| map, or use --b1 none",
            ) from error
        volume = np.count_nonzero(outline) * np.prod(voxel_size) / 1e6
        head = average_head(inputs.frequency)
        return b1_map, B1Sidecar(
            b1_model_conductivity=round(head.conductivity, 3),
            b1_model_permittivity=round(head.permittivity, 1),
            b1_model_volume=round(float(volume), 3),
        )

    def _none(self) -> tuple[None, B1Sidecar]:
        return None, B1Sidecar()

    def _read(self, path: str) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = read_integers(Path(path)) != 0
        return mask


_NOT_USED = {
    "measured": "the measured |B1+| map is not used",
    "model": "the modelled |B1+| is not used",
}
