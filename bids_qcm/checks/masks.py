"""Whether a mask holds the signal."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEAST_VOXELS = 125
"""A cube of 5 voxels, the support of one quadratic fit with a radius of two voxels."""

LEAST_COVERAGE = 0.5
"""A mask with more air than signal is of something else, or it is inverted."""

EXPECTED_COVERAGE = 0.9
"""Share of a brain mask with an SNR above 5: 0.97 or more in 3 T heads and phantoms."""


class MaskDoubt(NamedTuple):
    """What is wrong with a mask.

    Attributes
    ----------
    problem, remedy : str
    fatal : bool
        Whether a map in this mask would be wrong.
    """

    problem: str
    remedy: str
    fatal: bool


def check_mask(
    mask: NDArray[np.bool_], signal: NDArray[np.bool_]
) -> tuple[float, MaskDoubt | None]:
    """Check that a mask holds signal, not air, and more than a handful of voxels.

    Parameters
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        Where conductivity is to be computed.
    signal : ndarray of bool, shape (X, Y, Z)
        Voxels with signal.

    Returns
    -------
    coverage : float
        Share of the mask that has signal; 0 for an empty mask.
    doubt : MaskDoubt or None
    """
    n_voxels = np.count_nonzero(mask)
    covered = np.count_nonzero(mask & signal) / max(1, n_voxels)
    if n_voxels < LEAST_VOXELS:
        problem = f"has {n_voxels} voxels in the grid of the phase, too few for any kernel"
        return covered, MaskDoubt(problem, "use a mask of the whole brain", True)
    if covered >= EXPECTED_COVERAGE:
        return covered, None
    problem = f"has signal in {covered:.0%} of its voxels only"
    outside = np.count_nonzero(signal & ~mask) / max(1, np.count_nonzero(~mask))
    if covered < min(LEAST_COVERAGE, outside):
        problem += f", but {outside:.0%} of the voxels outside it have signal: it looks inverted"
    remedy = (
        "use the brain mask of the same participant and session, placed on these images, or give "
        "--mask signal"
    )
    return covered, MaskDoubt(problem, remedy, covered < LEAST_COVERAGE)
