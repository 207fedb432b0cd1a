"""The installed command `bids-qcm`."""

import os
import sys
from pathlib import Path

from bids_qcm import __version__


def main() -> int:
    """Run the command; the bare question for the version is answered at once.

    Wrappers and schedulers ask it often, and what computes takes a second or two to import.

    Returns
    -------
    int
        An :class:`~bids_qcm.cli.exits.ExitStatus`.
    """
    if sys.argv[1:] == ["--version"]:
        print(f"bids-qcm {__version__}")
        return 0
    _settle_home()
    from bids_qcm.cli.parser import parse_settings

    settings, verbosity = parse_settings()
    # the libraries that compute are imported after help and usage errors have ended the process
    from bids_qcm.cli.run import run_command

    return run_command(settings, verbosity)


def _settle_home() -> None:
    """Give a user without a home, whom the system does not know, the one container engines give.

    pybids cannot be imported without one. Nothing is written there.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/"
