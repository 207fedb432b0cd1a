import numpy as np
import pytest

from bids_qcm.bids.acquisitions import group_acquisitions
from bids_qcm.bids.anatomy.datasets import SearchedDatasets
from bids_qcm.bids.planning import plan_acquisition
from bids_qcm.settings import Settings
from tests.synthetic import SHAPE, Dataset, uniform_phase


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
        phase = uniform_phase(affine=np.eye(4))
        raw = Dataset(datasets["raw"], np.eye(4), {"mag": 100 + phase, "phase": phase})
        seg = Dataset(datasets["seg"], np.eye(4))
        paths = [path for name in names or ["sub-01_{}_T2w"] for path in raw.pair(name)]
        ones = np.ones(SHAPE, np.int16)
        if segmentation:
            seg.image("sub-01/anat/sub-01_dseg.nii.gz", ones)
        if mask:
            seg.image("sub-01/anat/sub-01_desc-brain_mask.nii.gz", ones)
        acquisitions = group_acquisitions(paths)
        searched = SearchedDatasets.of(settings, {"seg": datasets["seg"]})
        return [plan_acquisition(one, settings, searched) for one in acquisitions]

    return make
