import os

import pytest

from bids_qcm.workflows.machine import _cgroup_limits, available_cores, available_memory_gb


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"memory.max": "8000000000\n"}, [8000000000]),
        ("0::/\n", {"memory.max": "max\n"}, []),
        ("0::/job/step\n", {"job/memory.max": "5\n", "job/step/memory.max": "7\n"}, [7, 5]),
        ("0::/of/the/host\n", {"memory.max": "6\n"}, [6]),
        ("4:memory:/job\n", {"memory/job/memory.limit_in_bytes": "9\n"}, [9]),
        ("4:cpu:/job\n", {"cpu/job/memory.limit_in_bytes": "9\n"}, []),
    ],
)
def test_limits_of_control_groups_are_read(tmp_path, own, files, expected):
    root = tmp_path / "cgroup"
    write(root, files)
    (tmp_path / "own").write_text(own)
    assert list(_cgroup_limits(root, tmp_path / "own")) == expected


def test_a_system_without_control_groups_has_no_limits(tmp_path):
    assert list(_cgroup_limits(tmp_path, tmp_path / "none")) == []


def test_this_machine_has_cores_and_memory():
    assert 1 <= available_cores() <= os.cpu_count()
    assert 0.1 < available_memory_gb() < 1e5
