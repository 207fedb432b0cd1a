"""Entry point of the installed command ``bids-qcm``."""

import gc
import os
import sys
from pathlib import Path

from bids_qcm import __version__
from bids_qcm.bids.errors import InputError
from bids_qcm.cli.exits import status_of
from bids_qcm.cli.limits import check_limits


def main() -> int:
    """Run the command, with a fast path for ``bids-qcm --version``.

    Wrappers and schedulers often query the version, and importing the numerical libraries takes one
    or two seconds.

    Returns
    -------
    int
        An :class:`~bids_qcm.cli.exits.ExitStatus`.
    """
    if sys.argv[1:] == ["--version"]:
        print(f"bids-qcm {__version__}")
        return 0
    _ensure_home()
    try:
        check_limits()
    except InputError as error:
        print(error, file=sys.stderr)
        return status_of(error)
    from bids_qcm.cli.parser import parse_settings

    settings, verbosity = parse_settings()
    # the parser exits on --help and on usage errors, so import the numerical libraries after it
    from bids_qcm.cli.run import run_command

    status = run_command(settings, verbosity)
    # Python would examine all objects of the libraries before it exits, which takes 0.3 s
    gc.freeze()
    return status


def _ensure_home() -> None:
    """Set ``HOME`` to ``/``, as container engines do, if the user has no home directory.

    pybids cannot be imported without a home directory. Nothing is written to it.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/"
