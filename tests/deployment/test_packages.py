"""The packages for PyPI, installed outside this checkout."""

import sys
import tarfile
import venv
from pathlib import Path

import pytest

from bids_qcm import __version__
from tests.deployment.helpers import run

ROOT = Path(__file__).parents[2]


BUILT = ROOT / "dist"


@pytest.fixture(scope="module")
def built():
    """Folder with the packages of this version from `make dist`."""
    if len(list(BUILT.glob(f"bids_qcm-{__version__}*"))) != 2:
        pytest.skip("no wheel and sdist (make dist)")
    return BUILT


@pytest.fixture(scope="module")
def unpacked(built, tmp_path_factory):
    """The content of the sdist."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"bids_qcm-{__version__}"


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The commands of the wheel in a separate environment."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=True)
    wheel = next(built.glob("*.whl"))
    run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", str(wheel))
    return folder / "bin"


def test_the_wheel_runs(installed, tmp_path):
    assert run(installed / "bids-qcm", "--version").stdout == f"bids-qcm {__version__}\n"
    run(installed / "bids-qcm-phantom", "create", "phantom", "--resolution", "4", cwd=tmp_path)
    command = ("phantom", "maps", "participant", "--method", "laplacian", "--fit-radius", "9")
    run(installed / "bids-qcm", *command, cwd=tmp_path)
    assert list(tmp_path.glob("maps/sub-01/anat/*_desc-laplacian_condmap.nii.gz"))


def test_the_sdist_contains_all_versioned_files(unpacked):
    listed = run("git", "ls-files", cwd=ROOT, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    missing = [name for name in listed.stdout.splitlines() if not (unpacked / name).is_file()]
    assert missing == [".gitignore"] or missing == []


def test_the_tests_in_the_sdist_pass(unpacked):
    """Run only the tests of the command line, which read files outside the package."""
    code = f"import bids_qcm; assert bids_qcm.__file__.startswith({str(unpacked)!r})"
    run(sys.executable, "-c", code, cwd=unpacked)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    run(*command, "tests/cli/test_boutiques.py", "tests/test_architecture.py", cwd=unpacked)
    # check that all other test modules can be imported
    run(*command, "--collect-only", "tests", cwd=unpacked)
