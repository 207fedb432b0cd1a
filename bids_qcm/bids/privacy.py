"""Remove local paths from text that is written to the derivative dataset."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_qcm.settings import Settings

# The folders in an absolute path, up to the last slash. A URL does not match.
_FOLDERS = re.compile(r"(?<![\w:/.])/(?:[^/\s'\"<>]+/)+(?=[^/\s])")


def known_places(settings: Settings, datasets: Mapping[str, Path]) -> dict[str, str]:
    """Return the replacement in messages for each folder of a run.

    Parameters
    ----------
    settings : Settings
    datasets : mapping of str to Path
        Source datasets by their name in BIDS URIs.

    Returns
    -------
    dict of str to str
        Replacements, keyed by folder: BIDS URIs for the datasets, ``OUTPUT_DIR/`` and
        ``WORK_DIR/``.
    """
    files = (
        settings.label_table,
        settings.plugin_file,
        *(path for atlas in settings.atlases for path in (atlas.path, atlas.table)),
    )
    given = [path.parent for path in files if path]
    return {
        **{str(folder.resolve()): "" for folder in given},
        str(settings.work_dir): "WORK_DIR/",
        str(settings.output_dir): "OUTPUT_DIR/",
        **{str(path): f"bids:{name}:" for name, path in datasets.items()},
    }


def without_paths(text: str, places: Mapping[str, str]) -> str:
    """Replace the absolute paths in a text, because they may contain names of users and machines.

    Parameters
    ----------
    text : str
    places : mapping of str to str
        Replacements, keyed by folder, as in :func:`known_places`. A path in another folder is
        shortened to its file name.

    Returns
    -------
    str

    Examples
    --------
    >>> without_paths("/home/a/raw/sub-01/x.nii and /tmp/b/y", {"/home/a/raw": "bids:raw:"})
    'bids:raw:sub-01/x.nii and y'
    """
    # A dataset may lie inside another folder, so the longest path is replaced first.
    for folder in sorted(places, key=len, reverse=True):
        # escape backslashes, because re.sub interprets them in a replacement
        place = places[folder].replace("\\", r"\\")
        text = re.sub(rf"{re.escape(folder)}(?:/|(?![\w.-]))", place, text)
    return _FOLDERS.sub("", text)


def anonymous(content: Any, places: Mapping[str, str]) -> Any:  # noqa: ANN401
    """Return JSON content with :func:`without_paths` applied to every string."""
    if isinstance(content, str):
        return without_paths(content, places)
    if isinstance(content, Mapping):
        return {key: anonymous(value, places) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [anonymous(value, places) for value in content]
    return content


def shared_command(program: str, argv: Sequence[str], places: Mapping[Path, str]) -> str:
    """Return a command line whose paths are replaced by the names of their arguments.

    Parameters
    ----------
    program : str
    argv : sequence of str
    places : mapping of Path to str
        Replacements, keyed by path as the user wrote it. Any other path is shortened to
        its file name.

    Returns
    -------
    str

    Examples
    --------
    >>> shared_command("bids-qcm", ["/d/raw", "--mask=a/b"], {Path("/d/raw"): "BIDS_DIR"})
    'bids-qcm BIDS_DIR --mask=b'
    """
    words = [program]
    for argument in argv:
        head, equals, value = argument.rpartition("=")
        name = places.get(Path(value))
        if name is None:
            # a short option may be joined with its value, as in -w/path
            letter = value[:2] if re.match(r"-\w/", value) else ""
            name = letter + (Path(value).name if "/" in value else value)
        words.append(head + equals + name)
    return shlex.join(words)
