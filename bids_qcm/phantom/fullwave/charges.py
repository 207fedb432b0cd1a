"""Electrostatic field of the charges at tissue borders, solved on a lattice with multigrid."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from bids_qcm.phantom.fullwave.lattice import backward_difference, forward_difference

_CYCLES = 5
"""Number of V-cycles per solution. More accurate solutions would save only a few iterations of the
full-wave solver."""


class Charges:
    """Correction of the electric field in a body for charges at tissue borders.

    Parameters
    ----------
    contrast
        Complex relative permittivity minus 1, on edges, (3, X, Y, Z).

    Notes
    -----
    The potential of the charges is computed with smoothed aggregation multigrid [1]_ (pyamg [2]_).
    The operator is the complex symmetric operator `-div(eps grad(.))` on nodes, with a potential of
    0 outside the array. This boundary condition does not affect the result of the full-wave solver,
    because the correction is only a preconditioner. However, rounding errors affect the result,
    because they are multiplied by the contrast: in single precision, the full-wave solver would
    stall at a residual of about 1e-5.

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
        """Add a gradient to a field F so that the sum E satisfies `div(eps E) = div(F)`.

        Parameters
        ----------
        field
            Field F on edges, (3, X, Y, Z).

        Returns
        -------
        ndarray
            Field E on edges, (3, X, Y, Z).
        """
        polarisation = self._contrast * field
        divergence = reduce(
            np.add, (backward_difference(polarisation[axis], axis) for axis in range(3))
        )
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
        sums[0] += 1  # edges to nodes outside the array are in free space
        rows += [nodes[:-1].ravel(), nodes[1:].ravel()]
        columns += [nodes[1:].ravel(), nodes[:-1].ravel()]
        values += [-value[:-1].ravel()] * 2
    entries = np.concatenate([*values, diagonal.ravel()])
    where = tuple(np.concatenate([*indices, number.ravel()]) for indices in (rows, columns))
    return sparse.coo_array((entries, where), shape=(number.size,) * 2).tocsr()


def _multigrid(
    operator: sparse.csr_array,
) -> Callable[[NDArray[np.complex128]], NDArray[np.complex128]]:
    # Import here, because pyamg is slow to import and only this function needs it.
    from pyamg import smoothed_aggregation_solver

    with _fixed_random_seed(), threadpool_limits(1, "blas"):
        hierarchy = smoothed_aggregation_solver(operator, symmetry="symmetric", max_coarse=200)

    def solve(source: NDArray[np.complex128]) -> NDArray[np.complex128]:
        return hierarchy.solve(source.ravel(), maxiter=_CYCLES, tol=1e-30).reshape(source.shape)

    return solve


@contextmanager
def _fixed_random_seed() -> Iterator[None]:
    """Seed NumPy's global random number generator, and restore its state afterwards.

    pyamg uses the global generator. With a fixed seed, the fields of a body are reproducible to the
    last bit.
    """
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
