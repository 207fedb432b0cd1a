"""Exit statuses, and the argument parser that keeps to them."""

import argparse
import sys
from enum import IntEnum
from pathlib import Path
from typing import NoReturn

from bids_qcm.bids.errors import DatasetError, InputError, NoInputError, OutputError, SelectionError


class ExitStatus(IntEnum):
    """What a command's exit status means.

    Those above 2 are of the BIDS Apps execution specification, which has most from sysexits.h.
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


_OF_ERROR = {
    DatasetError: ExitStatus.DATASET_INVALID,
    SelectionError: ExitStatus.NOTHING_SELECTED,
    NoInputError: ExitStatus.NO_INPUT,
    OutputError: ExitStatus.CANNOT_WRITE,
}


def status_of(error: InputError) -> ExitStatus:
    """Give the exit status for input that cannot be used as a whole."""
    return _OF_ERROR.get(type(error), ExitStatus.BAD_DATA)


def existing_folder(text: str) -> Path:
    """Check that an argument names a folder.

    Raises
    ------
    argparse.ArgumentTypeError
        If it does not.
    """
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return path


class Parser(argparse.ArgumentParser):
    """An argument parser that exits with status 64 where argparse has 2."""

    def error(self, message: str) -> NoReturn:
        """Show usage and message, and exit."""
        self.print_usage(sys.stderr)
        self.exit(ExitStatus.USAGE, f"{self.prog}: error: {message}\n")
