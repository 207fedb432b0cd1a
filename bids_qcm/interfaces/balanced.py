"""Interface that removes the bands of a balanced SSFP image."""

from pathlib import Path

import numpy as np
from nipype.interfaces.base import Bunch, traits

from bids_qcm.bids.images import read_echo, read_grid
from bids_qcm.bids.sidecar_schema import Phi0Sidecar, merge
from bids_qcm.checks.slices import find_offsets_besides_bands
from bids_qcm.interfaces.averaging import CombinedOutputSpec, write_polar
from bids_qcm.interfaces.base import CheckedInterface, ImagesInputSpec, image_pairs, no_magnitude
from bids_qcm.phase.balanced import find_bands
from bids_qcm.phase.masking import LEAST_SNR, find_signal
from bids_qcm.phase.phi0 import complex_signal
from bids_qcm.phase.unwrapping import wrap

_NOT_SEARCHED = "the app did not search for bands, because the phase jumps between slices"


class _RemoveBandsInputSpec(ImagesInputSpec):
    provenance = traits.Dict({}, usedefault=True, desc="provenance of averaged images")


class RemoveBands(CheckedInterface):
    """Interface that sets the magnitude to zero in bands, and removes the phase jump at a band."""

    input_spec = _RemoveBandsInputSpec
    output_spec = CombinedOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        (pair,) = image_pairs(self.inputs)
        magnitude, phase = read_echo(pair)
        try:
            noise = find_signal(magnitude, phase).noise
        except ValueError as error:
            raise no_magnitude(pair.first, error) from error
        image, signal = complex_signal(magnitude, phase), magnitude > noise.threshold(LEAST_SNR)
        own, has_bands = Phi0Sidecar(), False
        if find_offsets_besides_bands(image, signal):
            # do not report the jumps here, because the image checks report them
            own = Phi0Sidecar(warnings=[_NOT_SEARCHED])
        else:
            grid = read_grid(pair.first, four_d=pair.volumes is not None)
            found = find_bands(image, grid.voxel_size, noise)
            has_bands = bool(np.any((found.bands | found.shifted)[signal]))
        if has_bands:
            fraction = float(np.mean(found.bands[signal]))
            own = Phi0Sidecar(band_fraction=round(fraction, 6), warnings=[_sentence(fraction)])
            magnitude = np.where(found.bands, 0, magnitude)
            phase = np.where(found.shifted, wrap(phase + np.pi), phase)
        if has_bands or pair.volumes is not None:
            pair = write_polar(pair, magnitude, phase, Path(runtime.cwd))
        self._results |= {
            "first_files": [str(pair.first)],
            "second_files": [str(pair.second)],
            "phase_units": [pair.units],
        }
        self._results["provenance"] = merge(self.inputs.provenance, own.to_dict())
        return runtime


def _sentence(fraction: float) -> str:
    return (
        f"balanced SSFP bands cover {fraction:.1%} of the voxels with signal; the map excludes "
        "these voxels, and is biased near the bands"
    )
