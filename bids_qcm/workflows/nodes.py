"""Nodes that verify their cached results before they use them."""

import errno
import json
import os
import shutil
from pathlib import Path

from nipype.interfaces.base.support import InterfaceResult
from nipype.pipeline import engine

from bids_qcm.bids.derivatives import write_json
from bids_qcm.bids.errors import OutputError
from bids_qcm.bids.fingerprints import checksum

_CHECKSUMS = "checksums.json"


class Node(engine.Node):
    """nipype node that recomputes its result if a cached file is damaged.

    nipype compares only the inputs with the cache. It would use an output file whose content has
    changed, and it would fail on every run if the pickle of the result could not be read. After
    each run, this node therefore writes the checksums of all files in its folder. At the start of
    the next run, before nipype reads any of these files, the node deletes the folder if a file does
    not match its checksum.
    """

    def run(self, updatehash: bool = False) -> InterfaceResult:
        """Run the interface, or return its cached result if the files are intact.

        Raises
        ------
        OutputError
            If the folder of the node is a link, whose target nipype would delete.
        """
        folder = Path(self.output_dir())
        named = Path(self.base_dir).resolve().joinpath(*self.fullname.split("."))
        if folder != named:
            raise OutputError(
                named,
                f"is a link, or is in a linked folder, and leads to {folder}",
                "delete the link, or choose another --work-dir",
            )
        if folder.exists() and not _is_intact(folder):
            shutil.rmtree(folder)
        result = super().run(updatehash)
        # the checksums still exist if the cached result was used
        if not (folder / _CHECKSUMS).exists():
            write_json(folder / _CHECKSUMS, _checksums(folder))
        return result


def _is_intact(folder: Path) -> bool:
    """Whether the files in a folder match the stored checksums."""
    try:
        return bool(json.loads((folder / _CHECKSUMS).read_bytes()) == _checksums(folder))
    except (OSError, ValueError):
        return False


def _checksums(folder: Path) -> dict[str, str]:
    """Return the checksum of each file in a folder, which must not contain links.

    Raises
    ------
    OSError
        If the folder contains anything other than readable files.
    """
    names = sorted(path.name for path in folder.iterdir() if path.name != _CHECKSUMS)
    return {name: _checksum(folder / name) for name in names}


def _checksum(path: Path) -> str:
    if path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    return checksum(path)
