import gzip
import json
import os

import numpy as np
import pytest

from bids_qcm import __version__
from bids_qcm.bids.derivatives import (
    bids_uri,
    copy_atomically,
    refuse_links,
    save_with_sidecar,
    write_dataset_files,
    write_json,
    write_text,
)
from bids_qcm.bids.errors import InputError, OutputError
from bids_qcm.bids.images import read_values, save_array


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "result.txt"
    path.write_bytes(b"new")
    return path


def test_a_uri_refers_to_the_innermost_dataset(tmp_path):
    nested = tmp_path / "derivatives" / "seg"
    datasets = {"raw": tmp_path, "seg": nested}
    assert bids_uri(nested / "sub-01/x.nii", datasets) == "bids:seg:sub-01/x.nii"
    assert bids_uri(tmp_path / "sub-01/x.nii", datasets) == "bids:raw:sub-01/x.nii"


def test_the_files_of_the_dataset_are_written(tmp_path):
    output = tmp_path / "a" / "out"
    write_dataset_files(output, {"raw": tmp_path / "my data", "seg": tmp_path / "seg"})
    description = json.loads((output / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"] == [{"Name": "bids_qcm", "Version": __version__}]
    # values are URIs
    assert description["DatasetLinks"] == {"raw": "../../my%20data", "seg": "../../seg"}
    assert description["SourceDatasets"] == [{"URL": "../../my%20data"}, {"URL": "../../seg"}]
    ignored = (output / ".bidsignore").read_text().splitlines()
    assert {"*_condmap.*", "*_phi0map.*", "*_part-mag_desc-preproc_*", "figures"} <= set(ignored)
    assert not any("mask" in pattern or "dseg" in pattern for pattern in ignored)


def test_the_description_names_the_container(tmp_path, monkeypatch):
    monkeypatch.setenv("BIDS_QCM_CONTAINER_TAG", "bids-qcm:1.0")
    write_dataset_files(tmp_path, {"raw": tmp_path})
    description = json.loads((tmp_path / "dataset_description.json").read_text())
    assert description["GeneratedBy"][0]["Container"]["Tag"] == "bids-qcm:1.0"


def test_an_output_inside_the_dataset_links_to_the_dataset(dataset):
    output = dataset.root / "derivatives" / "bids_qcm"
    write_dataset_files(output, {"raw": dataset.root})
    description = json.loads((output / "dataset_description.json").read_text())
    assert description["DatasetLinks"] == {"raw": "../.."}


def test_a_result_is_written_with_its_sidecar(tmp_path, source):
    path = tmp_path / "out" / "sub-01" / "sub-01_desc-x_condmap.nii.gz"
    copy_atomically(source, path, {"Units": "S/m"})
    assert path.read_bytes() == b"new"
    assert json.loads(path.with_name("sub-01_desc-x_condmap.json").read_text()) == {"Units": "S/m"}
    assert len(list(path.parent.iterdir())) == 2


def test_an_interruption_never_leaves_an_old_image_with_a_new_sidecar(tmp_path, monkeypatch):
    path = tmp_path / "new" / "a.nii.gz"
    save_with_sidecar(path, np.ones((2, 3, 4), np.float32), np.eye(4), {"A": 1})
    assert read_values(path).shape == (2, 3, 4)

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("bids_qcm.bids.derivatives.save_array", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_with_sidecar(path, np.zeros((2, 3, 4), np.float32), np.eye(4), {"A": 2})
    assert not path.exists()
    assert json.loads(path.with_name("a.json").read_text()) == {"A": 2}


def test_a_result_may_have_no_sidecar(tmp_path, source):
    path = tmp_path / "out" / "x.tsv"
    copy_atomically(source, path)
    assert [p.name for p in path.parent.iterdir()] == ["x.tsv"]


def test_an_unchanged_file_is_not_rewritten(tmp_path, source, snapshot):
    path = tmp_path / "out" / "x.nii.gz"
    copy_atomically(source, path, {"a": 1})
    for written in path.parent.iterdir():
        os.utime(written, ns=(10**9, 10**9))
    before = snapshot(path.parent)
    copy_atomically(source, path, {"a": 1})
    assert snapshot(path.parent) == before


def test_a_changed_file_is_replaced(tmp_path, source):
    path = tmp_path / "out" / "x.nii.gz"
    copy_atomically(source, path, {"a": 1})
    # A shallow comparison would see the same size and modification time.
    path.write_bytes(b"old")
    status = source.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    copy_atomically(source, path, {"a": 2})
    assert path.read_bytes() == b"new"
    assert json.loads(path.with_name("x.json").read_text()) == {"a": 2}


def test_a_symlink_is_replaced_and_its_target_is_unchanged(tmp_path, source):
    path, target = tmp_path / "x.nii.gz", tmp_path / "annexed"
    target.write_bytes(b"old")
    path.symlink_to(target)
    copy_atomically(source, path)
    assert target.read_bytes() == b"old"
    assert not path.is_symlink()
    assert path.read_bytes() == b"new"


def test_a_failed_copy_leaves_the_old_file(tmp_path, monkeypatch, source):
    path = tmp_path / "out" / "x.nii.gz"
    path.parent.mkdir()
    path.write_bytes(b"old")

    def half(source, target):
        target.write_bytes(b"ne")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", half)
    with pytest.raises(OSError, match="No space"):
        copy_atomically(source, path)
    assert [p.name for p in path.parent.iterdir()] == ["x.nii.gz"]
    assert path.read_bytes() == b"old"


def test_text_is_utf8_and_json_ends_with_a_newline(tmp_path):
    write_text(tmp_path / "a" / "x.txt", "é\n")
    assert (tmp_path / "a" / "x.txt").read_bytes() == "é\n".encode()
    write_json(tmp_path / "x.json", {"a": [1, None]})
    text = (tmp_path / "x.json").read_text()
    assert text.endswith("}\n")
    assert json.loads(text) == {"a": [1, None]}


@pytest.mark.parametrize("name", ["sub-01", "sub-01/ses-1", "sub-01/ses-1/anat", "logs"])
def test_a_link_to_a_folder_outside_the_dataset_is_refused(tmp_path, name):
    output, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    refuse_links(output)  # does not exist yet
    link = output / name
    link.parent.mkdir(parents=True)
    (output / "code").symlink_to(elsewhere)  # nothing is written to this folder
    link.symlink_to(output)
    refuse_links(output)
    link.unlink()
    link.symlink_to(elsewhere)
    with pytest.raises(OutputError, match=r"is a link to .*, which is outside the output folder"):
        refuse_links(output)


@pytest.mark.parametrize("name", ["result.nii.gz", "result.tsv"])
def test_a_damaged_result_is_not_copied(tmp_path, name):
    source, path = tmp_path / name, tmp_path / "out" / name
    if name.endswith(".tsv"):
        source.write_text("label\n1\n")
    else:
        values = np.random.default_rng(0).normal(size=(5, 5, 5)).astype(np.float32)
        save_array(source, values, np.eye(4))
    whole = source.read_bytes()
    copy_atomically(source, path)
    assert path.read_bytes() == whole
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 128
    shorter = gzip.compress(gzip.decompress(whole)[:-4]) if name.endswith(".gz") else b""
    for damaged in (b"", bytes(flipped), whole[: -1 if name.endswith(".gz") else -9], shorter):
        source.write_bytes(damaged)
        with pytest.raises(InputError, match=f"{name}: is damaged.*run the same command again"):
            copy_atomically(source, path)
        assert path.read_bytes() == whole
