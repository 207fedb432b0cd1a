"""The normal equations of an inversion, for the Lagrange multipliers of the phase's equation."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.conjugate_gradients import conjugate_gradients
from bids_qcm.recon.convection_reaction import ConvectionReaction
from bids_qcm.recon.multigrid import Multigrid
from bids_qcm.recon.tissue_prior import TissuePrior

_MAX_ITERATIONS = 100

# Wave number in rad/mm of the details for which the preconditioner is made.
_WAVE_NUMBER = 0.3

# What the prior's precision is there, in mm^-3, for the smoothness 0.8 per mm and 0.03 per mm^3.
_PRIOR_PRECISION = 0.1


class Change(NamedTuple):
    """The solution of a Gauss-Newton step.

    Attributes
    ----------
    log_kappa : ndarray of float32, shape (X, Y, Z)
    multipliers : ndarray of float32, shape (X, Y, Z)
    """

    log_kappa: NDArray[np.float32]
    multipliers: NDArray[np.float32]


class MultiplierSystem:
    """``min (phi - d) . V^-1 (phi - d) / 2 + u . Q u / 2`` subject to the linear equation.

    With ``A phi + b^2 + B u = 0``, where A is ``-div(b^2 grad() / kappa)``, V the variance of the
    phase and Q the precision of u = log(kappa), the minimum is ``phi = d - V A' y``,
    ``u = m - Q^+ B' y``. The multipliers y and the mean m solve ``(A V A' + B Q^+ B') y - m B 1 =
    A d + b^2`` and ``1 . B' y = 0``. Nothing is inverted but Q, which is well conditioned: a step
    needs no solution of the phase's equation.

    Parameters
    ----------
    equation : ConvectionReaction
    variance : ndarray of float64, shape (X, Y, Z)
        V in rad^2, positive in the mask, 0 outside it.
    prior : TissuePrior, optional
        Of log(kappa). Without it u is 0.
    phase : ndarray of float64, shape (X, Y, Z), optional
        Where the equation is made linear in log(kappa); needed with a prior.

    Notes
    -----
    Conjugate gradients, preconditioned with two V-cycles for ``(A + s) V (A + s)`` and a diagonal
    s. A plane wave of wave number k is multiplied by k^4 v / kappa^2 in A V A', and in B Q^+ B' by
    (1 + (k . grad(phi) / kappa)^2) / (prior's precision at k), which changes much less with k.
    With c this number at one k and s^2 V = c, ``(A + s) V (A + s)`` is between once and twice
    ``A V A' + c``.
    """

    def __init__(
        self,
        equation: ConvectionReaction,
        variance: NDArray[np.float64],
        prior: TissuePrior | None = None,
        phase: NDArray[np.float64] | None = None,
    ) -> None:
        self._equation, self._prior = equation, prior
        self.spread = equation.divergence_transposed(variance)
        self._precision = np.divide(
            1, variance, out=np.zeros(variance.shape), where=variance > 0
        ).astype(np.float32)
        shift: NDArray[np.float64] | float = 0.0
        if prior is not None:
            self.by_log_kappa, self._transposed = equation.by_log_kappa(phase)
            gradient = equation.squared_gradient(phase)
            wave = equation.source**2 * (1 + gradient * _WAVE_NUMBER**2 / 3)
            weight = wave / (_PRIOR_PRECISION * np.prod(equation.voxel_size))
            shift = np.sqrt(weight * self._precision)
        self._smoother = Multigrid(equation.links, equation.inner, shift)

    def solve(
        self,
        right: NDArray[np.float64],
        *,
        energy: float,
        start: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Return the multipliers for a fixed log(kappa), (X, Y, Z).

        Parameters
        ----------
        right : ndarray of float, shape (X, Y, Z)
            ``A d + b^2``.
        energy : float
            Of the error, for each inner voxel; but relative to that of `right` where this is less.
        start : ndarray of float32, shape (X, Y, Z), optional
        """
        return conjugate_gradients(
            lambda y: self._equation.divergence(self.spread(y)),
            self._precondition,
            right.astype(np.float32),
            energy=energy * self._largest_energy(right),
            max_iterations=_MAX_ITERATIONS,
            start=start,
        ).values

    def change(
        self,
        right: NDArray[np.float64],
        *,
        energy: float,
        start: NDArray[np.float32] | None = None,
    ) -> Change:
        """Return log(kappa) and the multipliers; parameters as in :meth:`solve`."""
        level = self.by_log_kappa(np.ones(right.shape, np.float32))
        direction = self._precondition(level)
        length = float(np.vdot(level, direction))

        def mean(residual: NDArray[np.float32]) -> float:
            return float(np.vdot(direction, residual)) / length

        def apply(y: NDArray[np.float32]) -> NDArray[np.float32]:
            by_phase = self._equation.divergence(self.spread(y))
            return by_phase + self.by_log_kappa(self._prior.covariance(self._transposed(y)))

        def precondition(residual: NDArray[np.float32]) -> NDArray[np.float32]:
            # what is left of it after the best mean; so that 1 . B' y stays 0
            return self._precondition(residual) - np.float32(mean(residual)) * direction

        right = right.astype(np.float32)
        if start is not None:
            start = start - direction * np.float32(np.vdot(level, start) / length)
        found = conjugate_gradients(
            apply,
            precondition,
            right,
            energy=energy * self._largest_energy(right),
            max_iterations=_MAX_ITERATIONS,
            start=start,
        )
        # what the multipliers leave of the right-hand side is - m B 1
        log_kappa = -self._prior.covariance(self._transposed(found.values))
        return Change(log_kappa - np.float32(mean(found.residual)), found.values)

    def _largest_energy(self, right: NDArray[np.floating]) -> float:
        right = right.astype(np.float32)
        return min(
            float(np.vdot(right, self._precondition(right))),
            float(np.count_nonzero(self._equation.inner)),
        )

    def _precondition(self, residual: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._smoother.cycle(self._precision * self._smoother.cycle(residual))
