"""Search folders for data files, and check that their content is present."""

from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from stat import S_ISREG

from bids_qcm.bids.errors import InputError

# git-annex accepts pointer files of up to 32 kB. Git LFS pointers are smaller.
_LARGEST_POINTER = 32768

# Pointers of unlocked git-annex files, and of locked files on a file system without symlinks.
_ANNEX_POINTERS = (b"/annex/objects/", b".git/annex/objects/")
_LFS_POINTER = b"version https://git-lfs.github.com/"


def visible(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield the paths in a folder that match a pattern, except hidden files and folders.

    In ``Path.glob``, ``*`` also matches a leading dot, but hidden files are never data. For
    example, macOS writes a ``._NAME`` file for each file on other file systems. Version control,
    synchronisation tools and interrupted copies also leave hidden files.

    Parameters
    ----------
    folder : Path
        Folder to search, which may itself be hidden.
    pattern : str
        Pattern for ``Path.glob``.

    Yields
    ------
    Path
        In no particular order.
    """
    return (path for path in folder.glob(pattern) if not is_hidden(path, folder))


def is_hidden(path: Path, root: Path) -> bool:
    """Whether a file name, or a folder name between `root` and the file, begins with a dot."""
    if path.parent == root:  # This test is fast and sufficient for most files.
        return path.name.startswith(".")
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def require_content(path: Path) -> None:
    """Check that the content of a file, which git-annex or Git LFS may manage, is present.

    Raises
    ------
    InputError
        If the file is a broken symlink, a pointer file of git-annex or Git LFS, or not a regular
        file. Reading a named pipe, for example, would wait for another process.
    """
    if path.is_symlink() and not path.exists():
        raise InputError(
            path,
            "is a symlink to content that has not been downloaded",
            f"download the content first with `datalad get {quote(str(path))}`",
        )
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise InputError(path, "is not a regular file", "replace it with a file, or remove it")
        if status.st_size > _LARGEST_POINTER:
            return
        with path.open("rb") as file:
            beginning = file.readline(1024)
    except OSError:
        return  # The caller gets the same error when it reads the file.
    if beginning.startswith(_LFS_POINTER):
        raise InputError(
            path,
            "is a Git LFS pointer to content that has not been downloaded",
            f"download the content first with `git lfs pull --include {quote(path.name)}`",
        )
    if any(one in beginning for one in _ANNEX_POINTERS) and beginning[:1] in (b"/", b"."):
        raise InputError(
            path,
            "is a git-annex pointer to content that has not been downloaded",
            f"download the content first with `datalad get {quote(str(path))}`",
        )
