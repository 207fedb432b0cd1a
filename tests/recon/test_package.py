"""The exported names of the package, which are imported when they are first used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from bids_qcm import recon


@pytest.mark.parametrize("name", recon.__all__)
def test_every_exported_name_exists(name):
    assert getattr(recon, name) is not None
    assert name in dir(recon)


def test_type_checkers_read_the_same_modules():
    """Type checkers use the import statements; Python uses the table of modules at run time."""
    tree = ast.parse(Path(recon.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    static = {alias.name: node.module for node in block.body for alias in node.names}
    assert static == {name: f"bids_qcm.recon.{m}" for name, m in recon._MODULES.items()}
    assert set(recon.__all__) == {*static, "METHODS", "Method"}


def test_an_unknown_name_raises_an_error():
    with pytest.raises(AttributeError, match=r"module 'bids_qcm\.recon' has no attribute 'invert'"):
        _ = recon.invert
    with pytest.raises(ImportError):
        from bids_qcm.recon import invert  # noqa: F401


def test_the_table_of_methods_imports_no_compiled_code():
    code = (
        "import sys; from bids_qcm.recon import METHODS; print({'numba', 'scipy'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
