from pathlib import Path

import numpy as np
import pytest

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import save_array
from bids_qcm.interfaces.averaging import AverageRuns
from bids_qcm.phase import PhaseUnits

SHAPE = (24, 24, 20)


@pytest.fixture
def tilted(tmp_path, monkeypatch):
    """Average two images in one 4-D file, between which the phase is linear."""
    monkeypatch.chdir(tmp_path)
    r2 = sum((np.indices(SHAPE).T - 10).T ** 2)
    noise = np.random.default_rng(0).normal(scale=0.01, size=(2, *SHAPE))
    image = (r2 < 80) + noise[0] + 1j * noise[1]
    images = np.stack([image, image * np.exp(0.3j * np.arange(SHAPE[2]))], axis=-1)
    paths = [str(tmp_path / f"{part}.nii.gz") for part in ("mag", "phase")]
    for path, values in zip(paths, (np.abs(images), np.angle(images)), strict=True):
        save_array(Path(path), values.astype(np.float32), np.eye(4))

    def average(**options):
        inputs = {
            "first_files": [[paths[0]] * 2],
            "second_files": [[paths[1]] * 2],
            "phase_units": [[PhaseUnits("rad")] * 2],
            "volumes": [[(0, 0), (1, 1)]],
            "axes": [0, 1, 2],
            "names": ["a", "b"],
            "image_checks": "stop",
        }
        return AverageRuns(**inputs | options).run().outputs

    return average


def test_a_linear_phase_between_repetitions_is_removed(tilted):
    (remainder,) = tilted().provenance["AveragingRemainder"]
    assert remainder < 0.05


def test_a_linear_phase_between_phase_cycles_is_an_error(tilted):
    expected = r"\(volume 1, counted from 0\) differs from phase\.nii\.gz by more than a constant "
    with pytest.raises(InputError, match=expected + "phase: by .*same readout polarity"):
        tilted(phase_cycled=True)
    (warning,) = tilted(phase_cycled=True, image_checks="warn").provenance["Warnings"]
    assert warning.startswith("phase.nii.gz (volume 1, counted from 0) differs")
