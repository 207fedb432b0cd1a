"""Names of folders, workflows and steps in the work directory."""

import hashlib
import re

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.provenance import software_versions
from bids_qcm.settings import Settings


def run_name(settings: Settings) -> str:
    """Return the name of the run's folder in the work directory.

    The name depends on the dataset, the output folder and the versions of the app and its
    libraries. Therefore, runs that differ in data, output or version use different folders, and no
    run uses cached results of another version.
    """
    key = f"{software_versions()}\n{settings.bids_dir}\n{settings.output_dir}".encode()
    return f"bids_qcm_{hashlib.sha256(key).hexdigest()[:12]}"


def acquisition_wf_name(acquisition: Acquisition) -> str:
    """Return the name of an acquisition's workflow.

    nipype allows only letters, digits and underscores. Different acquisitions get different names,
    because BIDS labels contain only letters, digits and ``+``.
    """
    return re.sub(r"\W", "_", acquisition.name.replace("+", "__")) + "_wf"


def step_name(step: str, method: str | None) -> str:
    """Return the name of a step of a method, or of a step that all methods share."""
    return step if method is None else f"{step}_{method.replace('-', '_')}"


def resample_step_name(method: str | None, space: str) -> str:
    """Return the name of the step that resamples the maps of a method, or labels, to a space."""
    return f"{step_name('resample', method)}_{space}"
