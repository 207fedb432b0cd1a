import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bids_qcm.cli.boutiques import describe_command
from bids_qcm.cli.parser import build_parser, parse_settings

DESCRIPTOR = Path(__file__).parents[2] / "boutiques.json"


def bosh(*arguments):
    command = [Path(sys.executable).with_name("bosh"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_descriptor_agrees_with_the_parser():
    """If this test fails, run `make boutiques` to write the descriptor again."""
    assert json.loads(DESCRIPTOR.read_text()) == describe_command()


def test_every_option_is_described():
    told = {one.get("command-line-flag") for one in describe_command()["inputs"]}
    options = [one for one in build_parser()._actions if one.option_strings]
    missing = [one.dest for one in options if not told & set(one.option_strings)]
    assert missing == ["help", "version"]


def test_the_descriptor_is_valid():
    done = bosh("validate", DESCRIPTOR)
    assert done.returncode == 0, done.stdout + done.stderr


INVOCATION = {
    "analysis_level": "participant",
    "output_dir": "out",
    "participant_label": ["01", "02"],
    "method": ["laplacian", "integral-mag"],
    "no_uncertainty": True,
    "sign": "-",
    "nprocs": 3,
    "target_std": 0.2,
    "fit_radius": ["auto"],
    "work_dir": "scratch",
}


def test_boutiques_creates_a_command_that_the_parser_accepts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("invocation.json").write_text(json.dumps({"bids_dir": "data", **INVOCATION}))
    done = bosh("exec", "simulate", DESCRIPTOR, "-i", "invocation.json")
    assert done.returncode == 0, done.stdout + done.stderr
    line = next(one for one in done.stdout.splitlines() if one.startswith("bids-qcm "))
    settings, _ = parse_settings(shlex.split(line)[1:])
    assert settings.participant_labels == ("01", "02")
    assert settings.methods == ("laplacian", "integral-mag")
    assert (settings.uncertainty, settings.sign, settings.nprocs) == (False, "-", 3)
    assert (settings.target_std, settings.fit_radius) == (0.2, "auto")
    assert settings.work_dir == tmp_path / "scratch"


@pytest.mark.parametrize("wrong", [{"method": ["laplace"]}, {"nprocs": "many"}])
def test_boutiques_rejects_arguments_that_the_parser_rejects(tmp_path, wrong):
    (tmp_path / "data").mkdir()
    invocation = tmp_path / "invocation.json"
    invocation.write_text(json.dumps({"bids_dir": str(tmp_path / "data"), **INVOCATION, **wrong}))
    assert bosh("exec", "simulate", DESCRIPTOR, "-i", invocation).returncode != 0
