"""Quickly made datasets of many small subjects."""

import gzip
import json

import nibabel as nib
import numpy as np

SHAPE = (8, 9, 7)


def write_subjects(root, n_subjects, shape=SHAPE, n_echoes=3, first=0):
    """Write subjects of a few voxels, alike but for their names, with segmentation and brain mask.

    The phase is that of 0.5 S/m.
    """
    axes = np.meshgrid(*(np.arange(n) - n / 2 for n in shape), indexing="ij")
    phase = sum(np.square(axis * 1e-3) for axis in axes) * (0.5 * 2017.1 / 6)
    magnitude = 100 + np.random.default_rng(0).normal(size=shape)
    labels = np.ones(shape, np.int16)
    labels[shape[0] // 2 :] = 2
    echoes = [
        {
            "mag": _blob((magnitude * np.exp(-0.1 * echo)).astype(np.float32)),
            "phase": _blob((phase + 0.2 * echo).astype(np.float32)),
        }
        for echo in range(n_echoes)
    ]
    blobs = {
        "labels": _blob(labels),
        "mask": _blob(np.ones(shape, np.uint8)),
    }
    seg = root / "derivatives/seg"
    for folder, more in ((root, {}), (seg, {"DatasetType": "derivative"})):
        description = {"Name": folder.name, "BIDSVersion": "1.10.0", **more}
        _put(folder / "dataset_description.json", json.dumps(description).encode())
    for number in range(first, first + n_subjects):
        name = f"sub-{number:04d}"
        for echo, parts in enumerate(echoes, start=1):
            sidecar = {"EchoTime": 0.005 * echo, "ImagingFrequency": 127.74, "Units": "rad"}
            for part, blob in parts.items():
                stem = root / name / f"anat/{name}_echo-{echo}_part-{part}_MEGRE"
                _put(stem.with_suffix(".nii.gz"), blob)
                _put(stem.with_suffix(".json"), json.dumps(sidecar).encode())
        _put(seg / name / f"anat/{name}_dseg.nii.gz", blobs["labels"])
        _put(seg / name / f"anat/{name}_desc-brain_mask.nii.gz", blobs["mask"])
    return root


def _blob(values):
    return gzip.compress(nib.Nifti1Image(values, np.eye(4)).to_bytes(), mtime=0)


def _put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
