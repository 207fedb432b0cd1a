"""Spatial phase unwrapping."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.restoration import unwrap_phase


def unwrap(phase: NDArray[np.floating], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Unwrap a phase image along the most reliable paths by adding whole cycles.

    Parameters
    ----------
    phase : ndarray of float, shape (X, Y, Z)
        Wrapped phase in rad; finite inside the mask. At most one axis may have length 1.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels to unwrap; not empty.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        Unwrapped phase in rad; 0 outside the mask. The median over the mask is within half a cycle
        of 0.

    Notes
    -----
    The method is reliability-guided unwrapping (Abdul-Rahman H et al., Appl Opt 2007,
    doi:10.1364/AO.46.006623). Unlike Laplacian unwrapping, this method changes the phase only by
    whole cycles, so that the Laplacian of the true phase is preserved. Disconnected parts of the
    mask are shifted by whole cycles to match the largest part.
    """
    # crop to the mask, because skimage needs about 100 bytes for each voxel, even outside the mask
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    # replace NaN outside the mask, because a masked NaN causes an endless loop in skimage
    hidden = np.ma.masked_array(np.where(mask[box], phase[box], 0), ~mask[box])
    # skimage expects a 2-D array for a single slice; the fixed seed makes the result reproducible
    unwrapped = unwrap_phase(np.ma.squeeze(hidden), rng=0)
    result = np.zeros(phase.shape, dtype=np.float32)
    filled = np.ma.filled(unwrapped, 0).reshape(hidden.shape)
    result[box] = np.where(mask[box], _align_parts(filled, mask[box]), 0)
    return np.where(mask, centred(result, mask), 0)


def centred(phase: NDArray[np.floating], mask: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Shift a phase by whole cycles so that its median over the mask is between -pi and pi."""
    return phase - 2 * np.pi * np.round(np.median(phase[mask]) / (2 * np.pi))


def wrap(phase: NDArray[np.floating]) -> NDArray[np.floating]:
    """Wrap a phase to the range from -pi to pi."""
    return phase - 2 * np.pi * np.round(phase / (2 * np.pi))


def _align_parts(phase: NDArray[np.floating], mask: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Shift each disconnected part of the mask by whole cycles to match the largest part.

    Unwrapping leaves an arbitrary number of cycles between disconnected parts. A kernel that
    extends across the gap would contain this phase step.
    """
    parts, n_parts = ndimage.label(mask)
    if n_parts == 1:
        return phase
    largest = parts == np.bincount(parts[mask]).argmax()
    distance, nearest = ndimage.distance_transform_edt(~largest, return_indices=True)
    step = phase - phase[tuple(nearest)]
    numbers = np.arange(1, n_parts + 1)
    gap = np.append(0, ndimage.minimum(distance, parts, numbers))
    # Compare several voxels, because a single pair may be noisy. Compare only voxels near the gap,
    # because distant voxels differ by the slope of the phase.
    close = mask & (distance <= gap[parts] + 1)
    cycles = np.round(ndimage.median(step[close], parts[close], numbers) / (2 * np.pi))
    return phase - 2 * np.pi * np.append(0, cycles)[parts]
