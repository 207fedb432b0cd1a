"""Search folders for data files, and check that their content is present."""

from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from bids_qcm.bids.errors import InputError

# git-annex reads pointers of up to 32 kB; LFS ones are smaller
_LARGEST_POINTER = 32768

# unlocked files of git-annex, and locked ones on a file system without links
_ANNEX_POINTERS = (b"/annex/objects/", b".git/annex/objects/")
_LFS_POINTER = b"version https://git-lfs.github.com/"


def visible(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield the paths in a folder that match a pattern, without hidden files and folders.

    ``Path.glob`` lets ``*`` match a leading dot, but such files are never data: macOS writes
    ``._NAME`` beside each file on foreign file systems, and version control, synchronisation and
    interrupted copies leave others.

    Parameters
    ----------
    folder : Path
        Search this folder, which may itself be hidden.
    pattern : str
        Pattern of ``Path.glob``.

    Yields
    ------
    Path
        In no particular order.
    """
    return (path for path in folder.glob(pattern) if not is_hidden(path, folder))


def is_hidden(path: Path, root: Path) -> bool:
    """Whether a file, or a folder between it and `root`, has a name that starts with a dot."""
    if path.parent == root:  # faster, and most are
        return path.name.startswith(".")
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def require_content(path: Path) -> None:
    """Check that a file has its content, which git-annex and Git LFS fetch on demand only.

    Raises
    ------
    InputError
        If the file is a broken link, or a pointer of git-annex or Git LFS.
    """
    if path.is_symlink() and not path.exists():
        raise InputError(
            path,
            "is a link to content that is not here",
            f"get it first, with `datalad get {quote(str(path))}`",
        )
    try:
        if path.stat().st_size > _LARGEST_POINTER:
            return
        with path.open("rb") as file:
            beginning = file.readline(1024)
    except OSError:
        return  # reading the file raises the error
    if beginning.startswith(_LFS_POINTER):
        raise InputError(
            path,
            "is a pointer of Git LFS to content that is not here",
            f"get it first, with `git lfs pull --include {quote(path.name)}`",
        )
    if any(one in beginning for one in _ANNEX_POINTERS) and beginning[:1] in (b"/", b"."):
        raise InputError(
            path,
            "is a pointer of git-annex to content that is not here",
            f"get it first, with `datalad get {quote(str(path))}`",
        )
