"""Conjugate gradients that stop by the error's energy."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Operator = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Solution(NamedTuple):
    """A solution, and how it was found.

    Attributes
    ----------
    values : ndarray of float32, any shape
    residual : ndarray of float32, any shape
    iterations : int
    converged : bool
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

    scipy's solver stops by the norm of the residual r, which says little of the smooth part of an
    error. This one stops by ``r . M r``, with the preconditioner M. If M is like the inverse of A,
    that is the error's energy.

    Parameters
    ----------
    apply, precondition : callable
        Apply A and M, symmetric and positive definite.
    right : ndarray of float32, any shape
        b.
    energy : float, optional
        Least ``r . M r`` to go on for.
    tolerance : float
        Instead, the root of its ratio to ``b . M b``.
    max_iterations : int
    start : ndarray of float32, optional
        Where to start from; default: 0.

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
