"""The field of the charges at a body's borders: electrostatics on a lattice, by multigrid."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from bids_qcm.phantom.fullwave.lattice import backward_difference, forward_difference

_CYCLES = 5
"""V-cycles of each solution. Exact solutions would save the full-wave solver few iterations."""


class Charges:
    """The charges that make a current continuous, for any field in one body.

    Parameters
    ----------
    contrast
        Complex relative permittivity less 1 on edges, (3, X, Y, Z).

    Notes
    -----
    Smoothed aggregation [1]_, as pyamg [2]_ has it, for the complex symmetric operator
    `-div(eps grad(.))` on nodes, with a potential of 0 outside the array. It only preconditions, so
    this border does not matter for the result. Rounding errors do, as the contrast multiplies them:
    single precision would stall the full-wave solver at a residual of about 1e-5.

    References
    ----------
    .. [1] Vanek P, Mandel J, Brezina M. Algebraic multigrid by smoothed aggregation for second and
       fourth order elliptic problems. Computing 1996. doi:10.1007/BF02238511
    .. [2] Bell N, Olson LN, Schroder J, Southworth B. PyAMG: algebraic multigrid solvers in Python.
       J Open Source Softw 2023. doi:10.21105/joss.05495
    """

    def __init__(self, contrast: NDArray[np.complex128]) -> None:
        self._contrast = contrast
        self._solve = _multigrid(_divergence_of_gradient(1 + contrast))

    def correct(self, field: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Add to a field the gradient that makes `div(eps E)` the divergence of the field itself.

        Parameters
        ----------
        field
            On edges, (3, X, Y, Z).

        Returns
        -------
        ndarray
            E on edges, (3, X, Y, Z).
        """
        polarisation = self._contrast * field
        divergence = sum(backward_difference(polarisation[axis], axis) for axis in range(3))
        potential = self._solve(-divergence)
        gradient = [forward_difference(potential, axis) for axis in range(3)]
        return field - np.stack(gradient)


def _divergence_of_gradient(permittivity: NDArray[np.complex128]) -> sparse.csr_array:
    """Return `-div(eps grad(.))` on nodes for a spacing of 1; the potential is 0 outside."""
    shape = permittivity.shape[1:]
    number = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    diagonal = np.zeros(shape, permittivity.dtype)
    rows, columns, values = [], [], []
    for axis, value in enumerate(permittivity):
        value, nodes, sums = (np.moveaxis(each, axis, 0) for each in (value, number, diagonal))
        sums += value
        sums[1:] += value[:-1]
        sums[0] += 1  # the edge to the outside, in free space
        rows += [nodes[:-1].ravel(), nodes[1:].ravel()]
        columns += [nodes[1:].ravel(), nodes[:-1].ravel()]
        values += [-value[:-1].ravel()] * 2
    entries = np.concatenate([*values, diagonal.ravel()])
    where = tuple(np.concatenate([*indices, number.ravel()]) for indices in (rows, columns))
    return sparse.coo_array((entries, where), shape=(number.size,) * 2).tocsr()


def _multigrid(operator: sparse.csr_array) -> Callable[[NDArray], NDArray]:
    # As slow to import as scipy, and only this function needs it.
    from pyamg import smoothed_aggregation_solver

    with _same_random_numbers(), threadpool_limits(1, "blas"):
        hierarchy = smoothed_aggregation_solver(operator, symmetry="symmetric", max_coarse=200)

    def solve(source: NDArray[np.complex128]) -> NDArray[np.complex128]:
        return hierarchy.solve(source.ravel(), maxiter=_CYCLES, tol=1e-30).reshape(source.shape)

    return solve


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Seed numpy's global generator, which pyamg draws from, and restore it afterwards.

    So the same body has the same field to the last bit.
    """
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
