"""The plan as users see it."""

import re

import numpy as np
import pytest
from nibabel.affines import from_matvec

from bids_qcm.bids.acquisitions import group_acquisitions
from bids_qcm.bids.anatomy.datasets import SearchedDatasets
from bids_qcm.bids.images import save_array
from bids_qcm.cli.plan_table import _letters, plan_table
from bids_qcm.cli.run import main
from bids_qcm.recon.methods import PUBLISHED
from bids_qcm.settings import Settings
from bids_qcm.workflows.preflight import Preflight
from tests.synthetic import write_subjects


@pytest.fixture
def settings(tmp_path):
    def settings(**options):
        return Settings(
            **{
                "bids_dir": tmp_path / "raw",
                "output_dir": tmp_path / "out",
                "work_dir": tmp_path / "work",
                **options,
            }
        )

    return settings


@pytest.fixture
def table(tmp_path, settings):
    """Return the lines of the plan for a dataset."""

    def table(**options):
        given = settings(**options)
        files = (tmp_path / "raw").glob("sub-*/anat/*_part-*.nii.gz")
        acquisitions = group_acquisitions(files)
        datasets = {"seg": tmp_path / "raw/derivatives/seg"}
        results = Preflight(given, SearchedDatasets.of(given, datasets)).outline(acquisitions)
        return plan_table(results, given).splitlines()

    return table


def test_the_plan_has_a_row_for_each_acquisition(tmp_path, table):
    write_subjects(tmp_path / "raw", 2)
    lines = table(methods=("laplacian", "integral"), nprocs=3, memory_gb=1.5)
    header, first, second, *inputs, total = lines
    assert header.split() == [
        *("acquisition", "echoes", "voxels", "size", "(mm)", "MHz", "GB", "inputs", "time"),
    ]
    for row, name in ((first, "sub-0000"), (second, "sub-0001")):
        assert re.fullmatch(rf"{name}_MEGRE +3 +8x9x7 +1x1x1 +127\.740 +0\.\d +a +\d+ s *", row)
    assert inputs == [
        "",
        "inputs a:",
        "  mask         seg/*_desc-brain_mask.nii.gz",
        "  segmentation seg/*_dseg.nii.gz",
        "  |B1+|        none",
        "  methods      laplacian integral",
        "",
    ]
    assert total.startswith("2 of 2 acquisition(s) to compute: about ")
    assert re.search(
        r" in 3 thread\(s\) \(\d+ s of processor time\), within 1\.5 GB of memory$", total
    )


def test_each_combination_of_inputs_has_a_letter(tmp_path, table):
    raw = write_subjects(tmp_path / "raw", 3)
    (raw / "derivatives/seg/sub-0001/anat/sub-0001_dseg.nii.gz").unlink()
    lines = table(methods=("laplacian",))
    assert [line.split()[-3] for line in lines[1:4]] == ["a", "b", "a"]
    assert [line for line in lines if line.startswith("inputs")] == ["inputs a:", "inputs b:"]
    assert "  segmentation none" in lines


def test_ten_methods_fit_100_columns(tmp_path, table):
    write_subjects(tmp_path / "raw", 1)
    assert max(map(len, table(methods=PUBLISHED))) <= 100


@pytest.mark.parametrize(("number", "letters"), [(0, "a"), (25, "z"), (26, "aa"), (53, "bb")])
def test_letters_continue_after_z(number, letters):
    assert _letters(number) == letters


def test_the_plan_lists_the_reasons_for_skipped_acquisitions(tmp_path, table):
    raw = write_subjects(tmp_path / "raw", 3)
    (raw / "sub-0000/anat/sub-0000_echo-2_part-mag_MEGRE.nii.gz").unlink()
    (raw / "derivatives/seg/sub-0001/anat/sub-0001_dseg.nii.gz").unlink()
    lines = table(methods=("laplacian", "integral-seg"))
    skipped = [line for line in lines if line.startswith("skipped: ")]
    assert len(skipped) == 2
    assert "sub-0000_MEGRE: " in skipped[0]
    assert "has part-phase, but there is no matching part-mag image" in skipped[0]
    assert "sub-0001_MEGRE: integral-seg needs a segmentation" in skipped[1]
    assert lines[-1].startswith("2 of 3 acquisition(s)")


def test_a_plan_may_contain_only_skipped_acquisitions(tmp_path, table):
    write_subjects(tmp_path / "raw", 1)
    _, skipped, total = table(memory_gb=0.01)
    assert skipped.startswith("skipped: sub-0000_MEGRE: ")
    assert "needs about" in skipped
    assert total.startswith("0 of 1 acquisition(s) to compute: about 0 s")


@pytest.mark.parametrize(("broken", "status"), [(False, 0), (True, 1)])
def test_a_dry_run_writes_nothing(tmp_path, monkeypatch, capsys, broken, status):
    raw = write_subjects(tmp_path / "raw", 2)
    if broken:
        (raw / "sub-0001/anat/sub-0001_echo-1_part-phase_MEGRE.json").write_text("{")
    monkeypatch.chdir(tmp_path)
    assert main(["raw", "out", "participant", "--dry-run", "--method", "laplacian"]) == status
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
    said, log = capsys.readouterr()
    assert "sub-0000_MEGRE" in said.splitlines()[1]
    assert ("skipped: sub-0001_MEGRE" in said) == broken
    assert "complete" not in log


def test_spaces_are_shown_if_they_are_requested(tmp_path, table):
    write_subjects(tmp_path / "raw", 1)
    affine = from_matvec(np.eye(3), [1, 2, 3])
    save_array(tmp_path / "raw/sub-0000/anat/sub-0000_T1w.nii.gz", np.eye(4)[:3, :, None], affine)
    lines = table(output_spaces=("acq", "T1w", "nowhere"))
    assert "  spaces       acq T1w" in lines
    assert any("skipped: sub-0000_MEGRE: --output-spaces nowhere: " in line for line in lines)
