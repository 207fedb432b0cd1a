"""The alternating sign of neighbouring slices that General Electric's reconstruction leaves."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def slice_coherence_angle(echoes: Sequence[NDArray[np.complexfloating]]) -> float:
    """Give the angle of the complex coherence between neighbouring slices.

    Parameters
    ----------
    echoes : sequence of complex ndarrays, shape (X, Y, Z)
        Slices are stacked along the last axis.

    Returns
    -------
    float
        In rad, over all pairs of slices and echoes; 0 for a single slice.
    """
    coherence = sum(np.vdot(s[..., :-1], s[..., 1:]) for s in echoes)
    return float(np.angle(coherence))


def slices_alternate(echoes: Sequence[NDArray[np.complexfloating]]) -> bool:
    """Tell whether every second slice has its sign flipped.

    Parameters
    ----------
    echoes : sequence of complex ndarrays, shape (X, Y, Z)
        As in :func:`slice_coherence_angle`.
    """
    return abs(slice_coherence_angle(echoes)) > np.pi / 2


def flip_alternate_slices(
    echo: NDArray[np.complexfloating],
) -> NDArray[np.complexfloating]:
    """Add pi to the phase of every second slice.

    Parameters
    ----------
    echo : ndarray of complex, shape (X, Y, Z)

    Returns
    -------
    ndarray of complex, shape (X, Y, Z)
    """
    signs = np.where(np.arange(echo.shape[-1]) % 2, -1, 1).astype(echo.real.dtype)
    return echo * signs
