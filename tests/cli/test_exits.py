"""Exit statuses of the command, and their descriptions in the help and the documentation."""

import re
from pathlib import Path

import pytest

from bids_qcm.bids.errors import DatasetError, InputError, NoInputError, OutputError, SelectionError
from bids_qcm.bids.run_records import Failure
from bids_qcm.cli import run
from bids_qcm.cli.exits import ExitStatus, status_of
from bids_qcm.cli.parser import build_parser
from bids_qcm.cli.summary import Summary
from tests.synthetic import write_subjects

USAGE = Path(__file__).parents[2] / "docs" / "usage.md"


@pytest.fixture
def command(tmp_path):
    """Run the command on a good dataset."""
    raw = write_subjects(tmp_path / "raw", 1, n_echoes=1)
    out = str(tmp_path / "out")
    return lambda *options: run.main([str(raw), out, "participant", "--dry-run", *options])


def test_a_good_dataset_has_status_0(command):
    assert command() == 0


def test_a_usage_error_has_status_64(command):
    with pytest.raises(SystemExit) as stop:
        command("--no-such-option")
    assert stop.value.code == 64


def test_invalid_data_that_affects_the_whole_run_has_status_65(command, capsys):
    assert command("--segmentation", "none-such") == 65
    assert "--segmentation none-such" in capsys.readouterr().err


def test_an_internal_error_has_status_70(command, monkeypatch, capsys):
    def broken(*args):
        raise ZeroDivisionError

    monkeypatch.setattr(run, "find_acquisitions", broken)
    assert command() == 70
    assert "please report it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DatasetError, 16),
        (SelectionError, 18),
        (InputError, 65),
        (NoInputError, 66),
        (OutputError, 73),
    ],
)
def test_each_kind_of_invalid_input_has_its_status(error, status):
    assert status_of(error("file", "problem", "remedy")) == status


@pytest.mark.parametrize(
    ("failed", "skipped", "failed_reports", "status"),
    [
        ([], [], [], 0),
        ([], ["no phase"], [], 1),
        (["ValueError: no voxel"], [], [], 1),
        ([], [], ["sub-1: ValueError"], 2),
        (["ValueError: no voxel"], [], ["sub-1: ValueError"], 1),
        (["OSError: [Errno 28] No space left on device"], [], [], 73),
        (["OSError: [Errno 30] Read-only file system: 'x'", "ValueError"], [], [], 73),
    ],
)
def test_the_exit_status_follows_from_the_summary(failed, skipped, failed_reports, status):
    summary = Summary(failed_reports=failed_reports)
    summary.failed["a"] = [Failure("phi0", error) for error in failed]
    summary.skipped["b"] = [Failure("checks", reason) for reason in skipped]
    assert summary.conclude() == status


def test_help_and_documentation_name_every_status():
    table = USAGE.read_text(encoding="utf-8").partition("## Exit status")[2]
    documented = [int(number) for number in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)]
    assert documented == sorted(ExitStatus)
    told = re.findall(r"(?:: |; |;\n)(\d+) ", build_parser().epilog)
    assert sorted(map(int, told)) == sorted(ExitStatus)
