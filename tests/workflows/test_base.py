from pathlib import Path

import pytest

from bids_qcm.bids.acquisitions import group_acquisitions
from bids_qcm.workflows.base import init_bids_qcm_wf
from bids_qcm.workflows.names import acquisition_wf_name


def wf_names(*names):
    files = [Path(f"/d/{name.format('part-phase')}.nii.gz") for name in names]
    acquisitions = group_acquisitions(files)
    assert len(acquisitions) == len(names)
    return {acquisition_wf_name(acquisition) for acquisition in acquisitions}


def test_acquisitions_are_independent_workflows(settings, datasets, make_plans):
    given = settings(methods=("laplacian",))
    plans = make_plans(given, "sub-01_{}_T1w", "sub-01_{}_T2w", "sub-01_run-1_{}_T2w")
    workflow = init_bids_qcm_wf(plans=plans, settings=given, datasets=datasets)
    assert workflow.base_dir == str(given.work_dir)
    for plan in plans:
        name = acquisition_wf_name(plan.acquisition)
        assert workflow.get_node(f"{name}.reconstruct_laplacian") is not None
    writers = [
        workflow.get_node(name).inputs
        for name in workflow.list_node_names()
        if name.rpartition(".")[2].startswith("write_")
    ]
    paths = []
    for inputs in writers:
        paths += inputs.out_paths.values()
    assert len(set(paths)) == len(paths) == 9 * len(plans)


@pytest.mark.parametrize(
    "names",
    [
        ["sub-01_{}_T1w", "sub-01_{}_T2w", "sub-01_acq-T1w_{}_T2w", "sub-01_acq-T1_{}_T2w"],
        ["sub-01_ses-1_run-1_{}_T1w", "sub-01_ses-1_{}_T1w", "sub-01_run-1_{}_T1w"],
        ["sub-01_acq-a_run-1_{}_T1w", "sub-01_acq-arun1_{}_T1w", "sub-01_acq-a_run-11_{}_T1w"],
        ["sub-1_run-1_{}_T1w", "sub-11_{}_T1w", "sub-11_run-1_{}_T1w"],
    ],
)
def test_names_of_two_acquisitions_differ(names):
    found = wf_names(*names)
    assert len(found) == len(names)
    # nipype takes no other characters, and get_node splits at dots
    assert all(name.isidentifier() for name in found)


@pytest.mark.parametrize(
    "names",
    [
        ["sub-01_acq-a+b_{}_T1w", "sub-01_acq-a-b_{}_T1w"],
        ["sub-01_acq-a+run-1_{}_T1w", "sub-01_acq-a_run-1_{}_T1w"],
    ],
)
def test_names_with_other_characters_differ(names):
    assert len(wf_names(*names)) == len(names)
