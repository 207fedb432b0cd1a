"""Whether the echoes of an acquisition belong together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_qcm.checks.findings import Finding
from bids_qcm.phase.curvature import median_curvature

LARGEST_MISFIT = 0.1
DOUBTFUL_MISFIT = 0.02
"""In rad, of one echo from the line over echo time. Phantoms have 0.005 or less at an SNR of 16."""

LARGEST_GROWTH = 1.02
"""Of the median magnitude from one echo to a later one: it decays by T2*."""

CURVATURE_RANGE = (0.7, 1.4)
"""Of an echo's median Laplacian relative to the first echo's. Half the phase gives 0.5, twice the
phase gives 2, and heads have 0.95 to 1.15."""

_STANDARD_ERRORS = 5


def check_misfit(misfit: Sequence[float], echo_times: Sequence[float]) -> list[Finding]:
    """Judge by how much echoes depart from the line over echo time.

    Parameters
    ----------
    misfit : sequence of float
        For each echo, in rad.
    echo_times : sequence of float
        In s, for the message.

    Returns
    -------
    list of Finding
        Of the echo with the largest misfit. With three echoes that is the middle one, whichever is
        wrong.
    """
    worst = int(np.argmax(misfit))
    if misfit[worst] <= DOUBTFUL_MISFIT:
        return []
    listed = ", ".join(
        f"{1e3 * time:.4g} ms: {one:.3f}" for time, one in zip(echo_times, misfit, strict=True)
    )
    return [
        Finding(
            worst,
            1,
            "and the other echoes do not lie on a line over echo time: misfit in rad "
            f"{listed} (expected: below {DOUBTFUL_MISFIT:g})",
            "check EchoTime in the sidecars, and that all echoes are of one acquisition with the "
            "same sign and unit",
            fatal=misfit[worst] > LARGEST_MISFIT,
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
        In s.
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
                    f"is {growth:.0%} brighter than the echo before it, at "
                    f"{1e3 * echo_times[order[number - 1]]:.4g} ms: the magnitude decays with "
                    "echo time, so echoes or echo times may have been exchanged",
                    "check EchoTime in the sidecars",
                    fatal=False,
                )
            ]
    return []


def check_curvature(
    echoes: Sequence[NDArray[np.complexfloating]],
    mask: NDArray[np.bool_],
    voxel_size: Sequence[float],
) -> list[Finding]:
    """Check that echoes curve alike.

    Parameters
    ----------
    echoes : sequence of ndarray of complex, shape (X, Y, Z)
        At least two.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels with signal.
    voxel_size : sequence of 3 floats
        In mm.

    Returns
    -------
    list of Finding
        Of the echo that differs most from the typical one. Of two echoes that is the second one.

    Notes
    -----
    Two echoes lie on a line, whatever their phase, so that their misfit says nothing. But
    off-resonance is a harmonic function where the susceptibility is constant: it adds nothing to
    the Laplacian there, so that the median Laplacian is that of the conductivity in every echo.
    """
    found = [median_curvature(echo, mask, voxel_size) for echo in echoes]
    curvatures = [one for one in found if one is not None]
    if len(curvatures) < len(echoes):
        return []
    laplacians = np.array([one.laplacian for one in curvatures])
    typical = laplacians[0] if len(echoes) == 2 else float(np.median(laplacians))
    error = float(np.hypot(*sorted(one.standard_error for one in curvatures)[-2:]))
    ratios = laplacians / (typical or np.inf)
    low, high = CURVATURE_RANGE
    outside = ((ratios < low) | (ratios > high)) & (
        np.abs(laplacians - typical) > _STANDARD_ERRORS * error
    )
    if not outside.any():
        return []
    worst = int(np.argmax(np.where(outside, np.abs(laplacians - typical), 0)))
    opposite = ratios[worst] < 0
    return [
        Finding(
            worst,
            1,
            f"curves {ratios[worst]:.2f} times as much as the other echoes (median Laplacian "
            f"{laplacians[worst]:.0f} and {typical:.0f} rad/m^2), but echoes of one acquisition "
            f"curve alike{': it has the opposite sign' if opposite else ''}",
            "check that all echoes are of one acquisition, with the same sign and unit",
            fatal=bool(opposite),
        )
    ]
