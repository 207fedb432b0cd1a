"""Check that the phase is curved at large distances."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.checks.findings import Finding
from bids_qcm.phase.curvature import DISTANCE, median_curvature
from bids_qcm.phase.thinning import thinned
from bids_qcm.physics import PhaseType, conductivity_factor

LEAST_CONDUCTIVITY = 0.15
"""Minimum conductivity that corresponds to the curvature at large distances, in S/m. It is half of
the conductivity of white matter at 1.5 T, the lowest conductivity of brain and muscle tissues."""

_STANDARD_ERRORS = 2

# Number of voxels of the mask above which every second voxel is sufficient, and the least distance
# of a second difference, relative to the distance between the voxels that are used.
_MANY = 1_000_000
_FINENESS = 12

# Distance of a second difference, relative to the largest depth of the mask.
_SHARE_OF_DEPTH = 0.5


def check_flatness(
    phi0: NDArray[np.complexfloating],
    mask: NDArray[np.bool_],
    voxel_size: Sequence[float],
    frequency: float,
    phase_type: PhaseType = "transceive",
) -> list[Finding]:
    """Check that no filter, difference or coil combination has removed the phase of conductivity.

    Parameters
    ----------
    phi0 : ndarray of complex, shape (X, Y, Z)
        Signal whose phase is the phase at echo time zero. The phase of a single gradient echo also
        contains off-resonance, which is harmonic in most of the body and therefore not curved.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels with signal.
    voxel_size : sequence of 3 floats
        Voxel size in mm.
    frequency : float
        Larmor frequency in Hz.
    phase_type : {"transceive", "transmit"}

    Returns
    -------
    list of Finding
        A warning if the conductivity is certainly below `LEAST_CONDUCTIVITY`.

    Notes
    -----
    A high-pass filter does not change fine details, so second differences of neighbouring voxels
    do not show the filter. Second differences over half of the depth of the body do: conductivity
    makes the phase of the whole body a paraboloid, and the filter removes this paraboloid.
    """
    distance = max(DISTANCE, _SHARE_OF_DEPTH * _depth(mask, voxel_size))
    many = np.count_nonzero(mask) > _MANY
    steps = [2 if many and 2 * size * _FINENESS <= distance else 1 for size in voxel_size]
    some = tuple(slice(None, None, step) for step in steps)
    found = median_curvature(phi0[some], mask[some], _spacing(some, voxel_size), distance=distance)
    if found is None:
        return []
    factor = conductivity_factor(frequency, phase_type)
    largest = factor * (abs(found.laplacian) + _STANDARD_ERRORS * found.standard_error)
    if largest >= LEAST_CONDUCTIVITY:
        return []
    return [
        Finding(
            0,
            1,
            f"has a flat phase at distances of {distance:.2g} mm, which corresponds to at most "
            f"{largest:.2g} S/m: unless the object is fat or oil, the phase that contains the "
            "conductivity was removed, for example by a high-pass filter (as in SWI), by the "
            "subtraction of another echo, or by a coil combination such as MCPC-3D-S or ASPIRE",
            "use the unfiltered phase of each echo, or the images of the individual coils "
            "(coil-1, coil-2, ...)",
            fatal=False,
        )
    ]


def _depth(mask: NDArray[np.bool_], voxel_size: Sequence[float]) -> float:
    """Return the largest distance of a voxel from the edge of the mask, in mm."""
    some = thinned(mask.shape)
    padded, spacing = np.pad(mask[some], 1), _spacing(some, voxel_size)
    return float(ndimage.distance_transform_edt(padded, sampling=spacing).max())


def _spacing(some: Sequence[slice], voxel_size: Sequence[float]) -> list[float]:
    """Return the distances of the selected voxels along each axis, in mm."""
    return [size * (part.step or 1) for size, part in zip(voxel_size, some, strict=True)]
