"""Fingerprints of files and values, which show whether a result must be recomputed."""

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from bids_qcm import __version__

# Python stores compiled modules in this folder. They may change although the sources do not.
_COMPILED = "__pycache__"


def fingerprint(*values: object) -> str:
    """Return a hash of values, the version of the app and its source files.

    Parameters
    ----------
    *values
        Values; the output of ``repr`` must contain all relevant content.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    digest = hashlib.blake2b(_sources().encode(), digest_size=16)
    digest.update(repr(values).encode())
    return digest.hexdigest()


def states(paths: Iterable[Path], root: Path) -> list[tuple[str, int, int, int]]:
    """Return the name, the size and the modification times of each file.

    The second time is the time of the inode, because copying programs may restore the first time.

    Parameters
    ----------
    paths : iterable of Path
        Files inside `root`, in any order. Files that do not exist are left out.
    root : Path
        Folder to which the names are relative.

    Returns
    -------
    list of (str, int, int, int)
        Sorted by name, without duplicates; sizes in bytes and times in ns.
    """
    found = []
    for path in sorted(set(paths)):
        try:
            status = path.stat()
        except OSError:
            continue
        name = path.relative_to(root).as_posix()
        found.append((name, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return found


def checksum(path: Path) -> str:
    """Return the BLAKE2b hash of the content of a file, in hexadecimal digits.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, hashlib.blake2b).hexdigest()


@cache
def _sources() -> str:
    """Return the hash of the version and of all source files, tables and templates of the app."""
    digest = hashlib.blake2b(__version__.encode(), digest_size=16)
    for name, file in sorted(_files(files("bids_qcm"), "")):
        content = file.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _files(folder: Traversable, prefix: str) -> Iterable[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        name = f"{prefix}/{entry.name}"
        if entry.is_file():
            yield name, entry
        elif entry.is_dir() and entry.name != _COMPILED:
            yield from _files(entry, name)
