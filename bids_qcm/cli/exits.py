"""Exit statuses, and the argument parser that keeps to them."""

import argparse
import sys
from enum import IntEnum
from typing import NoReturn


class ExitStatus(IntEnum):
    """What a command's exit status means.

    Those above 1 are of the BIDS Apps execution specification, which has most from sysexits.h.
    """

    DONE = 0
    SOME_FAILED = 1
    DATASET_INVALID = 16
    NOTHING_SELECTED = 18
    USAGE = 64
    BAD_DATA = 65
    NO_INPUT = 66
    INTERNAL = 70
    CANNOT_WRITE = 73
    INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """An argument parser that exits with status 64 where argparse has 2."""

    def error(self, message: str) -> NoReturn:
        """Show usage and message, and exit."""
        self.print_usage(sys.stderr)
        self.exit(ExitStatus.USAGE, f"{self.prog}: error: {message}\n")
