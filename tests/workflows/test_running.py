import logging
from types import SimpleNamespace

import pytest
import yaml
from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from bids_qcm.bids.errors import InputError
from bids_qcm.workflows import running
from bids_qcm.workflows.base import init_bids_qcm_wf
from bids_qcm.workflows.progress import Progress
from bids_qcm.workflows.running import Monitor, _plugin, crash_reports, run_workflow


def node(name="one_wf.phi0", traceback=None):
    result = SimpleNamespace(runtime=SimpleNamespace(traceback=traceback))
    return SimpleNamespace(fullname=f"bids_qcm_wf.{name}", result=result)


@pytest.fixture
def monitor():
    return make_monitor(Progress({"one_wf.phi0": 20.0, "one_wf.sign": 20.0}, 40))


def make_monitor(progress):
    """Return the monitor of a workflow in which sign needs the result of phi0."""
    phi0, sign = (Node(IdentityInterface(["value"]), name) for name in ("phi0", "sign"))
    part, workflow = Workflow("one_wf"), Workflow("bids_qcm_wf")
    part.connect(phi0, "value", sign, "value")
    workflow.add_nodes([part])
    return Monitor(progress, workflow)


def test_a_node_that_succeeds_is_logged(monitor, caplog):
    with caplog.at_level(logging.DEBUG, "bids_qcm"):
        monitor(node(), "start")
        assert monitor.finished == set()
        monitor(node(), "end")
    assert monitor.finished == {"one_wf.phi0"}
    assert monitor.errors == {}
    assert caplog.messages == [
        "one_wf.phi0: started",
        "one_wf.phi0: done in 0.0 s; 50 % of the run is done, about 20 s left",
    ]
    # the node should have taken long, but it took little time
    assert [record.levelno for record in caplog.records] == [logging.INFO, logging.DEBUG]


def test_a_display_replaces_the_log_of_nodes(caplog, monkeypatch):
    monkeypatch.setattr(running, "_SHORT", 0)  # also the end of a short step is logged
    progress = Progress({"one_wf.phi0": 20.0}, 20)
    progress.displayed = True
    monitor = make_monitor(progress)
    with caplog.at_level(logging.INFO, "bids_qcm"):
        monitor(node(), "start")
        assert progress.running == ["one_wf.phi0"]
        monitor(node(), "end")
        monitor(node("one_wf.sign"), "start")
        monitor(node("one_wf.sign", traceback="E"), "exception")
    assert progress.running == []
    assert caplog.messages == ["one_wf.sign: FAILED: E"]


def test_steps_that_depend_on_a_failed_step_are_not_waited_for(caplog):
    progress = Progress({"one_wf.phi0": 20.0, "one_wf.sign": 20.0, "two_wf.phi0": 20.0}, 60)
    monitor = make_monitor(progress)
    monitor(node(), "start")
    monitor(node(traceback="E"), "exception")
    assert (progress.fraction, progress.seconds_left) == (0, 20)


def test_a_node_that_ends_without_a_start_is_not_finished(monitor):
    monitor(node(), "end")
    assert monitor.finished == set()
    assert monitor.errors == {}


def test_an_exception_is_recorded_and_logged(monitor, caplog):
    monitor(node(), "start")
    traceback = "Traceback (most recent call last):\n  File x\nValueError: no voxel\n"
    with caplog.at_level(logging.ERROR, "bids_qcm"):
        monitor(node(traceback=traceback), "exception")
    assert monitor.errors == {"one_wf.phi0": "ValueError: no voxel"}
    assert caplog.messages == ["one_wf.phi0: FAILED: ValueError: no voxel"]


@pytest.mark.parametrize("statuses", [["start", "exception", "end"], ["start", "end", "exception"]])
def test_an_end_does_not_hide_an_exception(monitor, statuses):
    for status in statuses:
        monitor(node(traceback="E"), status)
    assert monitor.finished == set()
    assert monitor.errors == {"one_wf.phi0": "E"}


@pytest.mark.parametrize(
    "result",
    [None, SimpleNamespace(runtime=None), node(traceback="").result, node(traceback=None).result],
)
def test_a_worker_that_died_without_an_error_message_is_reported(monitor, result):
    dead = SimpleNamespace(fullname="bids_qcm_wf.one_wf.phi0", result=result)
    monitor(dead, "exception")
    assert "killed for lack of memory" in monitor.errors["one_wf.phi0"]


def test_a_node_may_start_again(monitor):
    for status in ("start", "start", "end"):
        monitor(node(), status)
    assert monitor.finished == {"one_wf.phi0"}


@pytest.fixture
def linear(tmp_path):
    """Plugin file that runs all nodes in this process."""
    path = tmp_path / "plugin.yml"
    path.write_text(yaml.safe_dump({"plugin": "Linear"}))
    return path


@pytest.fixture
def run(settings, datasets, make_plans, linear):
    def run(break_it=None, **options):
        given = settings(
            methods=("laplacian",), fit_radius=(3, 3, 3), sign="+", plugin_file=linear, **options
        )
        plans = make_plans(given, "sub-01_{}_T1w", "sub-01_{}_T2w")
        if break_it:
            break_it(plans[0])
        workflow = init_bids_qcm_wf(plans=plans, settings=given, datasets=datasets)
        return run_workflow(workflow, given, Progress({}, 0)), len(workflow.list_node_names())

    return run


