"""What is wrong with the input, in words that help."""

from pathlib import Path


class InputError(Exception):
    """Something about the input that its owner can mend.

    Parameters
    ----------
    where : path or str
        The file or folder that is meant.
    problem : str
        What is wrong with it.
    remedy : str
        What to do.
    """

    def __init__(self, where: Path | str, problem: str, remedy: str) -> None:
        # all three, so that the error can be passed between processes
        super().__init__(where, problem, remedy)
        self.where = where

    def __str__(self) -> str:
        """Give the message in one line, as a log has it; those of libraries may have several."""
        where, problem, remedy = self.args
        return f"{where}: {' '.join(problem.splitlines())}. Remedy: {remedy}"


class DatasetError(InputError):
    """The dataset as a whole is not one."""


class SelectionError(InputError):
    """The filters select nothing."""


class NoInputError(InputError):
    """There is nothing to compute from."""


class OutputError(InputError):
    """The output cannot be written where it was asked for."""
