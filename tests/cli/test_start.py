import os
import subprocess
import sys
from pathlib import Path

import pytest

from bids_qcm import __version__
from bids_qcm.cli.start import main

COMMAND = Path(sys.executable).with_name("bids-qcm")

# Importing each of these libraries takes at least a tenth of a second.
LIBRARIES = {
    *("SimpleITK", "bids", "joblib", "matplotlib", "nibabel", "nilearn", "nipype", "nitransforms"),
    *("numba", "pandas", "pyamg", "scipy", "skimage", "sklearn"),
}


def test_version_does_not_import_the_numerical_libraries():
    code = (
        "import sys; sys.argv = ['bids-qcm', '--version']\n"
        "from bids_qcm.cli.start import main\n"
        "status = main()\n"
        "print(status, {'numpy', 'numba', 'nipype'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"bids-qcm {__version__}\n0 set()\n"


@pytest.mark.parametrize(
    ("entry_point", "arguments", "status"),
    [
        ("start", "bids-qcm --help", 0),
        ("start", "bids-qcm -v --version", 0),
        ("start", "bids-qcm --no-such-option", 64),
        ("phantom", "bids-qcm-phantom --help", 0),
        ("phantom", "bids-qcm-phantom create --help", 0),
        ("phantom", "bids-qcm-phantom score --help", 0),
    ],
)
def test_help_imports_no_numerical_library(entry_point, arguments, status):
    code = (
        f"import sys; sys.argv = {arguments.split()}\n"
        f"from bids_qcm.cli.{entry_point} import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as stop:\n"
        f"    print(stop.code, {LIBRARIES} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"{status} set()"


def test_other_arguments_run_the_full_command():
    done = subprocess.run([COMMAND, "--version", "-v"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"bids-qcm {__version__}\n")
    done = subprocess.run([COMMAND], capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert "BIDS_DIR" in done.stderr


@pytest.mark.parametrize("known", [True, False])
def test_home_is_set_only_for_a_user_without_a_home(monkeypatch, tmp_path, known):
    """The tests of the image run as such a user."""

    def home():
        if not known:
            raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    monkeypatch.setattr("bids_qcm.cli.run.run_command", lambda *parsed: 0)
    monkeypatch.setattr(sys, "argv", ["bids-qcm", str(tmp_path), str(tmp_path / "out"), "group"])
    monkeypatch.setenv("HOME", "before")
    assert main() == 0
    assert os.environ["HOME"] == ("before" if known else "/")
