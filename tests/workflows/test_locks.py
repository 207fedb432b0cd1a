import errno
import os

import pytest

from bids_qcm.bids.errors import OutputError
from bids_qcm.workflows import locks
from bids_qcm.workflows.locks import lock_acquisitions
from tests.commands import wait_until


@pytest.fixture
def plans(make_plans, settings):
    return make_plans(settings(), "sub-01_{}_T1w", "sub-01_{}_T2w")


def test_only_one_run_at_a_time_locks_an_acquisition(plans, settings):
    given = settings()
    with lock_acquisitions(plans[:1], given) as first, lock_acquisitions(plans, given) as second:
        assert first == plans[:1]
        assert second == plans[1:]
    with lock_acquisitions(plans, given) as ours:
        assert ours == plans


def test_runs_with_different_work_directories_do_not_lock_each_other(plans, settings, tmp_path):
    with (
        lock_acquisitions(plans, settings()),
        lock_acquisitions(plans, settings(work_dir=tmp_path / "other")) as ours,
        lock_acquisitions(plans, settings(output_dir=tmp_path / "other out")) as others,
    ):
        assert ours == others == plans


@pytest.fixture
def no_locks(monkeypatch):
    """A file system without locks."""

    def flock(*args):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    locks._has_locks.cache_clear()
    monkeypatch.setattr(locks, "flock", flock)
    yield
    locks._has_locks.cache_clear()


def lock_files(folder):
    return sorted(folder.rglob("*.lock"))


@pytest.mark.usefixtures("no_locks")
def test_lock_files_replace_missing_locks_of_the_file_system(plans, settings, tmp_path, caplog):
    given = settings()
    with lock_acquisitions(plans[:1], given) as first, lock_acquisitions(plans, given) as second:
        assert first == plans[:1]
        assert second == plans[1:]
    assert lock_files(given.work_dir) == []
    with lock_acquisitions(plans, given) as ours:
        assert ours == plans
    assert (
        caplog.text.count("the file system does not support locks (Operation not supported)") == 1
    )


@pytest.mark.usefixtures("no_locks")
def test_a_lock_file_is_renewed_and_an_old_lock_file_is_ignored(plans, settings, monkeypatch):
    monkeypatch.setattr(locks, "_RENEWAL_INTERVAL", 0.01)
    given = settings()
    with lock_acquisitions(plans[:1], given):
        (path,) = lock_files(given.work_dir)
        os.utime(path, (0, 0))
        assert wait_until(lambda: path.stat().st_mtime > 0)
        with lock_acquisitions(plans[:1], given) as others:
            assert others == []
    path.touch()
    with lock_acquisitions(plans[:1], given) as ours:
        assert ours == []
    os.utime(path, (0, 0))
    with lock_acquisitions(plans[:1], given) as ours:
        assert ours == plans[:1]


def test_a_lock_that_is_a_link_does_not_touch_its_target(plans, settings, tmp_path):
    given = settings()
    with lock_acquisitions(plans[:1], given):
        (path,) = lock_files(given.work_dir)
    target = tmp_path / "precious"
    target.write_text("content")
    path.unlink()
    path.symlink_to(target)
    with pytest.raises(OutputError, match="is a link"), lock_acquisitions(plans, given):
        pass
    assert target.read_text() == "content"


def test_a_run_folder_writable_by_other_users_is_refused(plans, settings):
    given = settings()
    with lock_acquisitions(plans, given):
        (folder,) = given.work_dir.iterdir()
    folder.chmod(0o770)
    with (
        pytest.raises(OutputError, match="can be written by other users"),
        lock_acquisitions(plans, given),
    ):
        pass
