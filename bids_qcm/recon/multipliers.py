"""Normal equations of an inversion, solved for the Lagrange multipliers of the phase equation."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.conjugate_gradients import conjugate_gradients
from bids_qcm.recon.convection_reaction import ConvectionReaction
from bids_qcm.recon.multigrid import Multigrid
from bids_qcm.recon.tissue_prior import TissuePrior

_MAX_ITERATIONS = 100

# Wavenumber in rad/mm for which the preconditioner is tuned.
_WAVE_NUMBER = 0.3

# Precision of the prior at the wavenumber above, in mm^-3: 0.8 per mm (smoothness) times the
# squared wavenumber, plus 0.03 per mm^3 (weight of the deviation from the mean).
_PRIOR_PRECISION = 0.1


class Change(NamedTuple):
    """Solution of a Gauss-Newton step.

    Attributes
    ----------
    log_kappa : ndarray of float32, shape (X, Y, Z)
        The unknowns u of the :class:`GaussNewtonSystem`.
    multipliers : ndarray of float32, shape (X, Y, Z)
        The multipliers y of the :class:`GaussNewtonSystem`.
    """

    log_kappa: NDArray[np.float32]
    multipliers: NDArray[np.float32]


class FixedMapSystem:
    """The phase that obeys the equation of a fixed map and is nearest to the measured phase.

    The phase minimises ``(phi - d) . V^-1 (phi - d) / 2`` under the equation ``A phi + b^2 = 0``,
    where A is ``-div(b^2 grad() / kappa)`` and V is the variance of the measured phase d. At the
    minimum, ``phi = d - V A' y``. The multipliers y solve ``A V A' y = A d + b^2``.

    Parameters
    ----------
    equation : ConvectionReaction
    variance : ndarray of float64, shape (X, Y, Z)
        V in rad^2, positive in the mask, 0 outside it.
    shift : ndarray of float64, shape (X, Y, Z), or float
        Diagonal s of the preconditioner.

    Attributes
    ----------
    spread : PairOperator
        Returns ``V A' y``.

    Notes
    -----
    The system is solved by conjugate gradients. The preconditioner consists of two V-cycles for
    ``(A + s) V (A + s)``.
    """

    def __init__(
        self,
        equation: ConvectionReaction,
        variance: NDArray[np.float64],
        shift: NDArray[np.float64] | float = 0.0,
    ) -> None:
        self._equation = equation
        self.spread = equation.divergence_transposed(variance)
        self._precision = _precision(variance)
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
            The right-hand side ``A d + b^2``.
        energy : float
            The solver stops when the energy of the error is below this value, relative to the
            number of inner voxels or the energy of `right`, whichever is smaller.
        start : ndarray of float32, shape (X, Y, Z), optional
            Initial multipliers.
        """
        return conjugate_gradients(
            lambda y: self._equation.divergence(self.spread(y)),
            self._precondition,
            right.astype(np.float32),
            energy=energy * self._energy_scale(right),
            max_iterations=_MAX_ITERATIONS,
            start=start,
        ).values

    def _energy_scale(self, right: NDArray[np.floating]) -> float:
        right = right.astype(np.float32)
        return min(
            float(np.vdot(right, self._precondition(right))),
            float(np.count_nonzero(self._equation.inner)),
        )

    def _precondition(self, residual: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._smoother.cycle(self._precision * self._smoother.cycle(residual))


class GaussNewtonSystem(FixedMapSystem):
    """The minimum of ``(phi - d) . V^-1 (phi - d) / 2 + u . Q u / 2`` under a linear equation.

    The linearised equation is ``A phi + b^2 + B u = 0``, where B is the derivative of the left-hand
    side with respect to u = log(kappa). Q is the precision of u in the prior. The other symbols are
    defined in :class:`FixedMapSystem`. At the minimum, ``phi = d - V A' y`` and
    ``u = m - Q^+ B' y``. The multipliers y and the mean m solve
    ``(A V A' + B Q^+ B') y - m B 1 = A d + b^2`` and ``1 . B' y = 0``. The only matrix that is
    inverted is Q, which is well conditioned. A step does not require a solution of the phase
    equation.

    Parameters
    ----------
    equation : ConvectionReaction
    variance : ndarray of float64, shape (X, Y, Z)
        V in rad^2, positive in the mask, 0 outside it.
    prior : TissuePrior
        Prior of log(kappa).
    phase : ndarray of float64, shape (X, Y, Z)
        Phase at which the equation is linearised in log(kappa).

    Attributes
    ----------
    by_log_kappa : PairOperator
        Returns ``B u``.

    Notes
    -----
    On a plane wave with wavenumber k, A V A' acts as multiplication by k^4 v / kappa^2. B Q^+ B'
    acts as multiplication by (1 + (k . grad(phi) / kappa)^2) / (prior's precision at k), which
    depends much less on k. If c is the second factor at one k and s^2 V = c, then ``(A + s) V (A +
    s)`` is between one and two times ``A V A' + c``.
    """

    def __init__(
        self,
        equation: ConvectionReaction,
        variance: NDArray[np.float64],
        prior: TissuePrior,
        phase: NDArray[np.float64],
    ) -> None:
        gradient = equation.squared_gradient(phase)
        wave = equation.source**2 * (1 + gradient * _WAVE_NUMBER**2 / len(equation.axes))
        weight = wave / (_PRIOR_PRECISION * np.prod(equation.voxel_size))
        super().__init__(equation, variance, np.sqrt(weight * _precision(variance)))
        self._prior = prior
        self.by_log_kappa, self._transposed = equation.by_log_kappa(phase)

    def change(
        self,
        right: NDArray[np.float64],
        *,
        energy: float,
        start: NDArray[np.float32] | None = None,
    ) -> Change:
        """Return log(kappa) and the multipliers. See ``solve`` for the parameters."""
        level = self.by_log_kappa(np.ones(right.shape, np.float32))
        direction = self._precondition(level)
        length = float(np.vdot(level, direction))

        def mean(residual: NDArray[np.float32]) -> float:
            return float(np.vdot(direction, residual)) / length

        def apply(y: NDArray[np.float32]) -> NDArray[np.float32]:
            by_phase = self._equation.divergence(self.spread(y))
            return by_phase + self.by_log_kappa(self._prior.covariance(self._transposed(y)))

        def precondition(residual: NDArray[np.float32]) -> NDArray[np.float32]:
            # subtract a multiple of `direction`, so that y still satisfies 1 . B' y = 0
            return self._precondition(residual) - np.float32(mean(residual)) * direction

        if start is not None:
            start = start - direction * np.float32(np.vdot(level, start) / length)
        found = conjugate_gradients(
            apply,
            precondition,
            right.astype(np.float32),
            energy=energy * self._energy_scale(right),
            max_iterations=_MAX_ITERATIONS,
            start=start,
        )
        # at the solution, the residual is - m B 1, so that mean(residual) is - m
        log_kappa = -self._prior.covariance(self._transposed(found.values))
        return Change(log_kappa - np.float32(mean(found.residual)), found.values)


def _precision(variance: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the inverse of a variance; 0 where the variance is 0."""
    return np.divide(1, variance, out=np.zeros(variance.shape), where=variance > 0).astype(
        np.float32
    )
