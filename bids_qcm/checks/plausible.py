"""Plausible range of tissue conductivities."""

import numpy as np
from numpy.typing import NDArray

PLAUSIBLE = (0.0, 10.0)
"""Range of tissue conductivities in S/m."""


def is_implausible(conductivity: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether each conductivity, in S/m, is outside the tissue range; false if it is not finite."""
    low, high = PLAUSIBLE
    finite = np.isfinite(conductivity)
    return finite & ((conductivity < low) | (conductivity > high))
