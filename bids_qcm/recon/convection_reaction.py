"""The convection-reaction equation of the phase, and its derivative by the conductivity."""

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.kernels import Triple
from bids_qcm.recon.multigrid import Multigrid
from bids_qcm.recon.neighbours import at_both_ends, balance, differences, neighbours, through

_TOLERANCE = 1e-6
_DERIVATIVE_TOLERANCE = 1e-2


def inner_voxels(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which voxels of a mask, (X, Y, Z), have all six neighbours in it.

    Examples
    --------
    >>> inner_voxels(np.ones((3, 3, 3), dtype=bool)).sum()
    np.int64(1)
    """
    pairs = []
    for axis in range(3):
        here, there = neighbours(axis)
        pair = np.zeros(inside.shape)
        pair[here] = inside[here] & inside[there]
        pairs.append(pair)
    return at_both_ends(pairs, pairs) == 6


class ConvectionReaction:
    """The phase of a conductivity, ``div(b^2 grad(phi) / kappa) = b^2`` inside the rim of a mask.

    b is |B1+|, constant if it is not given. kappa is ``2 omega mu0 sigma``: where the conductivity
    and b are constant, it is the Laplacian of the phase. The unknowns are log(kappa) in the mask
    and the phase on its rim, the voxels that lack one of their six neighbours.

    Parameters
    ----------
    inside : ndarray of bool, shape (X, Y, Z)
        The mask.
    voxel_size : tuple of 3 floats
        In mm.
    log_kappa : ndarray of float64, shape (X, Y, Z)
        kappa in rad/m^2.
    rim_phase : ndarray of float64, shape (X, Y, Z)
        The phase of the rim in rad. Elsewhere a guess of it.
    b1_squared : ndarray of float64, shape (X, Y, Z), optional
        b^2 in any unit, positive in the mask.

    Attributes
    ----------
    phase : ndarray of float64, shape (X, Y, Z)
        In rad; 0 outside the mask.

    Notes
    -----
    Finite volumes: what flows through the face of two voxels is the harmonic mean of their 1/kappa
    times the difference of their phases. So the phase may have kinks where tissues meet, as the
    equation wants [1]_. The b^2 of a face is the mean of that of its two voxels.

    References
    ----------
    .. [1] Gurler N, Ider YZ. Gradient-based electrical conductivity imaging using MR phase. Magn
       Reson Med 2017. doi:10.1002/mrm.26338
    """

    def __init__(
        self,
        inside: NDArray[np.bool_],
        voxel_size: Triple,
        log_kappa: NDArray[np.float64],
        rim_phase: NDArray[np.float64],
        b1_squared: NDArray[np.float64] | None = None,
    ) -> None:
        kappa = np.where(inside, np.exp(log_kappa), 0)
        self._inner = inner_voxels(inside)
        self._rim = inside & ~self._inner
        self._links, self._by_first, self._by_second = np.zeros((3, 3, *inside.shape))
        for axis, size in enumerate(voxel_size):
            here, there = neighbours(axis)
            pair = inside[here] & inside[there]
            total = np.where(pair, kappa[here] + kappa[there], 1)
            link = np.where(pair, 2 / total / (size * 1e-3) ** 2, 0)
            if b1_squared is not None:
                link *= (b1_squared[here] + b1_squared[there]) / 2
            self._links[axis][here] = link
            # derivatives by the logarithms
            self._by_first[axis][here] = -link * kappa[here] / total
            self._by_second[axis][here] = -link * kappa[there] / total
        self._solver = Multigrid(self._links, self._inner)
        guess = np.where(inside, rim_phase, 0)
        source = -1 if b1_squared is None else -b1_squared
        self.phase = guess + self._solver.solve(source - through(self._links, guess), _TOLERANCE)
        self._steps = differences(self.phase)

    def change(
        self, log_kappa: NDArray[np.float64], rim_phase: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Give the change of the phase, (X, Y, Z), with small ones of log(kappa) and of the rim."""
        fluxes = []
        for axis, step in enumerate(self._steps):
            here, there = neighbours(axis)
            change = self._by_first[axis] * log_kappa
            change[here] += self._by_second[axis][here] * log_kappa[there]
            fluxes.append(change * step)
        rim = np.where(self._rim, rim_phase, 0)
        source = -balance(fluxes) - through(self._links, rim)
        return rim + self._solver.solve(source, _DERIVATIVE_TOLERANCE)

    def adjoint(
        self, phase: NDArray[np.float64], tolerance: float = _DERIVATIVE_TOLERANCE
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Apply the transpose of :meth:`change`, to a volume of the phase."""
        potential = self._solver.solve(phase, tolerance)
        by_link = [-a * b for a, b in zip(differences(potential), self._steps, strict=True)]
        log_kappa = at_both_ends(by_link * self._by_first, by_link * self._by_second)
        return log_kappa, np.where(self._rim, phase - through(self._links, potential), 0)
