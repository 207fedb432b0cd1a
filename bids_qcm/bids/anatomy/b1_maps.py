"""Read measured ``|B1+|`` maps and resample them to the grid of the phase."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_grid, read_values
from bids_qcm.bids.sidecars import is_number, read_sidecar
from bids_qcm.checks.b1 import B1MapError, CheckedB1, DeclaredB1, check_b1, declared_unit
from bids_qcm.grids import Grid
from bids_qcm.recon.b1_smoothing import SMOOTHING_MM
from bids_qcm.segmentation.resampling import PointMap, resample_means


def read_declared(auxiliary: AuxiliaryImage) -> DeclaredB1:
    """Read the unit and the flip angles from the sidecar of a ``|B1+|`` map.

    Parameters
    ----------
    auxiliary : AuxiliaryImage
        Image of kind ``b1``. Its sidecar is optional.

    Returns
    -------
    DeclaredB1

    Raises
    ------
    InputError
        If the sidecar cannot be read, or its ``Units`` is not a unit of ``|B1+|``.
    """
    sidecar = read_sidecar(auxiliary.path, auxiliary.dataset)
    try:
        return DeclaredB1(
            declared_unit(str(sidecar.get("Units") or "")),
            _angle(sidecar, "NominalFlipAngle"),
            _angle(sidecar, "FlipAngle"),
        )
    except B1MapError as error:
        raise InputError(auxiliary.path, error.problem, error.remedy) from error


def import_b1(
    path: Path,
    declared: DeclaredB1,
    grid: Grid,
    point_map: PointMap | None,
    mask: NDArray[np.bool_],
    magnitude: NDArray[np.floating],
    frequency: float,
) -> CheckedB1:
    """Resample a measured ``|B1+|`` map to the grid of the phase, smooth it and check it.

    Parameters
    ----------
    path : Path
        File of the map.
    declared : DeclaredB1
        Unit and flip angles from the sidecar of the map.
    grid : Grid
        Grid of the phase.
    point_map : callable or None
        Maps points from the coordinates of the phase to the coordinates of the map. None if the
        map is on the grid of the phase.
    mask : ndarray of bool, shape of `grid`
        Voxels where ``|B1+|`` is needed.
    magnitude : ndarray of float, shape of `grid`
        Magnitude in any unit, for detecting an anatomical image in place of a ``|B1+|`` map.
    frequency : float
        Larmor frequency in Hz.

    Returns
    -------
    CheckedB1
        The smoothed values are float32 with the shape of `grid`, and 0 far outside the mask.

    Raises
    ------
    InputError
        If the map cannot be read, or its values cannot be ``|B1+|``.
    """
    box = _widened_box(mask, grid)
    values = read_values(path)
    known = np.isfinite(values) & (values > 0)
    volumes = [np.where(known, values, 0), known, np.isfinite(values) & (values < 0)]
    if point_map is not None:
        amount, measured, negative = resample_means(
            volumes, read_grid(path), grid.part(box), point_map
        )
    else:
        amount, measured, negative = (np.asarray(volume[box], np.float32) for volume in volumes)
    b1_map = np.divide(amount, measured, out=np.zeros_like(amount), where=measured > 0)
    try:
        checked = check_b1(
            b1_map,
            measured,
            negative,
            mask[box],
            magnitude[box],
            grid.voxel_size,
            frequency,
            declared,
        )
    except B1MapError as error:
        raise InputError(path, error.problem, error.remedy) from error
    whole = np.zeros(grid.shape, np.float32)
    whole[box] = checked.smooth.values
    return checked._replace(smooth=checked.smooth._replace(values=whole))


def _widened_box(mask: NDArray[np.bool_], grid: Grid) -> tuple[slice, ...]:
    """Return the bounding box of a mask, widened by the reach of the smoothing kernel."""
    (box,) = ndimage.find_objects(mask.view(np.uint8))
    steps = [math.ceil(2 * SMOOTHING_MM / size) for size in grid.voxel_size]
    return tuple(
        slice(max(0, part.start - step), part.stop + step)
        for part, step in zip(box, steps, strict=True)
    )


def _angle(sidecar: Mapping[str, Any], field: str) -> float | None:
    """Return a sidecar field as an angle in degrees; None unless it is one positive number."""
    angle = sidecar.get(field)
    return float(angle) if is_number(angle) and angle > 0 else None
