"""Fixtures for the tests of containers and schedulers."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from bids_qcm import __version__
from tests.deployment.helpers import LABELS, OPTIONS, USER, run


@pytest.fixture(scope="session")
def image():
    """Tag of the image."""
    tag = os.environ.get("BIDS_QCM_IMAGE", f"bids-qcm:{__version__}")
    if not shutil.which("docker") or run("docker", "image", "inspect", tag, check=False).returncode:
        pytest.skip(f"no Docker engine that has the image {tag} (make image)")
    return tag


@pytest.fixture(scope="session")
def sif():
    """The image as an Apptainer file."""
    path = Path(os.environ.get("BIDS_QCM_SIF", "build/bids-qcm.sif")).resolve()
    if not shutil.which("apptainer") or not path.exists():
        pytest.skip(f"no Apptainer, or no {path} (make sif)")
    return path


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory, add_phantom):
    """A dataset of two participants that all users can read."""
    folder = tmp_path_factory.mktemp("dataset")
    folder.chmod(0o755)
    for seed, label in enumerate(LABELS):
        add_phantom(folder / "phantoms", label, folder / "made", "--seed", str(seed))
    return folder / "phantoms"


@pytest.fixture(scope="session")
def make_folder(tmp_path_factory):
    """A function that makes a folder that belongs to a user."""

    def make(name, user=USER):
        folder = tmp_path_factory.mktemp(name)
        # allow other users to enter this folder
        for parent in (tmp_path_factory.getbasetemp(), tmp_path_factory.getbasetemp().parent):
            parent.chmod(0o755)
        os.chown(folder, user, user)
        return folder

    return make


@pytest.fixture(scope="session")
def installed_maps(phantoms, tmp_path_factory):
    """The derivative dataset that the locally installed app writes."""
    folder = tmp_path_factory.mktemp("installed")
    command = Path(sys.executable).with_name("bids-qcm")
    run(command, phantoms, folder / "maps", "participant", *OPTIONS, "-w", folder / "work")
    return folder / "maps"
