"""Processes load machine code from disk only if it was compiled from the same sources."""

import ast
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bids_qcm.recon import code_cache
from bids_qcm.recon.compiling import compiled

PACKAGE = Path(code_cache.__file__).parents[1]
NAMED = "MAGNITUDE_DELTA = {}"

# The function is in a different module from the constant and takes a second to compile.
PROGRAM = """
import sys
import numpy as np
from bids_qcm.recon import fit_loops
assert fit_loops.__file__.startswith(sys.argv[1]), fit_loops.__file__
weight = fit_loops._squared_weight(np.float32(0.5))
print(weight, sum(fit_loops._squared_weight.stats.cache_hits.values()))
"""


class Installation:
    """A copy of the package in a folder or in a zip archive, with its own cache folder."""

    def __init__(self, root, where):
        self.root, self.where = root, where
        self.cache = root / "cache"
        shutil.copytree(
            PACKAGE, root / "lib" / "bids_qcm", ignore=shutil.ignore_patterns("__pycache__")
        )
        self.delta = 0.45

    def set_delta(self, value):
        path = self.root / "lib" / "bids_qcm" / "recon" / "methods.py"
        before, after = NAMED.format(self.delta), NAMED.format(value)
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))
        self.delta = value

    def start(self):
        """Start a process that computes a weight."""
        folder = self.root / "lib"
        if self.where == "zip archive":
            folder = Path(shutil.make_archive(self.root / "lib", "zip", folder))
        variables = {
            "PYTHONPATH": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "NUMBA_CACHE_DIR": str(self.cache),
            "XDG_CACHE_HOME": str(self.cache),
        }
        if self.where != "NUMBA_CACHE_DIR":
            del variables["NUMBA_CACHE_DIR"]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA")}
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, folder],
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.root,
            env=inherited | variables,
        )

    def weight(self, process=None):
        """Return the weight, and whether its machine code was in the cache."""
        process = process or self.start()
        output, _ = process.communicate()
        assert process.returncode == 0
        weight, hits = output.split()
        return float(weight), hits == "1"

    def expected(self):
        return pytest.approx(np.exp(-((0.5 / self.delta) ** 2)), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["NUMBA_CACHE_DIR", "beside the module", "zip archive"])
def test_machine_code_follows_a_constant_of_another_module(tmp_path, where):
    installation = Installation(tmp_path, where)
    assert installation.weight() == (installation.expected(), False)
    installation.set_delta(2.0)
    assert installation.weight() == (installation.expected(), False)
    installation.set_delta(0.45)
    # change the modification times, as in another checkout
    for path in (tmp_path / "lib").rglob("*.py"):
        os.utime(path, (1e9, 1e9))
    assert installation.weight() == (installation.expected(), True)
    in_tree = list((tmp_path / "lib").rglob("*.nbc"))
    assert bool(in_tree) == (where == "beside the module")


@pytest.mark.slow
def test_several_processes_share_a_cache(tmp_path):
    installation = Installation(tmp_path, "NUMBA_CACHE_DIR")
    processes = [installation.start() for _ in range(3)]
    for process in processes:
        assert installation.weight(process)[0] == installation.expected()
    assert installation.weight() == (installation.expected(), True)
    assert {path.suffix for path in installation.cache.rglob("*.*")} == {".nbi", ".nbc"}


def bids_qcm_imports(path):
    """List the source files of this package that a source file imports, including lazy imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            relative = Path(*name.split("."))
            for file in (relative.with_suffix(".py"), relative / "__init__.py"):
                if file.parts[0] == "bids_qcm" and (PACKAGE.parent / file).is_file():
                    yield PACKAGE.parent / file


def test_all_sources_of_compiled_functions_are_hashed():
    hashed = {Path(str(file)) for file in code_cache.compiled_sources()}
    texts = {path: path.read_text() for path in PACKAGE.rglob("*.py")}
    compiling = [p for p, text in texts.items() if "import numba" in text or "@compiled" in text]
    assert len(compiling) > 5
    reached, queue = set(), compiling
    while queue:
        path = queue.pop()
        if path not in reached:
            reached.add(path)
            queue += bids_qcm_imports(path)
    assert reached <= hashed


@pytest.mark.parametrize("package", ["numba", "llvmlite", "numpy"])
def test_the_hash_depends_on_versions(monkeypatch, package):
    def another(name):
        return "0" if name == package else real(name)

    real = code_cache.version
    before = code_cache.fingerprint.__wrapped__()
    assert before == code_cache.fingerprint()
    monkeypatch.setattr(code_cache, "version", another)
    assert code_cache.fingerprint.__wrapped__() != before


@pytest.fixture
def new_function(tmp_path, monkeypatch):
    """A function in a separate module, with an empty cache."""
    (tmp_path / "doubling.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delitem(sys.modules, "doubling", raising=False)
    import doubling

    yield doubling.double
    del sys.modules["doubling"]


def test_without_a_writable_folder_nothing_is_cached(new_function, tmp_path):
    folder = Path(compiled()(new_function).stats.cache_path)
    code_cache.prepare_folder.cache_clear()
    folder.rmdir()
    folder.touch()
    folder.with_name(f"{folder.name}-{os.geteuid()}").touch()
    function = compiled()(new_function)
    assert function.stats.cache_path is None
    assert function(2) == 4
    assert not list(tmp_path.rglob("*.nbc"))


def test_machine_code_in_a_folder_writable_by_others_is_not_loaded(new_function):
    folder = Path(compiled()(new_function).stats.cache_path)
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "planted.nbc").touch()
    folder.chmod(0o777)
    code_cache.prepare_folder.cache_clear()
    function = compiled()(new_function)
    assert function.stats.cache_path == f"{folder}-{os.geteuid()}"
    assert function(2) == 4
    assert [path.name for path in folder.iterdir()] == ["planted.nbc"]


def test_without_sources_nothing_is_cached(new_function, tmp_path, monkeypatch):
    code_cache.fingerprint.cache_clear()
    monkeypatch.setattr(code_cache, "files", lambda _: tmp_path / "cache")
    function = compiled()(new_function)
    monkeypatch.undo()
    code_cache.fingerprint.cache_clear()
    assert function.stats.cache_path is None
    assert function(2) == 4


def test_a_deleted_folder_is_created_again(new_function):
    function = compiled()(new_function)
    folder = Path(function.stats.cache_path)
    shutil.rmtree(folder)
    assert function(2) == 4
    assert list(folder.glob("*.nbc"))


def test_old_folders_are_deleted_except_recently_used_folders(tmp_path):
    today, day = time.time(), 24 * 3600
    ages = {"a": 9, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6}
    for name, age in ages.items():
        folder = tmp_path / f"bids_qcm-{name}"
        folder.mkdir()
        (folder / "code.nbc").touch()
        os.utime(folder, (today - age * day,) * 2)
    (tmp_path / "of another program").mkdir()
    os.utime(tmp_path / "of another program", (0, 0))
    code_cache.prepare_folder(str(tmp_path / "bids_qcm-b"))
    assert len(list(tmp_path.iterdir())) == 7
    code_cache.prepare_folder(str(tmp_path / "bids_qcm-new"))
    left = {path.name.removeprefix("bids_qcm-") for path in tmp_path.iterdir()}
    assert left == {"new", "b", "c", "d", "e", "of another program"}


def test_folders_used_today_are_kept(tmp_path):
    names = [f"bids_qcm-{number}" for number in range(8)]
    for name in names:
        code_cache.prepare_folder(str(tmp_path / name))
    assert sorted(path.name for path in tmp_path.iterdir()) == names
