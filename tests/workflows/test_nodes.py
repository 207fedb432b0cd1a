"""Cached results are used only if all their files are intact."""

import gzip
import os
import pickle
from itertools import product
from pathlib import Path

import pytest
from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, TraitedSpec

from bids_qcm.bids.errors import OutputError
from bids_qcm.workflows.nodes import Node

CONTENT = "conductivity"


class _OutputSpec(TraitedSpec):
    out_file = File(exists=True)


class _Write(SimpleInterface):
    """Interface that writes a file, and adds a line to a log for each run."""

    input_spec = BaseInterfaceInputSpec
    output_spec = _OutputSpec

    def _run_interface(self, runtime):
        path = Path(runtime.cwd, "out.txt")
        path.write_text(CONTENT)
        with Path(runtime.cwd).with_name("log").open("a") as log:
            log.write("run\n")
        self._results["out_file"] = str(path)
        return runtime


class _Planted:
    """An object whose pickle makes a folder when it is read."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def compute(tmp_path):
    """A function that runs the node, and returns the content of its output."""

    def compute():
        node = Node(_Write(), name="write", base_dir=str(tmp_path))
        node.config = {"execution": {"create_report": "false"}}
        return Path(node.run().outputs.out_file).read_text()

    return compute


@pytest.fixture
def n_runs(tmp_path):
    return lambda: len((tmp_path / "log").read_text().split())


def test_an_intact_result_is_used_again(compute, n_runs):
    assert [compute(), compute(), compute()] == [CONTENT] * 3
    assert n_runs() == 1


def empty(path):
    path.write_bytes(b"")


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def replace_by_a_link(path):
    target = path.parent.with_name("elsewhere")
    path.rename(target)
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        *product(
            ["out.txt", "result_*.pklz", "checksums.json", "_0x*.json"],
            [Path.unlink, empty, flip_a_bit, cut],
        ),
        ("out.txt", replace_by_a_link),
        ("result_*.pklz", replace_by_a_link),
    ],
)
def test_a_damaged_result_is_computed_again(compute, n_runs, tmp_path, pattern, damage):
    compute()
    (path,) = (tmp_path / "write").glob(pattern)
    damage(path)
    assert compute() == CONTENT
    assert n_runs() == 2
    assert compute() == CONTENT
    assert n_runs() == 2


@pytest.mark.parametrize("with_checksums", [False, True])
def test_a_planted_pickle_is_not_read(compute, n_runs, tmp_path, with_checksums):
    compute()
    if not with_checksums:
        (tmp_path / "write" / "checksums.json").unlink()
    planted = pickle.dumps(_Planted(tmp_path / "planted"))
    (tmp_path / "write" / "result_write.pklz").write_bytes(gzip.compress(planted))
    assert compute() == CONTENT
    assert n_runs() == 2
    assert not (tmp_path / "planted").exists()


def test_the_target_of_a_linked_folder_is_not_deleted(compute, tmp_path):
    target = tmp_path / "precious"
    target.mkdir()
    (target / "file").touch()
    (tmp_path / "write").symlink_to(target)
    with pytest.raises(OutputError, match="is a link, or is in a linked folder"):
        compute()
    assert (target / "file").exists()
