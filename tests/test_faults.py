"""The command with faults of the machine, the disk or the environment."""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from bids_qcm.bids.acquisitions import group_acquisitions
from bids_qcm.bids.anatomy.datasets import SearchedDatasets
from bids_qcm.cli.run import main
from bids_qcm.settings import Settings
from bids_qcm.workflows.locks import lock_acquisitions
from bids_qcm.workflows.preflight import Preflight
from tests.commands import COMMAND, busiest, kill_group, run, start, wait_until, workers
from tests.synthetic import write_subjects

METHOD = ("--method", "laplacian", "--fit-radius", "3")

IN_OWN_MOUNTS = ("unshare", "--map-root-user", "--mount", "sh", "-c")

needs_mounts = pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(
        [*IN_OWN_MOUNTS, "mount -t tmpfs tmpfs /mnt"], capture_output=True
    ).returncode,
    reason="mounting is not allowed here",
)


def maps(out):
    return sorted(path.name.split("_")[0] for path in out.rglob("*_condmap.nii.gz"))


def run_in_mounts(mounts, *arguments, **options):
    """Run the command after shell commands that mount file systems only for this command."""
    script = f'set -e; {mounts}; exec "$@"'
    done = subprocess.run(
        [*IN_OWN_MOUNTS, script, "sh", *COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    return done.returncode, done.stdout + done.stderr


def read_only(folder):
    return f"mount --bind '{folder}' '{folder}'; mount -o remount,bind,ro '{folder}'"


def small(folder, size):
    return f"mount -t tmpfs -o size={size} tmpfs '{folder}'"


@pytest.fixture
def raw(tmp_path):
    return write_subjects(tmp_path / "raw", 1)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_configuration_files_of_other_projects_are_ignored(raw, tmp_path):
    """Neither this process nor a worker reads nipype.cfg in the current folder or in HOME."""
    hostile = tmp_path / "hostile"
    configuration = (
        "[logging]\nworkflow_level = INFO\nlog_to_file = true\nlog_directory = .\n"
        "[execution]\nstop_on_first_crash = true\nremove_unnecessary_outputs = false\n"
    )
    for place in (hostile, hostile / ".nipype"):
        place.mkdir()
        (place / "nipype.cfg").write_text(configuration)
    before = sorted(hostile.rglob("*"))
    environment = {**os.environ, "HOME": str(hostile), "PWD": str(hostile)}
    environment.pop("NIPYPE_CONFIG_DIR", None)
    root = str(Path(__file__).parents[1])
    environment["PYTHONPATH"] = os.pathsep.join([root, environment.get("PYTHONPATH", "")])
    status, said = run(
        *(raw, tmp_path / "out", "participant", "-w", tmp_path / "work", *METHOD),
        pages=False,
        cwd=hostile,
        env=environment,
    )
    assert status == 0, said
    assert maps(tmp_path / "out") == ["sub-0000"]
    assert "nipype.workflow" not in said
    assert sorted(hostile.rglob("*")) == before
    assert list((tmp_path / "work").rglob("pypeline.log")) == []


@needs_mounts
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_app_runs_in_a_minimal_environment(tmp_path):
    """Use read-only input with an unusual name, a small TMPDIR, no HOME and no standard output."""
    raw = write_subjects(tmp_path / "été de l'an 1 %s 脳", 1)
    out, work = (tmp_path / name for name in ("out 脳", "work 脳"))
    quoted = str(raw).replace("'", "'\\''")
    # socket names must be short
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        status, said = run_in_mounts(
            f"{read_only(quoted)}; {small(temporary, '64k')}; exec 1>&-",
            *(raw, out, "participant", "-w", work, *METHOD),
            env={"PATH": os.environ["PATH"], "TMPDIR": temporary},
        )
    assert status == 0, said
    assert maps(out) == ["sub-0000"]
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["exec 1>&- 2>&-", "exec > /dev/full"])
def test_the_app_runs_without_output_streams(raw, tmp_path, closed):
    # not even root can create a home directory there
    done = subprocess.run(
        [
            *("sh", "-c", f'{closed}; exec "$@"', "sh", *COMMAND, str(raw), str(tmp_path / "out")),
            *("participant", "-w", str(tmp_path / "work"), *METHOD),
        ],
        env={**os.environ, "HOME": "/proc/no"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert maps(tmp_path / "out") == ["sub-0000"]


def test_a_plan_whose_output_is_closed_early_is_not_an_error(tmp_path):
    raw = write_subjects(tmp_path / "raw", 1)
    reader, writer = os.pipe()
    os.close(reader)
    process = start(raw, tmp_path / "out", "participant", "--dry-run", stdout=writer)
    os.close(writer)
    said = process.communicate()[1]
    assert process.returncode == 0
    assert "could not be printed" in said
    assert "Traceback" not in said


@needs_mounts
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("full", ["out", "work"])
def test_a_full_disk_is_reported(tmp_path, full):
    raw = write_subjects(tmp_path / "raw", 2, shape=(40, 40, 40), n_echoes=1)
    for name in ("out", "work"):
        (tmp_path / name).mkdir()
    status, said = run_in_mounts(
        small(tmp_path / full, "300k"),
        *(raw, tmp_path / "out", "participant", "-w", tmp_path / "work", *METHOD),
    )
    assert status == 73
    assert "No space left on device" in said
    assert "free space in OUTPUT_DIR and the work directory" in said
    assert "Traceback" not in said


@needs_mounts
@pytest.mark.timeout(120)
def test_a_read_only_output_is_reported(raw, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    arguments = (raw, out, "participant", "-w", tmp_path / "work", *METHOD)
    status, said = run_in_mounts(read_only(out), *arguments)
    assert status == 73
    assert "cannot write" in said
    assert "Read-only file system" in said
    assert "Traceback" not in said


@pytest.fixture
def run_in_process(tmp_path, in_process, without_pages):
    """Run the command on the dataset in this process, without pages."""

    def run_in_process(raw, *options):
        arguments = [str(raw), str(tmp_path / "out"), "participant", "-w", str(tmp_path / "work")]
        with without_pages():
            return main([*arguments, *METHOD, *in_process, *options])

    return run_in_process


def dangle(path):
    """Replace a file with a broken link, as in DataLad before the content is downloaded."""
    path.unlink()
    path.symlink_to(f".git/annex/objects/X/Y/MD5E-s1--0/{path.name}")


@pytest.mark.parametrize(
    "name", ["sub-0000_echo-1_part-mag_MEGRE.nii.gz", "sub-0000_echo-2_part-phase_MEGRE.json"]
)
def test_images_that_are_not_downloaded_are_reported(tmp_path, run_in_process, capsys, name):
    raw = write_subjects(tmp_path / "raw", 2)
    dangle(raw / "sub-0000/anat" / name)
    assert run_in_process(raw) == 1
    assert maps(tmp_path / "out") == ["sub-0001"]
    said = [line for line in capsys.readouterr().out.splitlines() if "skipped: " in line]
    assert name in said[0]
    assert "datalad get" in said[0]


def test_a_segmentation_that_is_not_downloaded_is_reported(tmp_path, run_in_process, capsys):
    raw = write_subjects(tmp_path / "raw", 1)
    dangle(raw / "derivatives/seg/sub-0000/anat/sub-0000_dseg.nii.gz")
    assert run_in_process(raw, "--method", "laplacian", "laplacian-seg") == 1
    assert "datalad get" in capsys.readouterr().out
    assert maps(tmp_path / "out") == ["sub-0000"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_worker_affects_only_its_node(tmp_path):
    """The log names the node, the node runs again, and other nodes are not affected."""
    raw = write_subjects(tmp_path / "raw", 2, shape=(40, 40, 40), n_echoes=1)
    out = tmp_path / "out"
    process = start(
        *(raw, out, "participant", "-w", tmp_path / "work", "--method", "integral"),
        *("--nprocs", "2", "--omp-nthreads", "1", "-v"),
        pages=False,
    )
    try:
        for line in process.stderr:
            if line.endswith(".reconstruct_integral: started\n"):
                break
        assert wait_until(lambda: workers(process.pid))
        os.kill(busiest(workers(process.pid)), signal.SIGKILL)
        said = process.communicate()[1]
    finally:
        kill_group(process)
    assert process.returncode == 0, said
    assert "its process was killed by SIGKILL" in said
    assert "will be tried once more, alone" in said
    assert maps(out) == ["sub-0000", "sub-0001"]


def test_two_runs_do_not_compute_the_same_acquisition(raw, tmp_path, run_in_process, capsys):
    given = Settings(raw, tmp_path / "out", tmp_path / "work")
    (plan,) = (
        result.plan
        for result in Preflight(given, SearchedDatasets.of(given, {})).outline(
            group_acquisitions((raw / "sub-0000/anat").glob("*_part-*.nii.gz"))
        )
    )
    with lock_acquisitions([plan], given):
        assert run_in_process(raw) == 1
    assert "another run is computing this acquisition" in capsys.readouterr().err
    assert maps(tmp_path / "out") == []
    assert run_in_process(raw) == 0


NO_LOCKS = """
import errno, fcntl

def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")

fcntl.flock = flock
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_identical_runs_without_locks_of_the_file_system(raw, tmp_path):
    """One run computes each map; the other run reports this, or finds the map unchanged."""
    modules, out, alone = (tmp_path / name for name in ("modules", "out", "alone"))
    modules.mkdir()
    (modules / "sitecustomize.py").write_text(NO_LOCKS)
    environment = {**os.environ, "PYTHONPATH": f"{modules}:{os.environ.get('PYTHONPATH', '')}"}

    def start_run(out):
        arguments = (raw, out, "participant", "-w", tmp_path / f"work_{out.name}", *METHOD)
        return start(*arguments, "--nprocs", "1", pages=False, cwd=tmp_path, env=environment)

    processes = [start_run(out) for _ in range(2)]
    said = [process.communicate()[1] for process in processes]
    assert all(one.count("the file system does not support locks") == 1 for one in said), said
    for process, one in zip(processes, said, strict=True):
        assert process.returncode == 0 or "another run is computing this acquisition" in one, one
    assert any(process.returncode == 0 for process in processes), said
    assert start_run(out).wait() == 0
    assert start_run(alone).wait() == 0
    (found,), (expected,) = (sorted(one.rglob("*_condmap.nii.gz")) for one in (out, alone))
    assert found.read_bytes() == expected.read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_eight_runs_can_share_a_work_directory(tmp_path, validate):
    raw = write_subjects(tmp_path / "raw", 8)
    out = tmp_path / "out"
    processes = [
        start(
            *(raw, out, "participant", "--participant-label", f"{number:04d}", *METHOD),
            *("--nprocs", "1"),
            cwd=tmp_path,
        )
        for number in range(8)
    ]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, "".join(said)
    assert maps(out) == [f"sub-{number:04d}" for number in range(8)]
    assert (tmp_path / "work").is_dir()
    assert not [path for path in out.rglob(".*") if path.name != ".bidsignore"]
    status, verdict = validate(out)
    assert status == 0, verdict


def others_files(folder):
    """A file that a run must not change, in a folder to which a link points."""
    folder.mkdir()
    (folder / "file").write_text("precious")
    return folder


@pytest.mark.parametrize("name", ["sub-0000", "sub-0000/anat", "sub-0000/figures", "logs"])
def test_a_link_to_a_folder_outside_the_output_is_refused(
    raw, tmp_path, run_in_process, capsys, name
):
    link = tmp_path / "out" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(others_files(tmp_path / "elsewhere"))
    assert run_in_process(raw) == 73
    assert f"{link}: is a link to " in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["file"]


def test_a_link_inside_the_output_is_followed(raw, tmp_path, run_in_process):
    (tmp_path / "out" / "sub-0000_more").mkdir(parents=True)
    (tmp_path / "out" / "sub-0000").symlink_to("sub-0000_more")
    assert run_in_process(raw) == 0


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["", "/phi0"])
def test_a_linked_folder_of_the_cache_is_refused(raw, tmp_path, run_in_process, name):
    assert run_in_process(raw) == 0
    # the outputs are missing, so the cache is needed again
    shutil.rmtree(tmp_path / "out" / "sub-0000")
    (folder,) = (tmp_path / "work").glob("bids_qcm_*")
    link = folder / f"sub_0000_MEGRE_wf{name}"
    shutil.rmtree(link)
    link.symlink_to(others_files(tmp_path / "elsewhere"))
    status, said = run(raw, tmp_path / "out", "participant", "-w", tmp_path / "work", *METHOD)
    assert status == 1
    assert "is a link, or is in a linked folder, and leads to " in said
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["file"]


def test_a_work_folder_writable_by_others_is_refused(raw, tmp_path, run_in_process, capsys):
    assert run_in_process(raw) == 0
    folders = [tmp_path / "work", *(tmp_path / "work").glob("bids_qcm_*")]
    for folder in folders:
        assert folder.stat().st_mode & 0o777 == 0o700
        folder.chmod(0o777)
        assert run_in_process(raw) == 73
        assert f"{folder}: can be written by other users" in capsys.readouterr().err
        folder.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change owners")
def test_a_work_folder_of_another_user_is_refused(raw, tmp_path, run_in_process, capsys):
    work = tmp_path / "work"
    work.mkdir(mode=0o755)
    os.chown(work, 65534, -1)
    assert run_in_process(raw) == 73
    assert f"{work}: belongs to the user nobody" in capsys.readouterr().err
    assert list(work.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_report_worker_does_not_prevent_any_page(tmp_path):
    """All pages are written even if a worker is killed while writing."""
    raw = write_subjects(tmp_path / "raw", 4)
    out = tmp_path / "out"
    arguments = (raw, out, "participant", "-w", tmp_path / "work", *METHOD)
    assert run(*arguments)[0] == 0
    pages = sorted(path.name for path in out.glob("*.html"))
    for page in out.glob("*.html"):
        page.unlink()
    process = start(*arguments, "--reports-only", "--nprocs", "2")
    try:
        assert wait_until(lambda: workers(process.pid))
        os.kill(busiest(workers(process.pid)), signal.SIGKILL)
        said = process.communicate()[1]
    finally:
        kill_group(process)
    assert process.returncode == 0, said
    assert "a process was killed; this page is written again" in said
    assert sorted(path.name for path in out.glob("*.html")) == pages


@needs_mounts
def test_missing_shared_memory_is_reported(raw, tmp_path):
    status, said = run_in_mounts(
        "mount -t tmpfs -o ro tmpfs /dev/shm",
        *(raw, tmp_path / "out", "participant", "-w", tmp_path / "work", *METHOD),
    )
    assert status == 65
    assert "/dev/shm: cannot be used for semaphores (Read-only file system)" in said
    assert "Traceback" not in said
