"""Conjugate gradients with a stopping criterion based on the energy of the error."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Operator = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Solution(NamedTuple):
    """Result of :func:`conjugate_gradients`.

    Attributes
    ----------
    values : ndarray of float32, any shape
        The solution x.
    residual : ndarray of float32, any shape
        ``b - A x``, as updated by the iterations.
    iterations : int
        Number of iterations.
    converged : bool
        Whether the stopping criterion was met.
    """

    values: NDArray[np.float32]
    residual: NDArray[np.float32]
    iterations: int
    converged: bool


def conjugate_gradients(
    apply: Operator,
    precondition: Operator,
    right: NDArray[np.float32],
    *,
    energy: float | None = None,
    tolerance: float = 0.0,
    max_iterations: int,
    start: NDArray[np.float32] | None = None,
) -> Solution:
    """Solve ``A x = b`` in single precision.

    SciPy's solver stops when the norm of the residual r is small, but this norm is a poor measure
    of the smooth part of the error. This solver stops when ``r . M r`` is small, where M is the
    preconditioner. If M approximates the inverse of A, ``r . M r`` approximates the energy ``e . A
    e`` of the error e.

    Parameters
    ----------
    apply, precondition : callable
        Functions that apply A and M. Both operators must be symmetric and positive definite.
    right : ndarray of float32, any shape
        The right-hand side b.
    energy : float, optional
        The solver stops when ``r . M r`` is at most this value.
    tolerance : float
        If `energy` is None, the solver stops when ``r . M r`` is at most `tolerance` squared times
        its initial value. Without `start`, the initial value is ``b . M b``.
    max_iterations : int
        Maximum number of iterations.
    start : ndarray of float32, optional
        Initial value of x; default: 0.

    Returns
    -------
    Solution
    """
    found = np.zeros_like(right) if start is None else start.copy()
    residual = right.copy() if start is None else right - apply(start)
    preconditioned = precondition(residual)
    direction = preconditioned.copy()
    left = _dot(residual, preconditioned)
    enough = energy if energy is not None else tolerance**2 * left
    iterations = 0
    while left > enough and iterations < max_iterations:
        product = apply(direction)
        length = np.float32(left / _dot(direction, product))
        found += length * direction
        residual -= length * product
        preconditioned = precondition(residual)
        before, left = left, _dot(residual, preconditioned)
        direction *= np.float32(left / before)
        direction += preconditioned
        iterations += 1
    return Solution(found, residual, iterations, bool(left <= enough))


def _dot(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    return float(np.vdot(first, second))
