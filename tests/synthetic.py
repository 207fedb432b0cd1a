"""A builder for tiny datasets, and their volumes."""

import gzip
import json

import nibabel as nib
import numpy as np

from bids_qcm.bids.acquisitions import group_acquisitions
from bids_qcm.physics import conductivity_factor
from bids_qcm.settings import Settings

SHAPE = (8, 9, 7)
AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])
FREQUENCY = 127.74e6
SIDECAR = {"EchoTime": 0.01, "ImagingFrequency": FREQUENCY / 1e6, "Units": "rad"}


class Dataset:
    """A BIDS dataset of tiny images.

    Parameters
    ----------
    root : Path
    affine : ndarray
        Affine matrix of the images.
    volumes : dict, optional
        Volumes of the parts ``mag`` and ``phase``. The volume of the phase is also used for the
        real and the imaginary part. By default, the phase covers a full cycle.
    **description
        Additional fields of ``dataset_description.json``.
    """

    def __init__(self, root, affine=AFFINE, volumes=None, **description):
        self.root = root
        self.affine = affine
        self.volumes = volumes or {"mag": magnitude(), "phase": phase()}
        given = {"Name": root.name, "BIDSVersion": "1.10.0", **description}
        self.json("dataset_description.json", given)

    def path(self, relative):
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def json(self, relative, content):
        path = self.path(relative)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def image(self, relative, values, affine=None):
        path = self.path(relative)
        nib.save(nib.Nifti1Image(values, self.affine if affine is None else affine), path)
        return path

    def pair(self, name="sub-01_{}_T2w", folder="", parts=("mag", "phase"), **sidecar):
        """Write both parts of an echo. A sidecar field with the value None is omitted."""
        fields = {key: value for key, value in {**SIDECAR, **sidecar}.items() if value is not None}
        paths = []
        for part in parts:
            stem = name.format(f"part-{part}")
            folder = folder or f"{stem.split('_')[0]}/anat"
            paths.append(
                self.image(
                    f"{folder}/{stem}.nii.gz", self.volumes[part if part == "mag" else "phase"]
                )
            )
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


def labels(shape=SHAPE):
    values = np.ones(shape, dtype=np.int16)
    values[shape[0] // 2 :] = 2
    return values


def squared_distance(shape=SHAPE, affine=AFFINE):
    """Return the squared distance from the middle of the volume in m^2."""
    axes = [
        (np.arange(n) - (n - 1) / 2) * size * 1e-3
        for n, size in zip(shape, np.diag(affine), strict=False)
    ]
    return sum(np.square(axis) for axis in np.meshgrid(*axes, indexing="ij"))


def uniform_phase(conductivity=0.5, shape=SHAPE, affine=AFFINE):
    """Return phi0 of a volume with uniform conductivity in S/m, which is a paraboloid."""
    laplacian = conductivity / conductivity_factor(FREQUENCY)
    return (laplacian * squared_distance(shape, affine) / 6).astype(np.float32)


def write_subjects(root, n_subjects, shape=SHAPE, n_echoes=3, first=0):
    """Write tiny subjects that differ only in their names, with a segmentation and a brain mask.

    The phase corresponds to 0.5 S/m. Each image is compressed only once, so that a thousand
    subjects take a second.
    """
    phi0 = uniform_phase(0.5, shape, np.eye(4))
    signal = 100 + np.random.default_rng(0).normal(size=shape)
    echoes = [
        {
            "mag": _compressed((signal * np.exp(-0.1 * echo)).astype(np.float32)),
            "phase": _compressed((phi0 + 0.2 * echo).astype(np.float32)),
        }
        for echo in range(n_echoes)
    ]
    derived = {
        "dseg": _compressed(labels(shape)),
        "desc-brain_mask": _compressed(np.ones(shape, np.uint8)),
    }
    raw, seg = Dataset(root), Dataset(root / "derivatives/seg", DatasetType="derivative")
    for number in range(first, first + n_subjects):
        stem = f"sub-{number:04d}/anat/sub-{number:04d}"
        for echo, parts in enumerate(echoes, start=1):
            for part, content in parts.items():
                name = f"{stem}_echo-{echo}_part-{part}_MEGRE"
                raw.path(f"{name}.nii.gz").write_bytes(content)
                raw.json(f"{name}.json", SIDECAR | {"EchoTime": 0.005 * echo})
        for name, content in derived.items():
            seg.path(f"{stem}_{name}.nii.gz").write_bytes(content)
    return root


def _compressed(values):
    return gzip.compress(nib.Nifti1Image(values, np.eye(4)).to_bytes(), mtime=0)
