"""Run commands in other environments, and check their outputs."""

import json
import os
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np

LABELS = ("01", "02")
METHODS = ("laplacian-mag", "integral-magseg")
OPTIONS = ("--fit-radius", "9", "--integral-radius", "9", "--method", *METHODS)
# a user ID that exists on no system; without the right to change the user, the current user ID
USER = 1234 if os.getuid() == 0 else os.getuid()


def run(*command, check=True, **options):
    """Run a command until it ends; a failure message contains the output of the command."""
    command = list(map(str, command))
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if check:
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def images(dataset):
    """List the images of a derivative dataset."""
    return sorted(path.relative_to(dataset) for path in dataset.rglob("*.nii.gz"))


def assert_same_bytes(dataset, reference):
    """Check that two derivative datasets have the same images."""
    assert images(dataset) == images(reference) != []
    for path in images(reference):
        assert (dataset / path).read_bytes() == (reference / path).read_bytes(), path


def assert_close(dataset, reference, tolerance):
    """Check that two derivative datasets have the same conductivity.

    The tolerance is in S/m. Where the noise standard deviation exceeds 1 S/m, the tolerance is
    relative to the noise standard deviation.
    """
    assert images(dataset) == images(reference) != []
    for path in (path for path in images(reference) if "_condmap." in path.name):
        found, expected = (nib.load(root / path).get_fdata() for root in (dataset, reference))
        noise = nib.load(reference / str(path).replace("_condmap", "_condstd")).get_fdata()
        # invalid voxels are NaN, and NaN must agree with NaN
        limit = tolerance * np.maximum(noise, 1)
        np.testing.assert_array_less(np.abs(found - expected), limit, err_msg=str(path))


def assert_whole(dataset):
    """Check that all files can be read completely, and that no temporary file is left."""
    for path in filter(Path.is_file, dataset.rglob("*")):
        assert path.name == ".bidsignore" or not path.name.startswith("."), path
        if path.name.endswith(".nii.gz"):
            assert path.with_suffix("").with_suffix(".json").exists(), path
            nib.load(path).get_fdata()
        elif path.suffix == ".json":
            json.loads(path.read_text())


def container_of(dataset):
    """Return the container that the description of a derivative dataset names."""
    description = json.loads((dataset / "dataset_description.json").read_text())
    return description["GeneratedBy"][0]["Container"]
