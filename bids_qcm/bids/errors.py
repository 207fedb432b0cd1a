"""Errors about the input and output files, with a remedy in each message."""

from pathlib import Path


class InputError(Exception):
    """An error in the input that the user can correct.

    Parameters
    ----------
    where : path or str
        File, folder or option with the problem.
    problem : str
        Problem, as a phrase whose subject is `where`.
    remedy : str
        Action that solves the problem, in the imperative.
    """

    def __init__(self, where: Path | str, problem: str, remedy: str) -> None:
        # Exceptions are pickled with their args, so all three arguments are needed to pass the
        # error between processes.
        super().__init__(where, problem, remedy)
        self.where = where

    def __str__(self) -> str:
        """Return the message on one line; spaces replace line breaks in library messages."""
        where, problem, remedy = self.args
        return f"{where}: {' '.join(problem.splitlines())}. Remedy: {remedy}"


class DatasetError(InputError):
    """The folder is not a valid BIDS dataset."""


class SelectionError(InputError):
    """The labels or filters select nothing."""


class NoInputError(InputError):
    """The input has no data to compute from."""


class OutputError(InputError):
    """The output cannot be written to the requested folder."""
