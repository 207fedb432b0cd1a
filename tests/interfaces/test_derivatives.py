import json
import os

import pytest

from bids_qcm.interfaces.derivatives import WriteDerivative


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "result.txt"
    path.write_bytes(b"content")
    return path


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out" / "sub-01" / "anat" / "sub-01_phi0map.nii.gz"


@pytest.fixture
def write(source, target):
    def write(**inputs):
        return WriteDerivative(in_file=str(source), out_paths={"": str(target)}, **inputs)

    return write


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_the_result_is_written_with_its_sidecar(write, target):
    write(metadata={"Units": "rad", "a": 0}, provenance={"a": 1}).run()
    assert target.read_bytes() == b"content"
    sidecar = target.with_name("sub-01_phi0map.json")
    assert json.loads(sidecar.read_text()) == {"Units": "rad", "a": 1}
    assert set(times(target.parent)) == {target.name, sidecar.name}


def test_a_result_may_have_no_sidecar(write, target):
    write().run()
    assert set(times(target.parent)) == {target.name}


def test_an_unchanged_result_is_not_written_again(write, target):
    write(metadata={"Units": "rad"}).run()
    for path in target.parent.iterdir():
        os.utime(path, ns=(10**9, 10**9))
    before = times(target.parent)
    write(metadata={"Units": "rad"}).run()
    assert times(target.parent) == before


def test_a_changed_result_replaces_the_old_file(write, source, target):
    write().run()
    source.write_bytes(b"CONTENT")
    write().run()
    assert target.read_bytes() == b"CONTENT"
    assert set(times(target.parent)) == {target.name}


def test_a_failure_keeps_the_old_file_and_leaves_no_temporary_file(
    write, source, target, monkeypatch
):
    write().run()
    source.write_bytes(b"CONTENT")

    def half(source, target):
        target.write_bytes(b"CON")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", half)
    with pytest.raises(OSError, match="No space"):
        write().run()
    assert target.read_bytes() == b"content"
    assert set(times(target.parent)) == {target.name}


def test_a_cached_node_writes_a_deleted_result_again(write, target, make_node):
    make_node(write(metadata={})).run()
    for path in list(target.parent.iterdir()):
        path.unlink()
    make_node(write(metadata={})).run()
    assert set(times(target.parent)) == {target.name, "sub-01_phi0map.json"}


def test_outdated_files_are_removed_with_the_old_result(write, source, target):
    old = target.with_name("sub-01_old.nii.gz")
    write().run()
    old.write_bytes(b"of content")
    write(outdated=[str(old)]).run()
    assert old.exists(), "it is still true"
    source.write_bytes(b"CONTENT")
    write(outdated=[str(old)]).run()
    assert not old.exists()
    write(outdated=[str(old)]).run()


def test_only_the_chosen_variant_is_kept(source, tmp_path):
    out = {one: str(tmp_path / f"x_desc-{one}_TB1map.nii.gz") for one in ("measured", "model")}

    def write(variant, in_file):
        inputs = {"in_file": in_file, "variant": variant, "metadata": {"a": variant}}
        WriteDerivative(out_paths=out, **inputs).run()
        return sorted(path.name for path in tmp_path.glob("x_*"))

    given = str(source)
    assert write("measured", given) == [f"x_desc-measured_TB1map.{e}" for e in ("json", "nii.gz")]
    assert json.loads((tmp_path / "x_desc-measured_TB1map.json").read_text()) == {"a": "measured"}
    assert write("model", given) == [f"x_desc-model_TB1map.{e}" for e in ("json", "nii.gz")]
    assert write("none", None) == []
