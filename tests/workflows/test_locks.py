import errno

import pytest

from bids_qcm.workflows import locks
from bids_qcm.workflows.locks import lock_acquisitions


@pytest.fixture
def plans(make_plans, settings):
    return make_plans(settings(), "sub-01_{}_T1w", "sub-01_{}_T2w")


def test_one_run_at_a_time(plans, settings):
    given = settings()
    with lock_acquisitions(plans[:1], given) as first, lock_acquisitions(plans, given) as second:
        assert first == plans[:1]
        assert second == plans[1:]
    with lock_acquisitions(plans, given) as ours:
        assert ours == plans


def test_runs_with_other_work_directories_are_free(plans, settings, tmp_path):
    with (
        lock_acquisitions(plans, settings()),
        lock_acquisitions(plans, settings(work_dir=tmp_path / "other")) as ours,
        lock_acquisitions(plans, settings(output_dir=tmp_path / "other out")) as others,
    ):
        assert ours == others == plans


def test_a_file_system_without_locks(plans, settings, monkeypatch):
    def without(*args):
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(locks, "flock", without)
    with lock_acquisitions(plans, settings()) as ours:
        assert ours == plans
