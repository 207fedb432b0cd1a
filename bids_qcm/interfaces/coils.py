"""Interface that combines the images of receive coils."""

from functools import reduce
from pathlib import Path

import numpy as np
from nipype.interfaces.base import Bunch

from bids_qcm.bids.sidecar_schema import Phi0Sidecar
from bids_qcm.interfaces.averaging import (
    CombinedOutputSpec,
    SeveralImagesInputSpec,
    combined_results,
    read_signals,
)
from bids_qcm.interfaces.base import CheckedInterface
from bids_qcm.phase.coils import coil_weights
from bids_qcm.phase.thinning import thinned


class CombineCoils(CheckedInterface):
    """Interface that combines the coils of each echo with the same constant phase factors."""

    input_spec = SeveralImagesInputSpec
    output_spec = CombinedOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        n_echoes, n_coils = len(self.inputs.first_files), len(self.inputs.first_files[0])
        # the earliest echo has the strongest signal; a copy does not keep the whole image in memory
        sample = [signal[thinned(signal.shape)].copy() for signal in read_signals(self.inputs, 0)]
        weights = coil_weights(sample)
        combined = (
            reduce(
                np.add,
                (
                    np.complex64(weight) * signal
                    for weight, signal in zip(weights, read_signals(self.inputs, echo), strict=True)
                ),
            )
            for echo in range(n_echoes)
        )
        self._results |= combined_results(self.inputs, combined, Path(runtime.cwd))
        self._results["provenance"] = Phi0Sidecar(combined_coils=n_coils).to_dict()
        return runtime
