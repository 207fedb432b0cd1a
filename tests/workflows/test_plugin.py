import pytest
from nipype.interfaces.utility import Function
from nipype.pipeline.engine import Node, Workflow

from bids_qcm.workflows.plugin import SurvivingMultiProcPlugin
from bids_qcm.workflows.running import Monitor


def end_without_a_word(value):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
    return value


def give(value):
    return value


def node(function, name, **inputs):
    interface = Function(function=function, input_names=["value"], output_names=["value"])
    return Node(interface, name=name, **inputs)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("n_procs", [1, 2])
def test_a_killed_worker_fails_its_node_and_not_the_run(tmp_path, n_procs):
    workflow = Workflow(name="wf", base_dir=str(tmp_path))
    killed, behind = node(end_without_a_word, "killed"), node(give, "behind")
    first, second = node(give, "first"), node(give, "second")
    killed.inputs.value = first.inputs.value = 1
    workflow.connect(killed, "value", behind, "value")
    workflow.connect(first, "value", second, "value")
    workflow.config["execution"] = {
        "poll_sleep_duration": "0.05",
        "crashdump_dir": str(tmp_path / "crash"),
        "crashfile_format": "txt",
        "create_report": "false",
    }
    monitor = Monitor(4)
    plugin = SurvivingMultiProcPlugin(
        plugin_args={
            "n_procs": n_procs,
            "mp_context": "forkserver",
            "memory_gb": 4,
            "status_callback": monitor,
        }
    )
    with pytest.raises(RuntimeError, match=r"terminated abruptly|raised"):
        workflow.run(plugin=plugin)
    assert "killed" in monitor.errors
    assert "was it killed" in monitor.errors["killed"]
    assert "behind" not in monitor.finished
    # with two processes, the other branch may have been in the pool that broke
    if n_procs == 1:
        assert monitor.finished == {"first", "second"}
