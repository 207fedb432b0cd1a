"""Checks of array arguments that several functions share."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def like_phase(volume: ArrayLike, phase: NDArray[Any], name: str) -> NDArray[Any]:
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
