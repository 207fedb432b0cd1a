"""Choose kernel radii from the noise."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.forms import form_of
from bids_qcm.recon.kernels import Kernels
from bids_qcm.recon.methods import Method
from bids_qcm.recon.volumes import Volumes

LARGEST_SCALE = 2.0
"""Maximum ratio of automatic radii to the published radii.

Larger kernels would average over whole structures.
"""

# Radii are chosen in steps of 5 %. Each step changes the standard deviation by about a sixth.
_STEP = 1.05
_LARGEST_STEP = int(math.log(LARGEST_SCALE) / math.log(_STEP))
_SMALLEST_STEP = -3 * _LARGEST_STEP

# Sample from which the median standard deviation is predicted: number of voxels, and minimum
# spacing of the voxels.
_SAMPLES = 500
_SMALLEST_SPACING = 4


def choose_for_noise(
    volumes: Volumes, method: Method, choose: Callable[..., Kernels], target: float
) -> tuple[Kernels, float]:
    """Find the smallest kernels whose median noise is at most the target.

    Parameters
    ----------
    volumes : Volumes
        Input volumes, including the noise.
    method : Method
        Method whose kernels are chosen.
    choose : callable
        ``choose(scale=...)`` returns kernels whose automatic radii are `scale` times the published
        radii. It raises ValueError if the voxel grid is too coarse for these kernels.
    target : float
        Upper limit of the median standard deviation of the Laplacian, in rad/m^2.

    Returns
    -------
    kernels : Kernels
        The smallest kernels that meet the target, or kernels with twice the published radii if even
        these do not meet the target.
    predicted : float
        Predicted median standard deviation of the Laplacian, in rad/m^2; NaN if the Laplacian
        is invalid in all sampled voxels.

    Raises
    ------
    ValueError
        If the voxel grid is too coarse even for twice the published radii.

    Notes
    -----
    In an unrestricted ball of radius R, the standard deviation is ``s sqrt(525 / N) / R^2``, where
    s is the phase noise and the number of voxels N is proportional to R^3. The standard deviation
    is therefore proportional to R^(-7/2). The same power law holds for a surface integral whose two
    radii are scaled together. The search uses this power law only to select the next radius to try.
    For each radius, the standard deviation is predicted from the actual supports, weights and noise
    and then compared with the target.
    """
    too_small = _SMALLEST_STEP - 1
    while not _fits_grid(choose, too_small + 1):
        too_small += 1
    met = _LARGEST_STEP + 1
    predicted = {}
    step = max(0, too_small + 1)
    while met - too_small > 1:
        std = predicted[step] = _median_std(volumes, method, choose(scale=_STEP**step))
        if std <= target:
            met = step
        else:
            # A NaN prediction (no valid voxel in the sample) also means that the kernels are too
            # small.
            too_small = step
        ahead = math.log(std / target) * 2 / 7 / math.log(_STEP) if std > 0 else 1.0
        step = min(max(step + math.ceil(ahead), too_small + 1), met - 1)
    step = min(met, _LARGEST_STEP)
    return choose(scale=_STEP**step), predicted[step]


def _median_std(volumes: Volumes, method: Method, kernels: Kernels) -> float:
    """Predict the median standard deviation, in rad/m^2, from a sample of voxels.

    The result is NaN if the Laplacian is invalid in all sampled voxels.
    """
    sample = _sample(volumes.support)
    std = form_of(method).std_at(volumes, method, kernels, sample)
    found = std[sample & np.isfinite(std)]
    return float(np.median(found)) if found.size else float("nan")


def _sample(support: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Select voxels of the support on a coarse grid."""
    inside = support != 0
    spacing = max(_SMALLEST_SPACING, round((inside.sum() / _SAMPLES) ** (1 / 3)))
    grid = np.zeros(support.shape, dtype=bool)
    grid[tuple(slice(min(spacing, n) // 2, None, spacing) for n in support.shape)] = True
    return grid & inside if (grid & inside).any() else inside


def _fits_grid(choose: Callable[..., Kernels], step: int) -> bool:
    """Whether the voxel grid is fine enough for the kernels of a step.

    For the last step, the function raises the ValueError instead of returning False, because larger
    kernels are not allowed.
    """
    if step >= _LARGEST_STEP:
        choose(scale=_STEP**step)
        return True
    try:
        choose(scale=_STEP**step)
    except ValueError:
        return False
    return True
