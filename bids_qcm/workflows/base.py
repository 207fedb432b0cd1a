"""Workflow of a whole run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from nipype.pipeline.engine import Workflow

from bids_qcm.bids.planning import Plan
from bids_qcm.settings import Settings
from bids_qcm.workflows.acquisition import init_acquisition_wf
from bids_qcm.workflows.configuration import execution_options
from bids_qcm.workflows.names import acquisition_wf_name, run_name


def init_bids_qcm_wf(
    *, plans: Sequence[Plan], settings: Settings, datasets: Mapping[str, Path]
) -> Workflow:
    """Build one workflow that contains an independent workflow for each acquisition.

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
