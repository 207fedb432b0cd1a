import errno

import pytest

from bids_qcm.workflows import claims
from bids_qcm.workflows.claims import claimed


@pytest.fixture
def plans(make_plans, settings):
    return make_plans(settings(), "sub-01_{}_T1w", "sub-01_{}_T2w")


def test_one_run_at_a_time(plans, settings):
    given = settings()
    with claimed(plans[:1], given) as first, claimed(plans, given) as second:
        assert first == plans[:1]
        assert second == plans[1:]
    with claimed(plans, given) as ours:
        assert ours == plans


def test_runs_with_other_work_directories_are_free(plans, settings, tmp_path):
    with (
        claimed(plans, settings()),
        claimed(plans, settings(work_dir=tmp_path / "other")) as ours,
        claimed(plans, settings(output_dir=tmp_path / "other out")) as others,
    ):
        assert ours == others == plans


def test_a_file_system_without_locks(plans, settings, monkeypatch):
    def without(*args):
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(claims, "flock", without)
    with claimed(plans, settings()) as ours:
        assert ours == plans
