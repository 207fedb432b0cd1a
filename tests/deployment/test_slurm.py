"""A job array, nodes as separate jobs, and the container in a job array."""

import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from tests.deployment.helpers import OPTIONS, assert_same_bytes, container_of, run

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module", autouse=True)
def _scheduler():
    if not shutil.which("sbatch") or run("sinfo", check=False).returncode:
        pytest.skip("no Slurm here")


@pytest.fixture
def environment(monkeypatch):
    """Environment variables of a user who has activated the environment of the app."""
    monkeypatch.setenv("PATH", str(BIN), prepend=os.pathsep)
    monkeypatch.delenv("BIDS_QCM", raising=False)


@pytest.fixture
def write_scripts(environment, phantoms, tmp_path):
    """A function that runs the app to write its scripts, and returns their folder."""

    def write(dataset=phantoms):
        scripts = tmp_path / "my scripts"
        level = ("participant", *OPTIONS, "-w", tmp_path / "work")
        run("bids-qcm", dataset, tmp_path / "maps", *level, "--write-slurm", scripts)
        return scripts

    return write


def logs(scripts):
    return "\n".join(path.read_text() for path in sorted(scripts.glob("*.log")))


def wait_for_queue():
    while run("squeue", "--noheader").stdout:
        time.sleep(0.5)


def test_a_job_array_maps_all_participants(write_scripts, installed_maps, tmp_path):
    scripts = write_scripts()
    done = run("sbatch", "--wait", scripts / "participant.sbatch", check=False)
    assert done.returncode == 0, logs(scripts)
    assert_same_bytes(tmp_path / "maps", installed_maps)


def test_the_exit_status_of_a_failed_task_reaches_sbatch(write_scripts, phantoms, tmp_path):
    dataset = shutil.copytree(phantoms, tmp_path / "data")
    scripts = write_scripts(dataset)
    # damage the image after planning
    next(dataset.glob("sub-02/anat/*_part-phase_*.nii.gz")).write_bytes(b"")
    done = run("sbatch", "--wait", scripts / "participant.sbatch", check=False)
    assert done.returncode == 1, logs(scripts)
    assert list((tmp_path / "maps").glob("sub-01/anat/*_condmap.nii.gz"))
    assert "sub-02" in (scripts / "participant-2.log").read_text()


@pytest.mark.parametrize("broken", ["none", "02"])
def test_the_group_runs_after_all_participants(write_scripts, tmp_path, monkeypatch, broken):
    scripts = write_scripts()
    app = tmp_path / "app"
    app.write_text(
        f"#!/bin/bash\nsleep 1\necho $3 >> {tmp_path}/order\n"
        f'case "$*" in *"label {broken}"*) exit 1; esac\n'
    )
    app.chmod(0o755)
    monkeypatch.setenv("BIDS_QCM", str(app))
    run("bash", scripts / "submit.sh")
    wait_for_queue()
    order = (tmp_path / "order").read_text().split()
    assert order == ["participant", "participant", "group"]


def test_the_group_level_runs_after_the_participants(write_scripts, tmp_path):
    scripts = write_scripts()
    run("bash", scripts / "submit.sh")
    wait_for_queue()
    assert (tmp_path / "maps" / "group_condmap.tsv").exists(), logs(scripts)


# each of the 52 steps is a job, which loads all libraries
@pytest.mark.timeout(1200)
def test_nodes_can_run_as_jobs(environment, phantoms, installed_maps, tmp_path):
    plugin = tmp_path / "slurm.yml"
    plugin.write_text("plugin: SLURM\nplugin_args:\n  sbatch_args: --time=0:10:00\n")
    level = ("participant", *OPTIONS, "-w", tmp_path / "my work", "--use-plugin", plugin)
    run("bids-qcm", phantoms, tmp_path / "maps", *level)
    assert_same_bytes(tmp_path / "maps", installed_maps)


def test_node_jobs_that_slurm_rejects_are_reported(environment, phantoms, tmp_path):
    plugin = tmp_path / "slurm.yml"
    plugin.write_text("plugin: SLURM\nplugin_args: {sbatch_args: --partition=nowhere}\n")
    level = ("participant", *OPTIONS, "-w", tmp_path / "work", "--use-plugin", plugin)
    done = run("bids-qcm", phantoms, tmp_path / "maps", *level, check=False)
    assert done.returncode == 65
    assert "slurm.yml" in done.stderr
    assert "invalid partition specified: nowhere" in done.stderr


def test_a_job_array_can_run_containers(
    write_scripts, sif, phantoms, installed_maps, tmp_path, monkeypatch, image
):
    scripts = write_scripts()
    for folder in ("maps", "work"):
        (tmp_path / folder).mkdir()
    binds = f"-B {phantoms}:{phantoms}:ro -B {tmp_path}"
    monkeypatch.setenv("BIDS_QCM", f"apptainer run --cleanenv --containall {binds} {sif}")
    done = run("sbatch", "--wait", scripts / "participant.sbatch", check=False)
    assert done.returncode == 0, logs(scripts)
    assert_same_bytes(tmp_path / "maps", installed_maps)
    assert container_of(tmp_path / "maps") == {"Type": "apptainer", "Tag": image}
