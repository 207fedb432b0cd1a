"""The plugin with mock Slurm commands. The tests in tests/deployment use a real Slurm."""

import os

import pytest
from nipype.interfaces.utility import Function
from nipype.pipeline.engine import Node, Workflow

from bids_qcm.workflows.slurm import ResourceSLURMPlugin, SubmissionError


def give(value):
    return value


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder in which mock Slurm commands record their arguments."""
    commands = {
        "sbatch": 'for script; do :; done; bash "$script" >&2; echo "7;cluster"',
        "squeue": ":",
        "scancel": ":",
    }
    for name, body in commands.items():
        path = tmp_path / name
        path.write_text(f'#!/bin/bash\necho "$*" >> "$(dirname "$0")/{name}.log"\n{body}\n')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("LOGNAME", "ada")
    return tmp_path


@pytest.fixture
def workflow(tmp_path):
    interface = Function(function=give, input_names=["value"], output_names=["value"])
    node = Node(interface, name="node", n_procs=3, mem_gb=2)
    node.inputs.value = 1
    workflow = Workflow(name="wf", base_dir=str(tmp_path / "my work"))
    workflow.add_nodes([node])
    workflow.config["execution"] = {"poll_sleep_duration": "0.05", "create_report": "false"}
    return workflow


def test_jobs_request_node_resources_and_user_arguments_have_priority(slurm, workflow):
    workflow.run(plugin=ResourceSLURMPlugin(plugin_args={"sbatch_args": "--mem=9G -p long"}))
    asked = (slurm / "sbatch.log").read_text()
    assert "--job-name=wf.node" in asked
    assert "--cpus-per-task=3 --mem=3000M --mem=9G -p long /" in asked
    assert not (slurm / "scancel.log").exists()


def test_no_job_remains_after_the_run(slurm, workflow, monkeypatch):
    def interrupt(plugin, taskid):
        raise KeyboardInterrupt

    monkeypatch.setattr(ResourceSLURMPlugin, "_is_pending", interrupt)
    with pytest.raises(KeyboardInterrupt):
        workflow.run(plugin=ResourceSLURMPlugin(plugin_args={}))
    assert (slurm / "scancel.log").read_text() == "7\n"


@pytest.mark.parametrize("refusals", [1, 2])
def test_a_repeated_rejection_is_an_error(slurm, workflow, refusals):
    sbatch = slurm / "sbatch"
    count = f'if [ $(wc -l < {slurm}/sbatch.log) -le {refusals} ]; then echo "no" >&2; exit 1; fi'
    lines = sbatch.read_text().splitlines()
    sbatch.write_text("\n".join([*lines[:2], count, *lines[2:]]))
    plugin = ResourceSLURMPlugin(plugin_args={"max_tries": 2, "retry_timeout": 0})
    if refusals == 1:
        workflow.run(plugin=plugin)
    else:
        with pytest.raises(SubmissionError, match="no"):
            workflow.run(plugin=plugin)
