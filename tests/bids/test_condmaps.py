import numpy as np
import pytest

from bids_qcm.bids.condmaps import find_maps
from bids_qcm.bids.derivatives import write_dataset_files
from bids_qcm.bids.errors import NoInputError
from bids_qcm.bids.images import save_array
from bids_qcm.recon import METHODS


def test_maps_are_in_the_order_of_the_methods(tmp_path):
    for name in (
        "sub-01/anat/sub-01_desc-other_condmap.nii.gz",
        *(f"sub-01/anat/sub-01_desc-{m.desc}_condmap.nii.gz" for m in METHODS.values()),
        "sub-01/anat/sub-01_condmap.nii",
        "sub-01/ses-a/anat/sub-01_ses-a_acq-b_desc-integral_condmap.nii.gz",
        "sub-01/anat/sub-01_desc-integral_condstd.nii.gz",
        "sub-01/anat/sub-01_desc-truth_condmap.nii.gz",
        "sub-02/anat/sub-02_desc-integral_condmap.nii.gz",
    ):
        save_array(tmp_path / name, np.ones((2, 2, 2)), np.eye(4))
    found = find_maps(tmp_path, "sub-01")
    assert [one.method for one in found] == [*METHODS, "unnamed", "other", "integral"]
    assert {one.source for one in found[:-1]} == {"sub-01"}
    assert found[-1].source == "sub-01_ses-a_acq-b"


def test_a_dataset_without_maps_is_refused(tmp_path):
    with pytest.raises(NoInputError, match=r"sub-01: has no conductivity map .* Remedy: compute"):
        find_maps(tmp_path, "sub-01")


def test_hidden_files_are_not_maps(tmp_path):
    anat = tmp_path / "sub-01/anat"
    for folder, name in ((anat, "._sub-01"), (anat / ".old", "sub-01")):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}_desc-integral_condmap.nii.gz").write_bytes(b"")
    with pytest.raises(NoInputError, match="has no conductivity map"):
        find_maps(tmp_path, "sub-01")


def test_maps_of_this_app_in_other_spaces_are_left_out(tmp_path):
    for name in ("sub-01_desc-integral", "sub-01_space-T1w_desc-integral"):
        path = tmp_path / f"sub-01/anat/{name}_condmap.nii.gz"
        save_array(path, np.ones((2, 2, 2)), np.eye(4))
    assert len(find_maps(tmp_path, "sub-01")) == 2
    write_dataset_files(tmp_path, {"raw": tmp_path})
    assert [one.source for one in find_maps(tmp_path, "sub-01")] == ["sub-01"]
