"""Exit statuses of the commands, and an argument parser that uses these statuses."""

import argparse
import difflib
import sys
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, NoReturn

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
    """Argument parser that follows the conventions of BIDS Apps.

    The parser exits with status 64 on a usage error, whereas argparse exits with 2. The words of a
    long option may be separated by underscores instead of dashes. For a wrong choice, the message
    suggests a similar choice.
    """

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse arguments, with dashes in place of underscores in the names of options."""
        args = sys.argv[1:] if args is None else args
        return super().parse_known_args([_with_dashes(one) for one in args], namespace)

    def _check_value(self, action: argparse.Action, value: Any) -> None:  # noqa: ANN401
        """Raise an error with a suggestion if a value is not one of the choices."""
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            similar = difflib.get_close_matches(str(value), map(str, action.choices or ()), n=1)
            error.message += "".join(f"; did you mean {one!r}?" for one in similar)
            raise

    def error(self, message: str) -> NoReturn:
        """Print the usage and an error message, and exit with status 64."""
        self.print_usage(sys.stderr)
        self.exit(ExitStatus.USAGE, f"{self.prog}: error: {message}\n")


def _with_dashes(argument: str) -> str:
    """Replace the underscores in the name of a long option, but not in its value."""
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else argument
