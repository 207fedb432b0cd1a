import os
import shlex
import subprocess

import pytest

from bids_qcm.cli.parser import parse_settings
from bids_qcm.cli.run import main
from bids_qcm.cli.slurm import task_arguments

ECHO_ARGUMENTS = 'printf "%s\\n" "$@"'


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory, add_phantom):
    folder = tmp_path_factory.mktemp("slurm")
    for label in ("01", "02"):
        add_phantom(folder / "my data", label, folder / "made")
    return folder / "my data"


@pytest.fixture
def write(phantoms, tmp_path, monkeypatch):
    """A function that runs the app to write the scripts, and returns their folder."""
    monkeypatch.chdir(tmp_path)

    def write(*options):
        argv = [str(phantoms), "my maps", "participant", "--write-slurm", "my scripts", *options]
        assert main(argv) == 0
        return tmp_path / "my scripts"

    return write


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """A function that adds a mock command, which is found first on PATH."""
    folder = tmp_path / "commands"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def put(name, body):
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)

    return put


def bash(script, *arguments, **variables):
    return subprocess.run(
        ["bash", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=os.environ | {"SLURM_CPUS_PER_TASK": "3"} | variables,
    )


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("d o participant --write-slurm s", "d o participant"),
        ("--write-slurm=s d o participant -w work", "d o participant -w work"),
        ("d o participant --participant-label 01 02 --sign -", "d o participant --sign -"),
        ("d o participant --participant_label 01 --method all", "d o participant --method all"),
        ("d o participant --write-graph -d a b=c", "d o participant --write-graph -d a b=c"),
        ("d o participant --fit-radius -1 --mem 2G", "d o participant --fit-radius -1 --mem 2G"),
    ],
)
def test_a_task_has_all_arguments_except_the_submission_options(argv, expected):
    assert task_arguments(argv.split()) == tuple(expected.split())


def test_each_task_is_a_run_of_one_participant(write, commands, phantoms, tmp_path):
    scripts = write("--method", "laplacian", "--work-dir", "my work", "--mem", "2G")
    commands("bids-qcm", f"pwd; {ECHO_ARGUMENTS}")
    for number, label in (("1", "01"), ("2", "02")):
        done = bash(scripts / "participant.sbatch", SLURM_ARRAY_TASK_ID=number)
        here, *argv = done.stdout.splitlines()
        assert here == str(tmp_path)
        settings, _ = parse_settings(argv)
        assert (settings.bids_dir, settings.output_dir) == (phantoms, tmp_path / "my maps")
        assert settings.work_dir == tmp_path / "my work"
        assert settings.participant_labels == (label,)
        assert settings.methods == ("laplacian",)
        assert (settings.nprocs, settings.memory_gb, settings.slurm_dir) == (3, 2, None)
    assert not (tmp_path / "my maps").exists()


def test_the_scripts_contain_only_the_selected_participants(write):
    scripts = write("--participant-label", "02")
    assert (scripts / "participants.txt").read_text() == "02\n"
    assert "#SBATCH --array=1-1\n" in (scripts / "participant.sbatch").read_text()


def test_another_command_may_start_the_app(write, commands):
    scripts = write()
    commands("apptainer", ECHO_ARGUMENTS)
    variables = {"SLURM_ARRAY_TASK_ID": "1", "BIDS_QCM": "apptainer run -B /data x.sif"}
    done = bash(scripts / "participant.sbatch", **variables)
    assert done.stdout.splitlines()[:4] == ["run", "-B", "/data", "x.sif"]


def test_a_task_exits_with_the_exit_status_of_the_app(write, commands):
    scripts = write()
    commands("bids-qcm", "exit 66")
    assert bash(scripts / "participant.sbatch", SLURM_ARRAY_TASK_ID="1").returncode == 66


def test_the_group_runs_after_all_participants(write, commands, tmp_path):
    scripts = write()
    commands("sbatch", f'({ECHO_ARGUMENTS}) >> "{tmp_path}/submitted"; echo "7;cluster"')
    assert bash(scripts / "submit.sh", "--partition=long").returncode == 0
    assert (tmp_path / "submitted").read_text().splitlines() == [
        "--parsable",
        "--partition=long",
        str(scripts / "participant.sbatch"),
        "--dependency=afterany:7",
        "--partition=long",
        str(scripts / "group.sbatch"),
    ]


def options_of(script):
    lines = script.read_text().splitlines()
    options = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]
    return dict(shlex.split(option)[0].partition("=")[::2] for option in options)


def test_tasks_request_the_resources_of_the_plan(write):
    asked = options_of(write("--omp-nthreads", "4", "--nprocs", "4") / "participant.sbatch")
    assert asked["--cpus-per-task"] == "4"
    assert 500 < int(asked["--mem"].removesuffix("M")) < 3000
    assert asked["--array"] == "1-2"
    assert asked["--output"].endswith("my scripts/participant-%a.log")
    assert 15 < int(asked["--time"]) < 60
    assert (asked["--requeue"], asked["--open-mode"]) == ("", "append")
    asked = options_of(write("--mem", "8G") / "participant.sbatch")
    assert 8000 < int(asked["--mem"].removesuffix("M")) < 9000
