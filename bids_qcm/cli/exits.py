"""Exit statuses of the commands, and an argument parser that uses them."""

import argparse
import sys
from enum import IntEnum
from pathlib import Path
from typing import NoReturn

from bids_qcm.bids.errors import DatasetError, InputError, NoInputError, OutputError, SelectionError


class ExitStatus(IntEnum):
    """Exit status of a command.

    Statuses above 2 follow the BIDS Apps execution specification, which takes most of its statuses
    from ``sysexits.h``.
    """

    DONE = 0
    SOME_FAILED = 1
    REPORT_FAILED = 2
    DATASET_INVALID = 16
    NOTHING_SELECTED = 18
    USAGE = 64
    BAD_DATA = 65
    NO_INPUT = 66
    INTERNAL = 70
    CANNOT_WRITE = 73
    INTERRUPTED = 130


_STATUS_OF_ERROR = {
    DatasetError: ExitStatus.DATASET_INVALID,
    SelectionError: ExitStatus.NOTHING_SELECTED,
    NoInputError: ExitStatus.NO_INPUT,
    OutputError: ExitStatus.CANNOT_WRITE,
}


def status_of(error: InputError) -> ExitStatus:
    """Return the exit status for an error that stops the whole run."""
    return _STATUS_OF_ERROR.get(type(error), ExitStatus.BAD_DATA)


def existing_folder(text: str) -> Path:
    """Convert an argument to the path of a folder that exists.

    Raises
    ------
    argparse.ArgumentTypeError
        If the argument is not the path of an existing folder.
    """
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a folder")
    return path


class Parser(argparse.ArgumentParser):
    """Argument parser that exits with status 64 on a usage error, where argparse exits with 2."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and an error message, and exit with status 64."""
        self.print_usage(sys.stderr)
        self.exit(ExitStatus.USAGE, f"{self.prog}: error: {message}\n")
