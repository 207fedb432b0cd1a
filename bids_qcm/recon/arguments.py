"""Checks of array arguments that several functions share."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def like_phase(volume: ArrayLike, phase: NDArray, name: str) -> NDArray:
    """Return a volume as an array, if it has the shape of the phase.

    Raises
    ------
    ValueError
        If the shapes differ; the message has the volume's name.
    """
    array = np.asarray(volume)
    if array.shape != phase.shape:
        raise ValueError(f"{name} has shape {array.shape}, but the phase has {phase.shape}")
    return array
