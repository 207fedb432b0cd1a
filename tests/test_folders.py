"""Caches are used only in folders that no other user can write to."""

import os

import pytest

from bids_qcm.folders import make_private

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change owners")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "new" / "cache"


def mode(path):
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("umask", [0, 0o002, 0o022, 0o077, 0o177])
def test_a_new_folder_is_private_for_any_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        assert make_private(tmp_path / "cache") == ""
    finally:
        os.umask(before)
    assert mode(tmp_path / "cache") == 0o700


def test_a_folder_readable_by_others_is_used_unchanged(folder):
    folder.mkdir(parents=True, mode=0o755)
    (folder / "file").touch()
    assert make_private(folder) == ""
    assert mode(folder) == 0o755


@pytest.mark.parametrize("permissions", [0o775, 0o757, 0o1777])
def test_a_folder_writable_by_others_is_refused_unless_it_is_empty(folder, permissions):
    folder.mkdir(parents=True)
    folder.chmod(permissions)
    assert make_private(folder) == ""
    assert mode(folder) == 0o700
    (folder / "planted").touch()
    folder.chmod(permissions)
    assert make_private(folder) == "can be written by other users"


@needs_root
@pytest.mark.parametrize(("number", "name"), [(65534, "nobody"), (54321, "54321")])
def test_a_folder_of_another_user_is_refused(folder, number, name):
    folder.mkdir(parents=True)
    os.chown(folder, number, -1)
    assert make_private(folder) == f"belongs to the user {name}"


def test_a_link_is_refused(folder, tmp_path):
    folder.parent.mkdir()
    folder.symlink_to(tmp_path)
    assert make_private(folder) == "is a link"


def test_a_file_is_refused(folder):
    folder.parent.mkdir()
    folder.touch()
    assert make_private(folder) == "is not a folder"
