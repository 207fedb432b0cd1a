"""Interface that writes results to the derivative dataset."""

from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Bunch,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from bids_qcm.bids.derivatives import copy_atomically, remove_with_sidecar
from bids_qcm.bids.privacy import anonymous
from bids_qcm.bids.sidecar_schema import merge
from bids_qcm.interfaces.base import optional_file


class _WriteDerivativeInputSpec(BaseInterfaceInputSpec):
    in_file = optional_file()
    out_paths = traits.Dict(
        mandatory=True,
        desc="output path of each variant, with all extensions; the key is '' without variants",
    )
    variant = traits.Str(
        "", usedefault=True, desc="variant to write; nothing is written for other names"
    )
    metadata = traits.Either(
        None,
        traits.Dict,
        default=None,
        usedefault=True,
        desc="content of the sidecar, or None to write no sidecar",
    )
    provenance = traits.Dict({}, usedefault=True, desc="fields to add to the sidecar")
    places = traits.Dict(
        {}, usedefault=True, desc="replacement for each folder that occurs in the sidecar"
    )
    outdated = traits.List(
        traits.Str, [], usedefault=True, desc="files of earlier runs to remove if the result is new"
    )


class WriteDerivative(SimpleInterface):
    """Interface that atomically copies a result and its sidecar to the derivative dataset.

    The file name may depend on the variant of the result, such as the type of a mask. Another
    variant from an earlier run is removed, because the current conductivity maps were not computed
    with it. Without a file, nothing is written, and the result of an earlier run is removed.
    """

    input_spec = _WriteDerivativeInputSpec
    output_spec = TraitedSpec
    # the output may have been deleted from the dataset since the node was cached
    _always_run = True

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs = self.inputs
        path = inputs.out_paths.get(inputs.variant) if inputs.in_file else None
        if path is not None:
            sidecar = None
            if inputs.metadata is not None:
                sidecar = anonymous(merge(inputs.metadata, inputs.provenance), inputs.places)
            outdated = map(Path, inputs.outdated)
            copy_atomically(Path(inputs.in_file), Path(path), sidecar, outdated)
        for other in set(inputs.out_paths.values()) - {path}:
            remove_with_sidecar(Path(other))
        return runtime
