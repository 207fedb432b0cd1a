"""Checks that the echoes of an acquisition are consistent."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_qcm.checks.findings import Finding
from bids_qcm.phase.curvature import median_curvature
from bids_qcm.phase.echo_selection import misfit_limit

LARGEST_MISFIT = 0.1
"""Maximum deviation of an echo from the linear fit over echo time, in rad. A deviation that is
larger and is not caused by noise raises an error."""

LARGEST_GROWTH = 1.02
"""Maximum ratio of the median magnitude of an echo to the median magnitude of the previous echo.
The magnitude should decay with T2*."""

CURVATURE_RANGE = (0.7, 1.4)
"""Accepted range of an echo's median Laplacian, relative to the typical value over all echoes. The
ratio is 0.5 if the phase was halved, 2 if the phase was doubled, and 0.95 to 1.15 in heads."""

_STANDARD_ERRORS = 5


def check_misfit(
    misfit: Sequence[float], of_noise: Sequence[float], echo_times: Sequence[float]
) -> list[Finding]:
    """Check that the phase of all echoes is linear in echo time.

    Parameters
    ----------
    misfit : sequence of float
        Deviation of each echo from the linear fit over echo time, in rad.
    of_noise : sequence of float
        Deviation of each echo in rad that is expected from noise.
    echo_times : sequence of float
        Echo times in s, for the message.

    Returns
    -------
    list of Finding
        One finding for the echo with the largest ratio of its misfit to its limit. Among three
        echoes with the same limit, this is always the middle echo, no matter which echo is wrong.
        The limit is :func:`bids_qcm.phase.echo_selection.misfit_limit`.
    """
    limits = [misfit_limit(expected) for expected in of_noise]
    worst = int(np.argmax(np.divide(misfit, limits)))
    if misfit[worst] <= limits[worst]:
        return []
    listed = ", ".join(
        f"{1e3 * time:.4g} ms: {one:.3f}" for time, one in zip(echo_times, misfit, strict=True)
    )
    worst_time = 1e3 * echo_times[worst]
    return [
        Finding(
            worst,
            1,
            "is inconsistent with the other echoes, because the phase is not linear in echo time: "
            f"misfit in rad {listed} (limit for {worst_time:.4g} ms: {limits[worst]:.2g})",
            "check EchoTime in the sidecars, and check that all echoes belong to one acquisition "
            "and have the same sign and unit; or exclude echoes with --echoes",
            fatal=misfit[worst] > max(LARGEST_MISFIT, limits[worst]),
        )
    ]


def check_decay(
    magnitudes: Sequence[NDArray[np.floating]],
    echo_times: Sequence[float],
    mask: NDArray[np.bool_],
) -> list[Finding]:
    """Check that the magnitude does not grow with echo time.

    Parameters
    ----------
    magnitudes : sequence of ndarray of float, shape (X, Y, Z)
    echo_times : sequence of float
        Echo times in s.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels with signal.

    Returns
    -------
    list of Finding
    """
    order = np.argsort(echo_times)
    levels = [float(np.median(magnitudes[k][mask])) for k in order]
    for number in range(1, len(order)):
        if levels[number] > LARGEST_GROWTH * levels[number - 1]:
            growth = levels[number] / levels[number - 1] - 1
            return [
                Finding(
                    int(order[number]),
                    0,
                    f"is {growth:.0%} brighter than the previous echo at "
                    f"{1e3 * echo_times[order[number - 1]]:.4g} ms: the magnitude should decay "
                    "with echo time, so echoes or echo times may have been swapped, or the "
                    "magnitudes were scaled differently",
                    "check EchoTime in the sidecars, and the scaling of the magnitudes",
                    fatal=False,
                )
            ]
    return []


def check_curvature(
    echoes: Sequence[NDArray[np.complexfloating]],
    mask: NDArray[np.bool_],
    voxel_size: Sequence[float],
) -> list[Finding]:
    """Check that the phases of all echoes have the same curvature.

    Parameters
    ----------
    echoes : sequence of ndarray of complex, shape (X, Y, Z)
        At least two.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels with signal.
    voxel_size : sequence of 3 floats
        Voxel size in mm.

    Returns
    -------
    list of Finding
        One finding for the echo that differs most from the typical curvature. With two echoes, this
        is the second echo.

    Notes
    -----
    A line always fits two echoes exactly, so their misfit contains no information. This check uses
    their Laplacians instead. Off-resonance is a harmonic function where the susceptibility is
    constant, so its Laplacian is zero there. Therefore, the median Laplacian depends only on the
    conductivity and is the same in every echo.
    """
    found = [median_curvature(echo, mask, voxel_size) for echo in echoes]
    curvatures = [one for one in found if one is not None]
    if len(curvatures) < len(echoes):
        return []
    laplacians = np.array([one.laplacian for one in curvatures])
    typical = laplacians[0] if len(echoes) == 2 else float(np.median(laplacians))
    *_, second, largest = sorted(one.standard_error for one in curvatures)
    error = float(np.hypot(second, largest))
    ratios = laplacians / (typical or np.inf)
    low, high = CURVATURE_RANGE
    outside = ((ratios < low) | (ratios > high)) & (
        np.abs(laplacians - typical) > _STANDARD_ERRORS * error
    )
    if not outside.any():
        return []
    worst = int(np.argmax(np.where(outside, np.abs(laplacians - typical), 0)))
    opposite = ratios[worst] < 0
    sign = ", and this echo has the opposite sign" if opposite else ""
    return [
        Finding(
            worst,
            1,
            f"has {ratios[worst]:.2f} times the phase curvature of the other echoes (median "
            f"Laplacian {laplacians[worst]:.0f} and {typical:.0f} rad/m^2), but all echoes of an "
            f"acquisition have the same curvature{sign}",
            "check that all echoes belong to one acquisition and have the same sign and unit",
            fatal=bool(opposite),
        )
    ]
