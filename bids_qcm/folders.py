"""Folders of cached results that only the current user can write.

The caches contain pickles and machine code, so any user who can write to them can run code.
"""

import os
import pwd
import stat
from pathlib import Path

_OTHERS_CAN_WRITE = stat.S_IWGRP | stat.S_IWOTH


def make_private(folder: Path) -> str:
    """Make a folder with mode 0700, or check that only the current user can write to it.

    An empty folder of the current user is also set to this mode.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    str
        Reason why the folder must not be used, as a phrase whose subject is its path; empty if it
        can be used.

    Raises
    ------
    OSError
        If the folder cannot be created or read.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)  # the umask may have removed further permissions
    except FileExistsError:
        pass
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return "is a link" if stat.S_ISLNK(status.st_mode) else "is not a folder"
    if status.st_uid != os.geteuid():
        return f"belongs to the user {_user_name(status.st_uid)}"
    if not status.st_mode & _OTHERS_CAN_WRITE:
        return ""
    if not any(folder.iterdir()):
        folder.chmod(0o700)
        # check the folder again, because another user may have added a file, or the file system may
        # ignore modes
        if not any(folder.iterdir()) and not folder.lstat().st_mode & _OTHERS_CAN_WRITE:
            return ""
    return "can be written by other users"


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
