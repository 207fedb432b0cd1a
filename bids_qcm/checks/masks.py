"""Check of a mask against the voxels with signal."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEAST_VOXELS = 125
"""Minimum number of voxels in a mask: a cube of 5 x 5 x 5 voxels, which is the support of one
quadratic fit with a radius of two voxels."""

LEAST_COVERAGE = 0.5
"""Minimum fraction of a mask that must have signal. A mask with more air than signal belongs to
another image, or it is inverted."""

EXPECTED_COVERAGE = 0.9
"""Expected fraction of a brain mask with an SNR above 5. In 3 T heads and phantoms, the
fraction is 0.97 or more."""


class MaskProblem(NamedTuple):
    """Problem of a mask.

    Attributes
    ----------
    problem : str
        Description of the problem, as a predicate of the file: "has signal in ...".
    remedy : str
        Action that the user can take.
    fatal : bool
        Whether a map computed in this mask would be wrong.
    """

    problem: str
    remedy: str
    fatal: bool


def check_mask(
    mask: NDArray[np.bool_], signal: NDArray[np.bool_]
) -> tuple[float, MaskProblem | None]:
    """Check that a mask contains enough voxels, and that these voxels have signal.

    Parameters
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels in which conductivity is to be computed.
    signal : ndarray of bool, shape (X, Y, Z)
        Voxels with signal.

    Returns
    -------
    coverage : float
        Fraction of the mask that has signal; 0 for an empty mask.
    problem : MaskProblem or None
    """
    n_voxels = int(np.count_nonzero(mask))
    covered = float(np.count_nonzero(mask & signal) / max(1, n_voxels))
    if n_voxels < LEAST_VOXELS:
        problem = f"has {n_voxels} voxels on the grid of the phase, too few for any kernel"
        return covered, MaskProblem(problem, "use a mask of the whole brain", True)
    if covered >= EXPECTED_COVERAGE:
        return covered, None
    problem = f"has signal in only {covered:.0%} of its voxels"
    outside = np.count_nonzero(signal & ~mask) / max(1, int(np.count_nonzero(~mask)))
    if covered < min(LEAST_COVERAGE, outside):
        problem += f", and {outside:.0%} of the other voxels have signal: the mask looks inverted"
    remedy = (
        "use a brain mask of the same participant and session that is aligned with these images, "
        "or use --mask signal"
    )
    return covered, MaskProblem(problem, remedy, covered < LEAST_COVERAGE)
