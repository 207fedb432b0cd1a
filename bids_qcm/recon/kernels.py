"""Ellipsoidal kernels on a voxel grid."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Triple = tuple[float, float, float]

_TOLERANCE = 1e-6
"""Tolerance of the ellipsoid inequality, so that a radius of n voxels includes the nth voxel."""

# Maximum plausible radius in voxels. A larger radius is probably in the wrong unit.
_LARGEST_REACH = 100


@dataclass(frozen=True)
class Kernels:
    """Radii and axes of the kernels of one reconstruction.

    Attributes
    ----------
    fit_radius, integral_radius : tuple of 3 floats, or None
        Semi-axes in mm; None if the method has no such kernel.
    axes : tuple of int
        Axes along which the phase is differentiated; two axes for in-plane kernels.
    """

    fit_radius: Triple | None
    integral_radius: Triple | None
    axes: tuple[int, ...]


def as_triple(value: float | Sequence[float], name: str) -> Triple:
    """Return one or three non-negative numbers as a tuple of three floats.

    Parameters
    ----------
    value : float or sequence of floats
    name : str
        Name of the value in the message.

    Raises
    ------
    ValueError
        If there are not exactly one or three numbers, or a number is negative or not finite.

    Examples
    --------
    >>> as_triple(9, "fit radius")
    (9.0, 9.0, 9.0)
    """
    numbers = np.atleast_1d(np.asarray(value, dtype=float))
    if numbers.shape not in ((1,), (3,)):
        raise ValueError(f"{name} is {value!r}, but it must be one or three numbers, in mm")
    if not np.all(np.isfinite(numbers)) or np.any(numbers < 0):
        raise ValueError(f"{name} is {value!r}, but it must be finite and not negative, in mm")
    x, y, z = np.broadcast_to(numbers, 3).tolist()
    return x, y, z


def check_radius(radius: Triple, voxel_size: Triple, name: str) -> None:
    """Check that a kernel reaches the neighbouring voxels.

    Parameters
    ----------
    radius, voxel_size : tuple of 3 floats
        Semi-axes and voxel size in mm. A radius of exactly 0 along one axis makes the kernel
        in-plane.
    name : str
        Name of the radius in the message.

    Raises
    ------
    ValueError
        If a radius reaches less than one voxel or more than 100 voxels.
    """
    for axis, r, d in zip("xyz", radius, voxel_size, strict=True):
        if r > 0 and (d / r) ** 2 > 1 + _TOLERANCE:
            raise ValueError(
                f"{name} {r:g} mm reaches less than one voxel along {axis}, where the voxel size "
                f"is {d:g} mm; use a radius of at least {d:g} mm (or 0 for an in-plane kernel)"
            )
        if r / d > _LARGEST_REACH:
            raise ValueError(
                f"{name} {r:g} mm reaches {r / d:.0f} voxels along {axis}, where the voxel size is "
                f"{d:g} mm; both must be in mm"
            )


def ellipsoid(radius: Triple, voxel_size: Triple) -> NDArray[np.bool_]:
    """Return the voxels of an ellipsoid: all offsets k where ``sum_a (k_a d_a / r_a)^2 <= 1``.

    Parameters
    ----------
    radius, voxel_size : tuple of 3 floats
        Semi-axes r and voxel size d in mm. A radius of 0 makes the kernel one voxel thick.

    Returns
    -------
    ndarray of bool, shape (2 hx + 1, 2 hy + 1, 2 hz + 1)
        The kernel. Its central element is offset 0.

    Examples
    --------
    >>> int(ellipsoid((2, 2, 2), (1, 1, 1)).sum())
    33
    >>> ellipsoid((2, 2, 0), (1, 1, 1)).shape
    (5, 5, 1)
    """
    squares = []
    for r, d in zip(radius, voxel_size, strict=True):
        half = int(r / d * (1 + _TOLERANCE)) if r > 0 else 0
        steps = np.arange(-half, half + 1)
        squares.append((steps * d / r) ** 2 if r > 0 else np.zeros(1))
    x, y, z = np.ix_(*squares)
    return x + y + z <= 1 + _TOLERANCE


def runs(kernel: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the runs of a kernel along the last axis, which is contiguous in memory.

    Parameters
    ----------
    kernel : ndarray of bool, shape (2 hx + 1, 2 hy + 1, 2 hz + 1)
        Kernel without gaps along the last axis, such as an ellipsoid.

    Returns
    -------
    ndarray of int32, shape (n, 4)
        One row (kx, ky, first, last) for each run, which consists of the offsets (kx, ky, first) to
        (kx, ky, last).
    """
    centre = np.array(kernel.shape) // 2
    rows = np.argwhere(kernel.any(axis=2))
    lines = kernel[tuple(rows.T)]
    first = lines.argmax(axis=1) - centre[2]
    last = first + lines.sum(axis=1) - 1
    return np.column_stack([rows - centre[:2], first, last]).astype(np.int32)
