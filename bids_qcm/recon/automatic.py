"""Kernels that are as large as the noise asks for."""

import math
from collections.abc import Callable

from bids_qcm.recon.kernels import Kernels
from bids_qcm.recon.laplacian import Volumes, median_std
from bids_qcm.recon.methods import Method

LARGEST_SCALE = 2.0
"""Of the published radii: beyond it a kernel averages whole structures flat."""

# Radii are chosen in steps of 5 %, which change the standard deviation by a sixth.
_STEP = 1.05
_LARGEST_STEP = int(math.log(LARGEST_SCALE) / math.log(_STEP))
_SMALLEST_STEP = -3 * _LARGEST_STEP


def choose_for_noise(
    volumes: Volumes, method: Method, choose: Callable[..., Kernels], target: float
) -> tuple[Kernels, float]:
    """Find the smallest kernels whose noise, in the median voxel, is at most the target.

    Parameters
    ----------
    volumes : Volumes
        With the noise.
    method : Method
    choose : callable
        ``choose(scale=...)`` gives kernels whose automatic radii are so many times the published
        ones, or raises ValueError where they are too small for the voxel grid.
    target : float
        Standard deviation of the Laplacian, in rad/m^2.

    Returns
    -------
    kernels : Kernels
        Twice the published radii at most, even if that does not meet the target.
    predicted : float
        Standard deviation of the Laplacian in the median voxel, in rad/m^2.

    Notes
    -----
    In an unrestricted ball of radius R the standard deviation is ``s sqrt(525 / N) / R^2``, with N
    proportional to R^3: it falls with R^(-7/2), as does that of a surface integral whose radii
    are scaled together. That gives the next radius to try; what is met is the prediction for the
    data's own supports, weights and noise.
    """
    too_small = _SMALLEST_STEP - 1
    while not _exists(choose, too_small + 1):
        too_small += 1
    met = _LARGEST_STEP + 1
    predicted = {}
    step = max(0, too_small + 1)
    while met - too_small > 1:
        std = predicted[step] = median_std(volumes, method, choose(scale=_STEP**step))
        if std <= target:
            met = step
        else:
            # also where nothing is valid, and the prediction NaN
            too_small = step
        ahead = math.log(std / target) * 2 / 7 / math.log(_STEP) if std > 0 else 1.0
        step = min(max(step + math.ceil(ahead), too_small + 1), met - 1)
    step = min(met, _LARGEST_STEP)
    return choose(scale=_STEP**step), predicted[step]


def _exists(choose: Callable[..., Kernels], step: int) -> bool:
    """Tell whether the grid can hold the kernels; those of the largest step must exist."""
    if step >= _LARGEST_STEP:
        choose(scale=_STEP**step)
        return True
    try:
        choose(scale=_STEP**step)
    except ValueError:
        return False
    return True
