import json

import pytest

from bids_qcm.bids.anatomy.label_tables import read_table
from bids_qcm.bids.anatomy.transforms import read_transform
from bids_qcm.bids.dataset import check_description
from bids_qcm.bids.errors import DatasetError, InputError
from bids_qcm.bids.files import is_hidden, require_content, visible
from bids_qcm.bids.images import read_grid
from bids_qcm.bids.results import read_sidecar as read_result_sidecar
from bids_qcm.bids.sidecar_schema import Phi0Sidecar
from bids_qcm.bids.sidecars import read_sidecar
from bids_qcm.bids.tables import read_condregions, read_condstats

KEY = "annex/objects/MD5E-s4096--d41d8cd98f00b204e9800998ecf8427e.nii.gz"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def test_hidden_files_and_folders_are_not_visible(tmp_path):
    for name in ("a.nii", "._a.nii", "b/c.nii", "b/.d.nii", ".e/f.nii"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = visible(tmp_path, "**/*.nii")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in found) == ["a.nii", "b/c.nii"]


def test_a_dataset_in_a_hidden_folder_is_visible(tmp_path):
    folder = tmp_path / ".cache" / "dataset"
    folder.mkdir(parents=True)
    (folder / "a.nii").touch()
    assert list(visible(folder, "*")) == [folder / "a.nii"]
    assert not is_hidden(folder / "a.nii", folder)
    assert is_hidden(folder / "a.nii", tmp_path)


def test_content_is_required_of_links(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(InputError, match=r"datalad get .*/link`") as error:
        require_content(link)
    assert error.value.where == link
    target.touch()
    require_content(link)
    # A path that does not exist is reported when the file is read.
    require_content(tmp_path / "gone")


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (f"/{KEY}\n", "datalad get"),
        # A symlink that was checked out on a file system without symlinks.
        (f"../../.git/{KEY}", "datalad get"),
        (LFS, "git lfs pull"),
    ],
)
def test_content_is_required_of_pointers(tmp_path, content, remedy):
    path = tmp_path / "sub-01_T2w.nii.gz"
    path.write_text(content)
    with pytest.raises(InputError, match=f"content that has not been downloaded.*{remedy}"):
        require_content(path)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"Source": "/annex/objects/1"}', b"\x1f\x8b" + bytes(99)]
)
def test_other_small_files_are_not_pointers(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    require_content(path)


def test_a_large_file_is_not_a_pointer(tmp_path):
    path = tmp_path / "file"
    path.write_text(f"/{KEY}\n" + "x" * 32768)
    require_content(path)


@pytest.mark.parametrize("locked", [True, False])
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("sub-01_T2w.nii.gz", read_grid),
        ("aseg.mgz", read_grid),
        ("sub-01_T2w.json", lambda path: read_sidecar(path.with_suffix(".nii.gz"), path.parent)),
        ("sub-01_dseg.tsv", read_table),
        ("sub-01_condstats.tsv", read_condstats),
        ("sub-01_condregions.tsv", read_condregions),
        (
            "sub-01_condmap.json",
            lambda path: read_result_sidecar(path.with_suffix(".nii.gz"), Phi0Sidecar),
        ),
        ("sub-01_from-T1w_to-T2w_mode-image_xfm.txt", read_transform),
        ("sub-01_from-T1w_to-T2w_mode-image_xfm.h5", read_transform),
    ],
)
def test_every_reader_shows_the_download_command(tmp_path, name, read, locked):
    path = tmp_path / name
    if locked:
        path.symlink_to(f".git/{KEY}")
    else:
        path.write_text(f"/{KEY}\n")
    with pytest.raises(InputError, match=f"datalad get .*/{name}`") as error:
        read(path)
    assert error.value.where == path


def test_the_error_for_a_description_that_is_a_pointer_shows_the_download_command(tmp_path):
    path = tmp_path / "dataset_description.json"
    path.write_text(f"/{KEY}\n")
    with pytest.raises(DatasetError, match="datalad get"):
        check_description(tmp_path)
    path.write_text(json.dumps({"Name": "x", "BIDSVersion": "1.9.0"}))
    assert check_description(tmp_path)["Name"] == "x"
