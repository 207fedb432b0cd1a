import json

import numpy as np
import pytest

from bids_qcm.bids.acquisitions import group_acquisitions
from bids_qcm.bids.images import save_array
from bids_qcm.bids.planning import plan_acquisition
from bids_qcm.physics import conductivity_factor
from bids_qcm.settings import Settings

SHAPE = (8, 9, 7)
FREQUENCY = 127.74e6


@pytest.fixture
def settings(tmp_path):
    def settings(**options):
        folders = {"bids_dir": "raw", "output_dir": "out", "work_dir": "work"}
        paths = {name: tmp_path / folder for name, folder in folders.items()}
        return Settings(**paths | options)

    return settings


@pytest.fixture
def datasets(tmp_path):
    return {"raw": tmp_path / "raw", "seg": tmp_path / "seg"}


@pytest.fixture
def make_plans(datasets):
    """Write acquisitions of a volume of 0.5 S/m, and plan them."""

    def make(settings, *names, segmentation=True, mask=True):
        axes = np.meshgrid(*(np.arange(n) - n // 2 for n in SHAPE), indexing="ij")
        squares = sum(np.square(axis * 1e-3) for axis in axes)
        phase = (0.5 / conductivity_factor(FREQUENCY) * squares / 6).astype(np.float32)
        sidecar = {"Units": "rad", "EchoTime": 0.01, "ImagingFrequency": FREQUENCY / 1e6}
        folder = datasets["raw"] / "sub-01" / "anat"
        for name in names or ["sub-01_{}_T2w"]:
            for part, values in (("mag", 100 + phase), ("phase", phase)):
                stem = name.format(f"part-{part}")
                save_array(folder / f"{stem}.nii.gz", values, np.eye(4))
                (folder / f"{stem}.json").write_text(json.dumps(sidecar))
        derived = datasets["seg"] / "sub-01" / "anat"
        ones = np.ones(SHAPE, np.int16)
        if segmentation:
            save_array(derived / "sub-01_dseg.nii.gz", ones, np.eye(4))
        if mask:
            save_array(derived / "sub-01_desc-brain_mask.nii.gz", ones, np.eye(4))
        acquisitions = group_acquisitions(folder.glob("*.nii.gz"))
        return [plan_acquisition(one, settings, [datasets["seg"]]) for one in acquisitions]

    return make
