"""Interface that puts results into the derivative dataset."""

from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Bunch,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from bids_qcm.bids.derivatives import put_whole
from bids_qcm.interfaces.base import joined


class _WriteDerivativeInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True)
    out_path = traits.Str(mandatory=True, desc="where to, with all extensions")
    metadata = traits.Either(
        None, traits.Dict, default=None, usedefault=True, desc="sidecar; None for no sidecar"
    )
    provenance = traits.Dict({}, usedefault=True, desc="added to the sidecar")
    outdated = traits.List(
        traits.Str, [], usedefault=True, desc="what would not belong to a result that is new"
    )


class _WriteDerivativeOutputSpec(TraitedSpec):
    out_file = File(exists=True)


class WriteDerivative(SimpleInterface):
    """Copy a result and its sidecar to the derivative dataset, whole or not at all."""

    input_spec = _WriteDerivativeInputSpec
    output_spec = _WriteDerivativeOutputSpec
    # the dataset may have lost the file since the node was cached
    _always_run = True

    def _run_interface(self, runtime: Bunch) -> Bunch:
        metadata = self.inputs.metadata
        sidecar = None if metadata is None else joined(metadata, self.inputs.provenance)
        outdated = map(Path, self.inputs.outdated)
        put_whole(Path(self.inputs.in_file), Path(self.inputs.out_path), sidecar, outdated)
        self._results["out_file"] = self.inputs.out_path
        return runtime
