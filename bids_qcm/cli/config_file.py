"""Configuration files: the options of a command in TOML."""

import argparse
import json
import tomllib
from collections.abc import Iterable
from pathlib import Path

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.readers import read_text

# Options that a configuration file cannot contain: they print text, concern the file itself, or
# start other runs.
_EXCLUDED = frozenset({"help", "version", "config-file", "write-slurm"})

_REMEDY = 'write one option per line, such as `method = ["integral-mag"]` or `dry-run = true`'


def read_options(path: Path) -> list[str]:
    r"""Return the options in a configuration file as command-line arguments.

    Parameters
    ----------
    path : Path
        TOML file. The keys are long options without their dashes. The values are strings, numbers,
        lists of these, or, for an option without a value, true or false.

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        If the file cannot be read, is not a TOML file, contains another type of value, or contains
        an option that is only allowed on the command line.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "options.toml")
    ...     _ = path.write_text('method = ["integral", "laplacian"]\nno-uncertainty = true')
    ...     read_options(path)
    ['--method', 'integral', 'laplacian', '--no-uncertainty']
    """
    try:
        content = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise InputError(path, f"is not a TOML file ({error})", _REMEDY) from error
    arguments: list[str] = []
    for key, value in content.items():
        name = key.replace("_", "-")
        if name in _EXCLUDED:
            raise InputError(
                path, f"contains the option {key}", "set this option on the command line"
            )
        arguments += _arguments(path, name, value)
    return arguments


def _arguments(path: Path, name: str, value: object) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}"] if value else []
    if isinstance(value, str | int | float):
        # join option and value in one argument, because the value may start with a dash
        return [f"--{name}={value}"]
    if isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
        return [f"--{name}", *map(str, value)]
    raise InputError(path, f"has a value of the wrong type for {name}", _REMEDY)


def format_options(actions: Iterable[argparse.Action], options: argparse.Namespace) -> str:
    """Return the options that differ from their defaults, as the text of a configuration file.

    Parameters
    ----------
    actions : iterable of argparse.Action
        Options of the parser.
    options : argparse.Namespace
        Parsed options whose values are strings and lists of strings, as the user wrote them.

    Returns
    -------
    str
        One line per option, in the order of `actions`.
    """
    lines = []
    for action in actions:
        name = next((one for one in action.option_strings if one.startswith("--")), "")[2:]
        value = getattr(options, action.dest, action.default)
        if not name or name in _EXCLUDED or value == action.default:
            continue
        # strings, lists of strings, and booleans have the same form in JSON and in TOML
        text = json.dumps(True if action.nargs == 0 else value, ensure_ascii=False)
        lines.append(f"{name} = {text}\n")
    return "".join(lines)
