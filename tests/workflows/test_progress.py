import pytest

from bids_qcm.workflows import progress as module
from bids_qcm.workflows.duration import run_seconds
from bids_qcm.workflows.progress import Progress, run_progress, skip_acquisitions


@pytest.fixture
def clock(monkeypatch):
    """Return a function that advances the time by some seconds."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def advance(seconds):
        now[0] += seconds

    return advance


@pytest.fixture
def progress(clock):
    return Progress({"a": 10.0, "b": 30.0}, 40)


def test_a_new_run_has_no_progress(progress):
    assert (progress.running, progress.fraction, progress.seconds_left) == ([], 0, 40)


def test_a_running_step_counts_at_most_as_its_estimate(progress, clock):
    progress.start("a")
    clock(5)
    assert progress.running == ["a"]
    assert progress.fraction == 5 / 40
    clock(100)
    assert progress.fraction == 10 / 40


def test_the_time_left_follows_the_speed_of_the_machine(progress, clock):
    progress.start("a")
    clock(20)
    assert progress.end("a") == 20
    # this machine takes twice as long as estimated, and a tenth of the run counts as measured
    assert (progress.fraction, progress.seconds_left) == (0.25, pytest.approx(30 * 24 / 14))
    progress.start("b")
    clock(60)
    progress.end("b")
    assert (progress.fraction, progress.seconds_left) == (1, 0)


def test_reused_results_do_not_affect_the_estimated_speed(progress, clock):
    progress.start("b")
    clock(0.1)
    progress.end("b")
    assert (progress.fraction, progress.seconds_left) == (0.75, 10)


def test_a_step_without_an_estimate_does_not_change_the_progress(progress):
    progress.start("other")
    assert progress.end("other") == 0
    assert progress.fraction == 0


def test_a_run_without_steps_is_complete():
    progress = Progress({}, 0)
    progress.start("reports")
    assert (progress.fraction, progress.seconds_left) == (1, 0)


def test_skipped_steps_do_not_count(progress, clock):
    progress.start("a")
    clock(2)
    # the end of a failed step says nothing about the speed
    progress.skip(["a"])
    assert (progress.running, progress.fraction, progress.seconds_left) == ([], 0, 30)
    progress.start("b")
    clock(30)
    progress.end("b")
    progress.skip(["a", "b"])
    assert (progress.fraction, progress.seconds_left) == (1, 0)


def test_the_progress_of_a_run_contains_the_steps_of_its_plans(settings, make_plans):
    given = settings(methods=("laplacian",))
    plans = make_plans(given, "sub-01_{}_T1w", "sub-01_{}_T2w")
    progress = run_progress(plans, given)
    assert progress.seconds_left == pytest.approx(run_seconds(plans, given))
    for plan in ("sub_01_T1w_wf", "sub_01_T2w_wf"):
        assert progress.estimate(f"{plan}.reconstruct_laplacian") > 0
    skip_acquisitions(progress, plans, given)
    assert 0 < progress.seconds_left < 10  # the reports remain
