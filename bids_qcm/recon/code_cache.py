"""Disk cache of compiled functions, in a folder for each version of the source code.

numba recompiles a cached function when the function's own file changes. The machine code also
contains constants and functions that the file imports from other modules, but numba does not check
these modules for changes. This cache therefore names its folder after a hash of all these sources,
so that machine code from other sources is never loaded.
"""

import hashlib
import os
import shutil
import sys
import time
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from numba.core.caching import CompileResultCacheImpl, FunctionCache

from bids_qcm.folders import make_private

_PREFIX = "bids_qcm-"

# Limits for deleting the cache folders of other source versions: the number of folders to keep, and
# the time in seconds for which a folder is kept after the start of the last process that used it.
_KEPT_FOLDERS = 4
_IN_USE = 24 * 3600


class _Locator:
    """A numba cache locator that uses a subfolder of numba's cache folder."""

    def __init__(self, numbas_own: Any) -> None:  # noqa: ANN401
        self._numbas_own = numbas_own

    def get_cache_path(self) -> str:
        path = os.path.join(self._numbas_own.get_cache_path(), _PREFIX + fingerprint())  # noqa: PTH118
        return prepare_folder(path)

    def ensure_cache_path(self) -> None:
        # numba calls this before each write; the folder may have been deleted since the start
        Path(self.get_cache_path()).mkdir(parents=True, exist_ok=True)

    def get_source_stamp(self) -> str:
        # numba's own stamp contains the modification time, which differs in each checkout
        return fingerprint()

    def get_disambiguator(self) -> str:
        return self._numbas_own.get_disambiguator()


class _CacheImpl(CompileResultCacheImpl):
    @property
    def locator(self) -> _Locator:
        return _Locator(super().locator)


class SourceKeyedCache(FunctionCache):
    """A numba cache with a separate folder for each set of sources and library versions.

    The folder is inside the cache folder that numba chooses: ``NUMBA_CACHE_DIR``, a folder next to
    the module, or the user's cache folder.

    Parameters
    ----------
    function : function
        The function to compile.

    Raises
    ------
    RuntimeError
        If numba finds no writable folder.
    OSError
        If the subfolder is not writable, or if the sources cannot be read.
    """

    _impl_class = _CacheImpl


def compiled_sources() -> list[Traversable]:
    """Return the source files of all compiled functions and of the constants that they may contain.

    These are all modules of this package, and the modules that it may import from other packages.
    The files may be inside a zip archive.
    """
    folders = [files(f"bids_qcm.{package}") for package in ("recon", "recon.forms")]
    shared = [files("bids_qcm") / name for name in ("dispersions.py", "folders.py", "physics.py")]
    return [*(module for folder in folders for module in _modules(folder)), *shared]


def _modules(folder: Traversable) -> list[Traversable]:
    modules = [file for file in folder.iterdir() if file.name.endswith(".py")]
    return sorted(modules, key=lambda file: file.name)


@cache
def fingerprint() -> str:
    """Hash the sources and the versions of Python, numba, llvmlite and NumPy.

    Returns
    -------
    str
        16 hexadecimal digits, computed once per process.

    Raises
    ------
    OSError
        If the installation has no source files.
    """
    digest = hashlib.sha256()
    versions = [version(package) for package in ("numba", "llvmlite", "numpy")]
    digest.update(repr([sys.version, *versions]).encode())
    for file in compiled_sources():
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


@cache
def prepare_folder(path: str) -> str:
    """Make a cache folder, check that it is writable, and mark it as used.

    Machine code is loaded only from folders that no other user can write to. If `path` is another
    user's folder, for example in a shared environment, a second folder is used.

    Parameters
    ----------
    path : str
        Path of the folder.

    Returns
    -------
    str
        Path of the folder that is used.

    Raises
    ------
    OSError
        If other users can write to both folders, or if the folder to use is not writable.
    """
    folder = Path(path)
    is_new = not folder.exists()
    if make_private(folder):
        folder = Path(f"{path}-{os.geteuid()}")
        reason = make_private(folder)
        if reason:
            raise PermissionError(f"{folder} {reason}")
    TemporaryFile(dir=folder).close()
    os.utime(folder)
    if is_new:
        _delete_old_folders(folder)
    return str(folder)


def _delete_old_folders(new: Path) -> None:
    """Delete the folders of other source versions, except the most recently used folders."""
    others = [folder for folder in new.parent.glob(f"{_PREFIX}*") if folder != new]
    others.sort(key=_last_use, reverse=True)
    for folder in others[_KEPT_FOLDERS:]:
        if _last_use(folder) < time.time() - _IN_USE:
            shutil.rmtree(folder, ignore_errors=True)


def _last_use(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        # another process has deleted the folder
        return 0.0
