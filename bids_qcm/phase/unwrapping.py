"""Spatial unwrapping."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.restoration import unwrap_phase


def unwrap(phase: NDArray[np.floating], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Unwrap a phase by adding whole cycles, along paths of best reliability.

    Parameters
    ----------
    phase : ndarray of float, shape (X, Y, Z)
        Wrapped, in rad, finite inside the mask; at most one axis of length 1.
    mask : ndarray of bool, shape (X, Y, Z)
        Where to unwrap; not empty.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        In rad, 0 outside the mask; its median over the mask is within half a cycle of 0.

    Notes
    -----
    The method is that of Abdul-Rahman H et al., Appl Opt 2007, doi:10.1364/AO.46.006623. Unlike
    Laplacian unwrapping it changes the phase by whole cycles only, so that the Laplacian of the
    result is the phase's own. Parts of the mask that do not touch are brought to the cycle of
    the largest one.
    """
    # the library's working memory is some hundred bytes per voxel, hidden or not
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    # a hidden NaN would send the library into an endless loop
    hidden = np.ma.masked_array(np.where(mask[box], phase[box], 0), ~mask[box])
    # a volume of one slice is an image to the library; the fixed seed makes runs repeatable
    unwrapped = unwrap_phase(np.ma.squeeze(hidden), rng=0)
    result = np.zeros(phase.shape, dtype=np.float32)
    filled = np.ma.filled(unwrapped, 0).reshape(hidden.shape)
    result[box] = np.where(mask[box], _joined(filled, mask[box]), 0)
    return np.where(mask, centred(result, mask), 0)


def centred(phase: NDArray[np.floating], mask: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Shift a phase by whole cycles so that its median over the mask is within -pi..pi."""
    return phase - 2 * np.pi * np.round(np.median(phase[mask]) / (2 * np.pi))


def wrap(phase: NDArray[np.floating]) -> NDArray[np.floating]:
    """Bring a phase to -pi..pi by whole cycles."""
    return phase - 2 * np.pi * np.round(phase / (2 * np.pi))


def _joined(phase: NDArray[np.floating], mask: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Shift each part of the mask by whole cycles to fit the largest part across the gap.

    Unwrapping leaves parts that do not touch on cycles of their own, and a kernel that reaches
    over the gap would see the step.
    """
    parts, n_parts = ndimage.label(mask)
    if n_parts == 1:
        return phase
    largest = parts == np.bincount(parts[mask]).argmax()
    distance, nearest = ndimage.distance_transform_edt(~largest, return_indices=True)
    step = phase - phase[tuple(nearest)]
    numbers = np.arange(1, n_parts + 1)
    gap = np.append(0, ndimage.minimum(distance, parts, numbers))
    # one pair of voxels could be noise, and far ones differ by the phase's own slope
    close = mask & (distance <= gap[parts] + 1)
    cycles = np.round(ndimage.median(step[close], parts[close], numbers) / (2 * np.pi))
    return phase - 2 * np.pi * np.append(0, cycles)[parts]
