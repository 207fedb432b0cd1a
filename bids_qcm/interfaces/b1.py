"""Interfaces that make and write the ``|B1+|`` map of an acquisition."""

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Bunch,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)
from numpy.typing import NDArray

from bids_qcm.bids.anatomy.b1_maps import import_b1
from bids_qcm.bids.derivatives import copy_atomically, remove_with_sidecar
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_grid, read_integers, read_values, write_image
from bids_qcm.checks.b1 import DeclaredB1
from bids_qcm.interfaces.base import (
    CheckedInterface,
    OriginsInputSpec,
    joined,
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
        fields = {"B1Map": origin, "B1MapRequested": inputs.requested, **described}
        if b1_map is not None:
            path = Path(runtime.cwd, "b1.nii.gz")
            mask = self._read(inputs.mask_file)
            relative = np.where(mask, b1_map / np.median(b1_map[mask]), 0).astype(np.float32)
            low, high = np.percentile(relative[mask], (5, 95)).tolist()
            fields["B1MapRange"] = [round(low, _DIGITS), round(high, _DIGITS)]
            write_image(path, relative, like=Path(inputs.mask_file))
        provenance = joined({"Warnings": failures}, fields)
        self._results |= {
            "b1_file": path and str(path),
            "origin": origin,
            "metadata": joined(metadata, provenance),
            # The model is made from the signal mask. Its source images are the acquisition's own
            # images, which are already sources of every conductivity map.
            "provenance": {
                **provenance,
                **({"Sources": metadata["Sources"]} if origin == "measured" else {}),
            },
        }
        return runtime

    def _useful_origins(self) -> list[str]:
        """Return the origins; omit the model if it was not requested and may not help."""
        inputs = self.inputs
        is_head = inputs.is_brain or inputs.head_expected
        helps = model_helps(inputs.frequency, is_head=is_head) or inputs.requested != "auto"
        return [origin for origin in inputs.origins if origin != "model" or helps]

    def _measured(self) -> tuple[NDArray[np.float32], dict[str, Any]]:
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
        return checked.smooth.values, {
            "B1MapUnits": checked.unit,
            "B1MapMedian": round(checked.median, _DIGITS),
            "B1MapSmoothing": SMOOTHING_MM,
            "B1MapFilledFraction": round(checked.smooth.filled, _DIGITS),
            "B1MapRemoteFraction": round(checked.smooth.remote, _DIGITS),
            **{f"B1Map{field}": value for field, value in inputs.pose_provenance.items()},
            "Warnings": [f"{path.name} {warning}" for warning in checked.warnings],
        }

    def _model(self) -> tuple[NDArray[np.float32], dict[str, Any]]:
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
        return b1_map, {
            "B1ModelConductivity": round(head.conductivity, 3),
            "B1ModelPermittivity": round(head.permittivity, 1),
            "B1ModelVolume": round(float(volume), 3),
        }

    def _none(self) -> tuple[None, dict[str, Any]]:
        return None, {}

    def _read(self, path: str) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = read_integers(Path(path)) != 0
        return mask


_NOT_USED = {
    "measured": "the measured |B1+| map is not used",
    "model": "the modelled |B1+| is not used",
}


class _WriteB1InputSpec(BaseInterfaceInputSpec):
    in_file = optional_file()
    out_paths = traits.Dict(mandatory=True, desc="output path of each origin")
    origin = traits.Str(mandatory=True)
    metadata = traits.Dict(mandatory=True, desc="content of the sidecar")


class WriteB1(SimpleInterface):
    """Interface that copies the ``|B1+|`` map and its sidecar to the derivative dataset.

    The file name depends on the origin of the map. A map of another origin from an earlier run is
    removed, because the current conductivity maps were not computed from it.
    """

    input_spec = _WriteB1InputSpec
    output_spec = TraitedSpec
    # the output may have been deleted from the dataset since the node was cached
    _always_run = True

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs = self.inputs
        path = inputs.out_paths.get(inputs.origin)
        if path is not None:
            copy_atomically(Path(inputs.in_file), Path(path), inputs.metadata)
        for other in set(inputs.out_paths.values()) - {path}:
            remove_with_sidecar(Path(other))
        return runtime
