"""Phase as vendors store it."""

import math
from typing import NamedTuple

import numpy as np

from bids_qcm.phantom.parameters import PHASE_SCALINGS, PhaseScaling

_LEVELS = 4096
"""Grey levels of 12-bit phase."""

UNITS_PER_CYCLE = {"unsigned12": "4096", "siemens": "8192", "milliradian": "mrad"}
"""What ``--phase-units`` takes for the scalings that a sidecar cannot name."""


class StoredPhase(NamedTuple):
    """Phase as a file holds it: `slope * stored + inter` is the value that a reader sees.

    Parameters
    ----------
    stored
        Shape of the phase; float32, uint16 or int16.
    slope, inter
        Scale factors of the file's header.
    units
        What the sidecar can call the value that a reader sees; None for a vendor's own unit.
    """

    stored: np.ndarray
    slope: float
    inter: float
    units: str | None


def scale_phase(phase_rad: np.ndarray, scaling: PhaseScaling) -> StoredPhase:
    """Store phase in a vendor's way.

    Parameters
    ----------
    phase_rad
        Phase, any shape, rad. Vendor scalings wrap it; `rad` keeps it as it is.
    scaling
        - `rad`: float32 radians.
        - `unsigned12`: integers 0..4095, and 4096 would be 2 pi; 0 is 0 rad.
        - `siemens`: integers 0..4095 with slope 2 and intercept -4096, so -4096..4094, and 8192
          would be 2 pi.
        - `milliradian`: integers -3142..3142.

    Returns
    -------
    StoredPhase
        The stored array, its scale factors and its unit.

    Raises
    ------
    ValueError
        `scaling` is none of these.
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
    """Return phase as uint16 levels 0..4095 of the circle, 0 rad being level 0."""
    levels = np.rint(phase_rad * (_LEVELS / (2 * math.pi))).astype(np.int64)
    # After rounding: what rounds up to 2 pi is level 0, not level 4096.
    return np.remainder(levels, _LEVELS).astype(np.uint16)
