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
        super().__init__(f"{where}: {problem}. Remedy: {remedy}")
        self.where = where


class DatasetError(InputError):
    """The dataset as a whole is not one."""


class SelectionError(InputError):
    """The filters select nothing."""


class NoInputError(InputError):
    """There is nothing to compute from."""
