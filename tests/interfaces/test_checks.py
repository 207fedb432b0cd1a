import numpy as np
import pytest

from bids_qcm.bids.images import save_array
from bids_qcm.interfaces.checks import CheckImages
from bids_qcm.phase import PhaseUnits
from tests.synthetic import squared_distance

SHAPE = (18,) * 3
TIMES = [0.002, 0.004, 0.006, 0.008]


@pytest.fixture
def files(tmp_path):
    """Echoes of a ball. The phase of the last echo is inconsistent with the other echoes."""
    rng = np.random.default_rng(0)
    r2 = squared_distance(SHAPE, np.eye(4)) * 1e6
    first, second = [], []
    for number, time in enumerate(TIMES):
        phase = 0.01 * r2 + 100 * time + (time == TIMES[-1]) * 0.05 * r2
        noise = rng.normal(size=(2, *SHAPE))
        signal = 100 * (r2 < 49) * np.exp(1j * phase) + noise[0] + 1j * noise[1]
        for paths, name, values in (
            (first, "mag", np.abs(signal)),
            (second, "phase", np.angle(signal)),
        ):
            path = tmp_path / f"{name}{number}.nii"
            save_array(path, values.astype(np.float32), np.eye(4))
            paths.append(str(path))
    return {"first_files": first, "second_files": second}


def test_the_sidecar_of_selected_echoes_has_the_units_of_the_dataset(files, make_node):
    """Averaged phases are in rad, whatever the unit of the images in the dataset is."""
    node = make_node(
        CheckImages(
            **files,
            phase_units=[PhaseUnits("rad")] * 4,
            unit_names=["4096 per cycle"] * 4,
            echo_times=TIMES,
            echo_numbers=[1, 2, 3, 4],
            axes=[0, 1, 2],
            select_echoes=True,
            image_checks="warn",
        )
    )
    outputs = node.run().outputs
    assert outputs.used_echoes == [0, 1, 2]
    assert outputs.provenance["EchoesUsed"] == [1, 2, 3]
    assert outputs.provenance["PhaseUnits"] == ["4096 per cycle"] * 3
