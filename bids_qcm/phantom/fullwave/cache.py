"""Cache of solved fields on disk. The file name contains a hash of all inputs of the solver."""

import hashlib
import logging
import os
import zipfile
from dataclasses import astuple
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
from numpy.typing import NDArray

from bids_qcm.phantom.fullwave import fields
from bids_qcm.phantom.fullwave.fields import ARRAY, COIL, WEIGHTS_RESOLUTION, CircularFields
from bids_qcm.phantom.fullwave.scattering import TOLERANCE
from bids_qcm.phantom.grids import IsotropicGrid
from bids_qcm.phantom.parameters import ReceiveCoil

_LOGGER = logging.getLogger(__name__)

_VERSION = 1
"""Version of the solver. Increase this number whenever the solver changes, so that older files in
the cache are not used."""


def cached_fields(
    permittivity: NDArray[np.complex128],
    grid: IsotropicGrid,
    frequency: float,
    receive: ReceiveCoil = "birdcage",
) -> CircularFields:
    """Load fields from the cache, or compute the fields and store them in the cache.

    Parameters
    ----------
    permittivity, grid, frequency, receive
        See `bids_qcm.phantom.fullwave.fields.solve_fields`.

    Returns
    -------
    CircularFields
        Fields, identical to the last bit with and without the cache.

    Notes
    -----
    The cache folder is `$XDG_CACHE_HOME/bids_qcm`, by default `~/.cache/bids_qcm`. A damaged file
    is replaced. If the folder is not writable, the fields are not stored.
    """
    path = cache_folder() / f"fields-{_key(permittivity, grid, frequency, receive)}.npz"
    stored = _read(path, grid.shape)
    if stored is not None:
        return stored
    solved = fields.solve_fields(permittivity, grid, frequency, receive)
    _write(path, solved)
    return solved


def cache_folder() -> Path:
    """Return the cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(home, "bids_qcm")


def _key(
    permittivity: NDArray[np.complex128],
    grid: IsotropicGrid,
    frequency: float,
    receive: ReceiveCoil,
) -> str:
    # The position of the head does not affect the fields, because the coil is centred on the head.
    determining: list[object] = [_VERSION, TOLERANCE, astuple(COIL)]
    determining += [grid.resolution, frequency, grid.shape]
    if receive == "array":
        determining += [astuple(ARRAY), WEIGHTS_RESOLUTION]
    digest = hashlib.sha256(repr(tuple(determining)).encode())
    digest.update(np.ascontiguousarray(permittivity, np.complex128).data)
    return digest.hexdigest()[:32]


def _read(path: Path, shape: tuple[int, int, int]) -> CircularFields | None:
    """Return the fields from a file, or None if the file is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = CircularFields(*(stored[name] for name in CircularFields._fields))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        _LOGGER.info("%s cannot be read, so the fields are computed again: %s", path, error)
        return None
    whole = all(each.shape == shape and each.dtype == np.complex64 for each in found)
    return found if whole else None


def _write(path: Path, solved: CircularFields) -> None:
    """Store fields atomically, if the folder is writable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, suffix=".npz", delete=False) as file:
            temporary = Path(file.name)
            try:
                np.savez(file, **solved._asdict())
                file.close()
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        _LOGGER.info("cannot store %s: %s", path, error)