def test_a_run_is_monitored_to_its_end(run, tmp_path):
    monitor, n_nodes = run()
    assert len(monitor.finished) == n_nodes
    assert monitor.errors == {}
    assert len(list((tmp_path / "out" / "sub-01" / "anat").glob("*_condmap.nii.gz"))) == 2


def test_a_second_run_has_the_same_result(run):
    first, _ = run()
    second, _ = run()
    assert second.finished == first.finished


def test_a_failure_does_not_stop_the_other_acquisitions(run, tmp_path):
    def zero(plan):
        plan.echoes[0].files[1].write_bytes(b"")

    monitor, _ = run(zero)
    assert set(monitor.errors) == {"sub_01_T1w_wf.check_images"}
    assert "part-phase_T1w.nii.gz" in monitor.errors["sub_01_T1w_wf.check_images"]
    assert "sub_01_T2w_wf.write_laplacian" in monitor.finished
    assert not any(name.startswith("sub_01_T1w_wf.write") for name in monitor.finished)
    maps = (tmp_path / "out" / "sub-01" / "anat").glob("*_condmap.nii.gz")
    assert [path.name for path in maps] == ["sub-01_acq-T2w_desc-laplacian_condmap.nii.gz"]


def test_an_error_outside_the_nodes_is_not_swallowed(settings, datasets, make_plans, tmp_path):
    path = tmp_path / "plugin.yml"
    path.write_text(yaml.safe_dump({"plugin": "NoSuchPlugin"}))
    given = settings(methods=("laplacian",), plugin_file=path)
    workflow = init_bids_qcm_wf(plans=make_plans(given), settings=given, datasets=datasets)
    with pytest.raises(Exception, match="NoSuchPlugin"):
        run_workflow(workflow, given, Progress({}, 0))


def test_the_newest_crash_report_of_each_node_is_found(tmp_path):
    for name, node_name in (
        ("crash-20260101-000000-me-phi0-a.txt", "bids_qcm_wf.one_wf.phi0"),
        ("crash-20260102-000000-me-phi0-b.txt", "bids_qcm_wf.one_wf.phi0"),
        ("crash-20260101-000000-me-sign-c.txt", "bids_qcm_wf.two_wf.sign"),
    ):
        (tmp_path / name).write_text(f"Node: {node_name}\nWorking directory: /w\n")
    (tmp_path / "crash-of-something-else.txt").write_text("")
    found = {node_name: path.name[-5] for node_name, path in crash_reports(tmp_path).items()}
    assert found == {"one_wf.phi0": "b", "two_wf.sign": "c"}
    assert crash_reports(tmp_path / "gone") == {}


def test_the_duration_of_a_node_is_recorded(monitor):
    monitor(node(), "start")
    monitor(node(), "end")
    assert 0 <= monitor.seconds["one_wf.phi0"] < 10


@pytest.mark.parametrize("name", ["SLURMGraph", "SGEGraph", "PBSGraph", "CondorDAGMan", "SomaFlow"])
def test_plugins_that_do_not_wait_are_refused(settings, datasets, make_plans, tmp_path, name):
    path = tmp_path / "plugin.yml"
    path.write_text(yaml.safe_dump({"plugin": name}))
    given = settings(methods=("laplacian",), plugin_file=path)
    workflow = init_bids_qcm_wf(plans=make_plans(given), settings=given, datasets=datasets)
    with pytest.raises(InputError, match=f"{name}.*use SLURM"):
        run_workflow(workflow, given, Progress({}, 0))


@pytest.mark.parametrize(
    "content",
    [
        "plugin: [MultiProc]",
        "plugin: {a: 1}",
        "plugin: 3",
        "plugin_args: {}",
        "plugin: MultiProc\nplugin_args: [1]",
        "plugin: MultiProc\nplugin_args: {n_procs: four}",
        "plugin: MultiProc\nplugin_args: {n_procs: 0}",
        "plugin: MultiProc\nplugin_args: {memory_gb: [1]}",
        "plugin: MultiProc\nplugin_args: {mp_context: nothing}",
        "plugin: SLURM\nplugin_args: {sbatch_args: [--mem, 4]}",
        "[" * 2000,
        "a: b: c",
    ],
)
def test_the_error_for_an_invalid_plugin_file_names_the_file(settings, tmp_path, content):
    path = tmp_path / "plugin.yml"
    path.write_text(content)
    with pytest.raises(InputError, match=r"plugin\.yml: "):
        _plugin(settings(plugin_file=path), Monitor(Progress({}, 0), Workflow("wf")))


def test_the_file_name_of_a_crash_report_has_no_login(tmp_path):
    path = tmp_path / "crash-20260101-000000-ann-lee-phi0-1a-2b.txt"
    path.write_text("Node: bids_qcm_wf.one_wf.phi0\n")
    expected = tmp_path / "crash-20260101-000000-phi0-1a-2b.txt"
    assert crash_reports(tmp_path) == crash_reports(tmp_path) == {"one_wf.phi0": expected}
    assert list(tmp_path.iterdir()) == [expected]
