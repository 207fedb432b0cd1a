"""The workflow of a whole run."""

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
    """Put the workflows of all acquisitions side by side.

    Parameters
    ----------
    plans : sequence of Plan
        One for each acquisition.
    settings : Settings
        The run's options.
    datasets : mapping of str to Path
        Names of the source datasets, for the sidecars.

    Returns
    -------
    Workflow
        Ready to run, with its base folder in the work directory.
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
    """Name the folder in the work directory.

    Runs on other data or to another output keep apart, and what another version of the app or of
    a library computed is not used again.
    """
    key = f"{software_versions()}\n{settings.bids_dir}\n{settings.output_dir}".encode()
    return f"bids_qcm_{hashlib.sha256(key).hexdigest()[:12]}"


def acquisition_wf_name(acquisition: Acquisition) -> str:
    """Name the workflow of an acquisition; nipype allows letters, digits and underscores.

    Distinct acquisitions get distinct names: a label has letters, digits and ``+`` only.
    """
    return re.sub(r"\W", "_", acquisition.name.replace("+", "__")) + "_wf"
