"""Interfaces that write results to the derivative dataset."""

from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Bunch,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from bids_qcm.bids.derivatives import copy_atomically, remove_with_sidecar
from bids_qcm.bids.privacy import anonymous
from bids_qcm.interfaces.base import joined


class _WriteDerivativeInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True)
    out_path = traits.Str(mandatory=True, desc="output path with all extensions")
    metadata = traits.Either(
        None,
        traits.Dict,
        default=None,
        usedefault=True,
        desc="content of the sidecar; None for no sidecar",
    )
    provenance = traits.Dict({}, usedefault=True, desc="fields to add to the sidecar")
    places = traits.Dict({}, usedefault=True, desc="replacements of folders in the sidecar")
    outdated = traits.List(
        traits.Str, [], usedefault=True, desc="files of earlier runs to remove if the result is new"
    )


class _WriteDerivativeOutputSpec(TraitedSpec):
    out_file = File(exists=True)


class WriteDerivative(SimpleInterface):
    """Interface that atomically copies a result and its sidecar to the derivative dataset."""

    input_spec = _WriteDerivativeInputSpec
    output_spec = _WriteDerivativeOutputSpec
    # the output may have been deleted from the dataset since the node was cached
    _always_run = True

    def _run_interface(self, runtime: Bunch) -> Bunch:
        metadata = self.inputs.metadata
        sidecar = None
        if metadata is not None:
            sidecar = anonymous(joined(metadata, self.inputs.provenance), self.inputs.places)
        outdated = map(Path, self.inputs.outdated)
        copy_atomically(Path(self.inputs.in_file), Path(self.inputs.out_path), sidecar, outdated)
        self._results["out_file"] = self.inputs.out_path
        return runtime


class _WriteMaskInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True)
    out_paths = traits.Dict(mandatory=True, desc="output path of each mask type")
    mask_type = traits.Str(mandatory=True)
    metadata = traits.Dict(mandatory=True, desc="content of the sidecar")
    places = traits.Dict({}, usedefault=True, desc="replacements of folders in the sidecar")


class WriteMask(SimpleInterface):
    """Interface that copies a mask and its sidecar to the derivative dataset.

    The file name depends on the mask type. A mask of another type from an earlier run is removed,
    because the current conductivity maps were not computed in it.
    """

    input_spec = _WriteMaskInputSpec
    output_spec = _WriteDerivativeOutputSpec
    # the output may have been deleted from the dataset since the node was cached
    _always_run = True

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs = self.inputs
        path = inputs.out_paths[inputs.mask_type]
        sidecar = anonymous(inputs.metadata, inputs.places)
        copy_atomically(Path(inputs.in_file), Path(path), sidecar)
        for other in set(inputs.out_paths.values()) - {path}:
            remove_with_sidecar(Path(other))
        self._results["out_file"] = path
        return runtime
