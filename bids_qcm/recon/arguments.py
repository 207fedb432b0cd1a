"""Checks of array arguments that several functions share."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Given = TypeVar("_Given")


def as_volume(volume: ArrayLike, phase: NDArray[Any], name: str) -> NDArray[Any]:
    """Check that a volume has the shape of the phase, and return it as an array.

    Parameters
    ----------
    volume : array_like, shape (X, Y, Z)
    phase : ndarray, shape (X, Y, Z)
    name : str
        Name of the volume in the message.

    Raises
    ------
    ValueError
        If the shapes differ. The message names the volume.
    """
    array = np.asarray(volume)
    if array.shape != phase.shape:
        raise ValueError(f"{name} has shape {array.shape}, but the phase has {phase.shape}")
    return array


def require(value: _Given | None, name: str) -> _Given:
    """Return an optional value that the method needs; raise an error if the value is missing.

    Parameters
    ----------
    value : any
    name : str
        Name of the value in the message.

    Raises
    ------
    ValueError
        If the value is None.
    """
    if value is None:
        raise ValueError(f"the method needs {name}")
    return value
