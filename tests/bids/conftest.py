import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_qcm.bids.acquisitions import group_acquisitions
from bids_qcm.settings import Settings

SHAPE = (8, 9, 7)
AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])
SIDECAR = {"EchoTime": 0.01, "ImagingFrequency": 127.74, "Units": "rad"}


class Dataset:
    """A tiny BIDS dataset."""

    def __init__(self, root):
        self.root = root
        self.json("dataset_description.json", {"Name": "tiny", "BIDSVersion": "1.10.0"})

    def path(self, relative):
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def json(self, relative, content):
        path = self.path(relative)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def image(self, relative, values, affine=AFFINE):
        path = self.path(relative)
        nib.save(nib.Nifti1Image(values, affine), path)
        return path

    def pair(self, name="sub-01_{}_T2w", folder="", parts=("mag", "phase"), **sidecar):
        """Write both parts of an echo; a sidecar field with the value None is left out."""
        fields = {key: value for key, value in {**SIDECAR, **sidecar}.items() if value is not None}
        paths = []
        for part in parts:
            stem = name.format(f"part-{part}")
            folder = folder or f"{stem.split('_')[0]}/anat"
            values = magnitude() if part == "mag" else phase()
            paths.append(self.image(f"{folder}/{stem}.nii.gz", values))
            self.json(f"{folder}/{stem}.json", fields)
        return paths

    def derivative(self, name="seg", generator="other", where="derivatives"):
        root = self.root / where / name
        description = {"Name": name, "GeneratedBy": [{"Name": generator}]}
        self.json(f"{where}/{name}/dataset_description.json", description)
        return root

    def segmentation(self, relative="derivatives/seg/sub-01/anat/sub-01_dseg.nii.gz", **affine):
        return self.image(relative, labels(), **affine)

    def settings(self, **options):
        root = self.root
        return Settings(
            **{"bids_dir": root, "output_dir": root / "out", "work_dir": root / "w"} | options
        )

    def acquisition(self):
        """Return the only acquisition."""
        (one,) = group_acquisitions(self.root.glob("sub-*/**/anat/*_part-*.nii*"))
        return one


def magnitude():
    return np.random.default_rng(1).uniform(90, 100, SHAPE).astype(np.float32)


def phase():
    """Return a smooth phase that covers a full cycle."""
    ramp = np.linspace(-np.pi, np.pi, SHAPE[0], dtype=np.float32)
    return np.broadcast_to(ramp[:, None, None], SHAPE).copy()


def labels():
    values = np.ones(SHAPE, dtype=np.int16)
    values[4:] = 2
    return values


@pytest.fixture
def dataset(tmp_path):
    return Dataset(tmp_path / "data")


@pytest.fixture
def phase_values():
    return phase()


@pytest.fixture
def magnitude_values():
    return magnitude()


@pytest.fixture
def label_values():
    return labels()


@pytest.fixture
def affine():
    return AFFINE.copy()


@pytest.fixture
def snapshot():
    """Return the content and modification time of all files in a folder."""

    def take(folder):
        files = (path for path in Path(folder).rglob("*") if path.is_file())
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    return take
