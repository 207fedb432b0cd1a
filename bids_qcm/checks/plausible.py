"""The range of conductivities that tissues have."""

import numpy as np
from numpy.typing import NDArray

PLAUSIBLE = (0.0, 10.0)
"""No tissue has a conductivity outside of this range, S/m."""


def is_implausible(conductivity: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether no tissue has these conductivities (S/m); false where they are not finite."""
    low, high = PLAUSIBLE
    finite = np.isfinite(conductivity)
    return finite & ((conductivity < low) | (conductivity > high))
