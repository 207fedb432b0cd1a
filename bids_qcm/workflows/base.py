"""Workflow of a whole run."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from nipype.pipeline.engine import Workflow

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.planning import Plan
from bids_qcm.bids.provenance import software_versions
from bids_qcm.settings import Settings
from bids_qcm.workflows.acquisition import init_acquisition_wf
from bids_qcm.workflows.configuration import execution_options


def init_bids_qcm_wf(
    *, plans: Sequence[Plan], settings: Settings, datasets: Mapping[str, Path]
) -> Workflow:
    """Build one workflow with the workflows of all acquisitions as independent parts.

    Parameters
    ----------
    plans : sequence of Plan
        One plan for each acquisition.
    settings : Settings
        Options of the run.
    datasets : mapping of str to Path
        Source datasets by name, for the ``Sources`` in the sidecars.

    Returns
    -------
    Workflow
        A workflow that is ready to run in the work directory.
    """
    workflow = Workflow(name=run_name(settings), base_dir=str(settings.work_dir))
    workflow.config["execution"] = execution_options(settings)
    workflow.add_nodes(
        [
            init_acquisition_wf(
                plan=plan,
                settings=settings,
                datasets=datasets,
                name=acquisition_wf_name(plan.acquisition),
            )
            for plan in plans
        ]
    )
    return workflow


def run_name(settings: Settings) -> str:
    """Return the name of the run's folder in the work directory.

    The name depends on the dataset, the output folder and the versions of the app and its
    libraries. Runs with different data, output folders or versions therefore use different folders,
    and no run uses cached results of another version.
    """
    key = f"{software_versions()}\n{settings.bids_dir}\n{settings.output_dir}".encode()
    return f"bids_qcm_{hashlib.sha256(key).hexdigest()[:12]}"


def acquisition_wf_name(acquisition: Acquisition) -> str:
    """Return the name of an acquisition's workflow.

    nipype allows only letters, digits and underscores. Different acquisitions get different names,
    because BIDS labels contain only letters, digits and ``+``.
    """
    return re.sub(r"\W", "_", acquisition.name.replace("+", "__")) + "_wf"
