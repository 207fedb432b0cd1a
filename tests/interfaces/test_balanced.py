from pathlib import Path

import numpy as np
import pytest

from bids_qcm.bids.images import save_array
from bids_qcm.interfaces.balanced import RemoveBands
from bids_qcm.phase import PhaseUnits
from tests.phase.test_balanced import BALL, PHI0, SHAPE, Z, ellipse


@pytest.fixture
def remove_bands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(off_resonance, offsets=0.0):
        rng = np.random.default_rng(0)
        signal = BALL * ellipse(off_resonance, 180) * np.exp(1j * (PHI0 + offsets))
        noise = rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE)
        signal = signal / np.median(np.abs(signal[BALL])) + 0.02 * noise
        paths = [tmp_path / f"{part}.nii.gz" for part in ("mag", "phase")]
        for path, values in zip(paths, (np.abs(signal), np.angle(signal)), strict=True):
            save_array(path, values.astype(np.float32), np.diag([2, 2, 2, 1]))
        inputs = {
            "first_files": [str(paths[0])],
            "second_files": [str(paths[1])],
            "phase_units": [PhaseUnits("rad")],
            "echo_times": [None],
        }
        return RemoveBands(**inputs).run().outputs

    return run


def test_bands_parallel_to_the_slices_are_removed(remove_bands):
    found = remove_bands(5000 * Z)
    assert 0.05 < found.provenance["BandFraction"] < 0.4


@pytest.mark.parametrize("offset", [0.3, 1.0, 1.7])
def test_slices_with_offsets_are_not_searched_for_bands(remove_bands, tmp_path, offset):
    found = remove_bands(0 * Z, offset * (np.arange(SHAPE[2]) % 2))
    assert "BandFraction" not in found.provenance
    assert found.provenance["Warnings"] == [
        "the app did not search for bands, because the phase jumps between slices"
    ]
    assert Path(found.second_files[0]) == tmp_path / "phase.nii.gz"
