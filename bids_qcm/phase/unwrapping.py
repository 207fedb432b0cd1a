"""Spatial unwrapping."""

import numpy as np
from numpy.typing import NDArray
from skimage.restoration import unwrap_phase


def unwrap(phase: NDArray[np.floating], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Unwrap a phase by adding whole cycles, along paths of best reliability.

    Parameters
    ----------
    phase : ndarray of float, shape (X, Y, Z)
        Wrapped, in rad.
    mask : ndarray of bool, shape (X, Y, Z)
        Where to unwrap.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        In rad, 0 outside the mask; its median over the mask is within one cycle around 0.

    Notes
    -----
    The method is that of Abdul-Rahman H et al., Appl Opt 2007, doi:10.1364/AO.46.006623. Unlike
    Laplacian unwrapping it changes the phase by whole cycles only, so that the Laplacian of the
    result is the phase's own.
    """
    hidden = np.ma.masked_array(phase, ~mask)
    # a volume of one slice is an image to the library; the fixed seed makes runs repeatable
    unwrapped = unwrap_phase(np.ma.squeeze(hidden), rng=0)
    filled = np.ma.filled(unwrapped, 0).reshape(phase.shape)
    return np.where(mask, centred(filled, mask), 0).astype(np.float32)


def centred(phase: NDArray[np.floating], mask: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Shift a phase by whole cycles so that its median over the mask is within -pi..pi."""
    return phase - 2 * np.pi * np.round(np.median(phase[mask]) / (2 * np.pi))


def wrap(phase: NDArray[np.floating]) -> NDArray[np.floating]:
    """Bring a phase to -pi..pi by whole cycles."""
    return phase - 2 * np.pi * np.round(phase / (2 * np.pi))
