"""Storage formats that scanner vendors use for the phase."""

import math
from typing import NamedTuple

import numpy as np

from bids_qcm.phantom.parameters import PHASE_SCALINGS, PhaseScaling

_LEVELS = 4096
"""Number of levels of a 12-bit phase image."""

UNITS_PER_CYCLE = {"unsigned12": "4096", "siemens": "8192", "milliradian": "mrad"}
"""Values of ``--phase-units`` for scalings that ``Units`` in the sidecar cannot describe."""


class StoredPhase(NamedTuple):
    """Phase in a storage format: image readers return `slope * stored + inter`.

    Parameters
    ----------
    stored
        Stored values with the shape of the phase; float32, uint16 or int16.
    slope, inter
        Scale factors in the header (``scl_slope`` and ``scl_inter``).
    units
        Unit of the scaled values for the sidecar; None for a vendor-specific unit.
    """

    stored: np.ndarray
    slope: float
    inter: float
    units: str | None


def scale_phase(phase_rad: np.ndarray, scaling: PhaseScaling) -> StoredPhase:
    """Convert a phase to a storage format.

    Parameters
    ----------
    phase_rad
        Phase in rad, any shape. `rad` leaves the phase unchanged; the other formats wrap it.
    scaling
        - `rad`: float32 radians.
        - `unsigned12`: integers from 0 to 4095. 0 is 0 rad, and 4096 corresponds to 2 pi.
        - `siemens`: integers from 0 to 4095 with slope 2 and intercept -4096. The scaled values are
          from -4096 to 4094, and a difference of 8192 corresponds to 2 pi.
        - `milliradian`: integers from -3142 to 3142.

    Returns
    -------
    StoredPhase
        Stored array, scale factors and unit.

    Raises
    ------
    ValueError
        If `scaling` is not one of these formats.
    """
    if scaling == "rad":
        return StoredPhase(phase_rad.astype(np.float32), 1.0, 0.0, "rad")
    if scaling == "unsigned12":
        return StoredPhase(_to_levels(phase_rad), 1.0, 0.0, None)
    if scaling == "siemens":
        return StoredPhase(_to_levels(phase_rad + math.pi), 2.0, -float(_LEVELS), None)
    if scaling == "milliradian":
        wrapped = np.remainder(phase_rad + math.pi, 2 * math.pi) - math.pi
        return StoredPhase(np.rint(wrapped * 1000).astype(np.int16), 1.0, 0.0, None)
    raise ValueError(f"phase scaling must be one of {', '.join(PHASE_SCALINGS)}, not {scaling!r}")


def _to_levels(phase_rad: np.ndarray) -> np.ndarray:
    """Return the phase as uint16 levels from 0 to 4095 of one cycle; 0 rad is level 0."""
    levels = np.rint(phase_rad * (_LEVELS / (2 * math.pi))).astype(np.int64)
    # Wrap after rounding, because a phase that rounds up to 2 pi is level 0, not level 4096.
    return np.remainder(levels, _LEVELS).astype(np.uint16)
