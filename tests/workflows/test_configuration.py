import ast
import os
import subprocess
import sys

import pytest

from bids_qcm import __version__
from bids_qcm.bids.errors import OutputError
from bids_qcm.workflows import configuration


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    # restore os.environ after the test
    monkeypatch.setattr(os, "environ", os.environ.copy())


def test_nipype_reads_the_work_directory_and_not_the_home(settings, tmp_path):
    given = settings(work_dir=tmp_path / "été 100 %")
    configuration.configure_nipype(given, verbose=False)
    code = (
        "import pathlib; before = set(pathlib.Path.home().iterdir())\n"
        "from nipype import config\n"
        "assert set(pathlib.Path.home().iterdir()) == before\n"
        "print(config.get('logging', 'workflow_level'))"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert result.stdout.strip() == "CRITICAL", result.stderr


def test_nipype_reads_no_file_in_the_current_folder(settings, tmp_path, hostile_folder):
    given = settings(work_dir=tmp_path / "work")
    code = (
        "import sys\nfrom pathlib import Path\nfrom types import SimpleNamespace\n"
        "from bids_qcm.workflows.configuration import configure_nipype\n"
        "configure_nipype(SimpleNamespace(work_dir=Path(sys.argv[1])), verbose=False)\n"
        "from nipype import config\n"
        "print(config.get('logging', 'workflow_level'), config.get('logging', 'log_to_file'),\n"
        "      config.get('execution', 'plugin'), Path.cwd())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(given.work_dir)],
        capture_output=True,
        text=True,
        check=False,
        cwd=hostile_folder,
        env={**os.environ, "HOME": str(hostile_folder)},
    )
    assert done.stdout.split() == ["CRITICAL", "false", "Linear", str(hostile_folder)], done.stderr
    assert sorted(path.name for path in hostile_folder.iterdir()) == [".nipype", "nipype.cfg"]


@pytest.fixture
def hostile_folder(tmp_path):
    """A home folder and a current folder with the nipype.cfg of other projects."""
    folder = tmp_path / "hostile"
    for place in (folder, folder / ".nipype"):
        place.mkdir()
        (place / "nipype.cfg").write_text(
            "[logging]\nworkflow_level = INFO\nlog_to_file = true\nlog_directory = .\n"
        )
    return folder


def test_every_library_of_a_new_process_uses_the_requested_threads(settings):
    configuration.limit_threads(settings(omp_nthreads=1))
    code = (
        "import numpy, scipy.linalg, sklearn.cluster\n"
        "from threadpoolctl import threadpool_info\n"
        "print({(pool['user_api'], pool['num_threads']) for pool in threadpool_info()})"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        check=True,
    )
    found = ast.literal_eval(result.stdout)
    assert found == {("blas", 1), ("openmp", 1)}


@pytest.fixture
def numba_cache(tmp_path, monkeypatch):
    """A numba cache like the cache in the container."""
    cache = tmp_path / "cache"
    (cache / "recon").mkdir(parents=True)
    (cache / "recon" / "loop.nbc").write_text("code")
    os.environ["NUMBA_CACHE_DIR"] = str(cache)
    # the superuser can write anywhere
    monkeypatch.setattr(os, "access", lambda path, mode: path != cache)
    return cache


def test_a_cache_that_cannot_be_written_is_copied_once(settings, numba_cache):
    configuration.share_compiled_code(settings())
    copy = settings().work_dir / f"numba-{__version__}"
    assert os.environ["NUMBA_CACHE_DIR"] == str(copy)
    assert (copy / "recon" / "loop.nbc").read_text() == "code"
    (copy / "recon" / "loop.nbc").write_text("code for another processor")
    os.environ["NUMBA_CACHE_DIR"] = str(numba_cache)
    configuration.share_compiled_code(settings())
    assert os.environ["NUMBA_CACHE_DIR"] == str(copy)
    assert (copy / "recon" / "loop.nbc").read_text() == "code for another processor"
    assert list(settings().work_dir.iterdir()) == [copy]


@pytest.mark.parametrize("given", [None, "", "gone", "."])
def test_a_writable_or_missing_cache_is_not_copied(settings, given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.environ.pop("NUMBA_CACHE_DIR", None)
    if given is not None:
        os.environ["NUMBA_CACHE_DIR"] = given
    configuration.share_compiled_code(settings())
    assert os.environ.get("NUMBA_CACHE_DIR") == given
    assert not settings().work_dir.exists()


@pytest.mark.parametrize(("verbose", "level"), [(False, "CRITICAL"), (True, "INFO")])
def test_nipype_logs_at_the_requested_level(settings, verbose, level):
    given = settings()
    configuration.configure_nipype(given, verbose=verbose)
    text = (given.work_dir / "nipype.cfg").read_text()
    assert f"workflow_level = {level}" in text
    assert os.environ["NIPYPE_CONFIG_DIR"] == str(given.work_dir)
    assert os.environ["NIPYPE_NO_ET"] == "1"


@pytest.mark.parametrize(("given", "name"), [(None, "bids_qcm"), ("ada", "ada")])
def test_jobs_of_a_scheduler_have_a_user(settings, given, name):
    os.environ.pop("LOGNAME", None)
    if given is not None:
        os.environ["LOGNAME"] = given
    configuration.configure_nipype(settings(), verbose=False)
    assert os.environ["LOGNAME"] == name


def test_a_scheduler_is_polled_less_often_than_a_pool(settings, tmp_path):
    pool, scheduler = (
        float(configuration.execution_options(settings(plugin_file=file))["poll_sleep_duration"])
        for file in (None, tmp_path / "slurm.yml")
    )
    assert pool < 0.1 < 1 < scheduler


@pytest.mark.parametrize("stop", [False, True])
def test_execution_options_follow_the_settings(settings, stop):
    given = settings(stop_on_first_crash=stop)
    options = configuration.execution_options(given)
    assert options["stop_on_first_crash"] == str(stop).lower()
    assert options["crashdump_dir"] == str(given.output_dir / "logs")
    assert options["hash_method"] == "content"


def test_a_work_directory_writable_by_other_users_is_refused(settings):
    given = settings()
    given.work_dir.mkdir()
    given.work_dir.chmod(0o777)
    (given.work_dir / "planted").touch()
    with pytest.raises(OutputError, match=r"can be written by other users.*chmod go-w"):
        configuration.configure_nipype(given, verbose=False)
    assert [path.name for path in given.work_dir.iterdir()] == ["planted"]


def test_a_linked_copy_of_the_cache_is_refused(settings, numba_cache, tmp_path):
    given = settings()
    given.work_dir.mkdir(mode=0o700)
    (given.work_dir / f"numba-{__version__}").symlink_to(tmp_path)
    with pytest.raises(OutputError, match="is a link"):
        configuration.share_compiled_code(given)
