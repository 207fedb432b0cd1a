from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from nipype.pipeline.engine import Node

from bids_qcm.bids.images import save_array
from tests.synthetic import AFFINE, FREQUENCY, SHAPE, labels, uniform_phase


@pytest.fixture
def ball(tmp_path):
    """Files of a volume of 0.5 S/m: phi0 is a parabola."""
    mask = np.zeros(SHAPE, bool)
    mask[1:-1, 1:-1, 1:-1] = True
    volumes = {
        "phi0": uniform_phase(),
        "mask": mask,
        "labels": labels(),
        "magnitude": np.where(mask, 99 + labels(), 1).astype(np.float32),
    }
    folder = tmp_path / "in"
    for name, values in volumes.items():
        save_array(folder / f"{name}.nii.gz", values, AFFINE)
    files = {name: str(folder / f"{name}.nii.gz") for name in volumes}
    return SimpleNamespace(**volumes, files=files, folder=folder, frequency=FREQUENCY)


@pytest.fixture
def make_node(tmp_path):
    def make(interface):
        node = Node(interface, name="node", base_dir=str(tmp_path / "work"))
        node.config = {"execution": {"hash_method": "content", "create_report": "false"}}
        return node

    return make


@pytest.fixture
def check_rerun(make_node, monkeypatch):
    """Check that a node runs only once, and that the node runs again after an output has been
    deleted."""

    def check(make_interface, output):
        runs = []
        kind = type(make_interface())
        original = kind._run_interface

        def counted(interface, runtime):
            runs.append(interface)
            return original(interface, runtime)

        monkeypatch.setattr(kind, "_run_interface", counted)

        def run():
            return Path(getattr(make_node(make_interface()).run().outputs, output))

        path = run()
        assert run() == path
        assert len(runs) == 1
        path.unlink()
        assert run().exists()
        assert len(runs) == 2

    return check
