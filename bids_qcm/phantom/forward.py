"""Transceive phase of a conductivity map, from the equations that the methods assume."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import linalg

from bids_qcm.physics import conductivity_factor

_TOLERANCE = 1e-8
"""Maximum residual relative to the right-hand side. The relative error of the conductivity is of
the same order."""

_MAX_ITERATIONS = 200


def transceive_phase(
    conductivity: np.ndarray,
    voxel_size: tuple[float, float, float],
    frequency: float,
    model: Literal["convection-reaction", "laplacian"] = "convection-reaction",
) -> np.ndarray:
    """Compute the transceive phase of a head, with phi0 = 0 on its surface.

    Parameters
    ----------
    conductivity
        Conductivity in S/m, (X, Y, Z); 0 outside the head.
    voxel_size
        Voxel size along each axis in mm, three numbers.
    frequency
        Larmor frequency in Hz.
    model
        - `convection-reaction`: `div(grad(phi0) / sigma) = 2 * omega * mu0` [1]_.
        - `laplacian`: `laplacian(phi0) = 2 * omega * mu0 * sigma`, which is the same equation where
          sigma is constant. Finite differences of the result return the conductivity, except in the
          outermost voxels of the head.

    Returns
    -------
    ndarray
        Unwrapped phi0 in rad, (X, Y, Z) float64; 0 outside the head.

    Raises
    ------
    RuntimeError
        If the solver does not converge.

    Notes
    -----
    The equations are discretised with finite volumes. The flux through the face between two voxels
    is the harmonic mean of their coefficients (1/sigma, or 1) times their phase difference. The
    surface of the head consists of voxel faces, half a voxel from the voxel centres. The position
    of the surface has an error of up to half a voxel, so the error of the phase is first order in
    the voxel size.

    References
    ----------
    .. [1] Gurler N, Ider YZ. Gradient-based electrical conductivity imaging using MR phase. Magn
       Reson Med 2017. doi:10.1002/mrm.26338
    """
    sigma = np.asarray(conductivity, dtype=np.float64)
    head = sigma > 0
    source = np.full(sigma.shape, 1 / conductivity_factor(frequency))
    if model == "laplacian":
        source *= sigma
        sigma = head.astype(np.float64)
    phi0 = np.zeros(sigma.shape)
    phi0[head] = -_solve(_divergence_of_gradient(sigma, voxel_size), source[head])
    return phi0


def _divergence_of_gradient(
    sigma: np.ndarray, voxel_size: tuple[float, float, float]
) -> sparse.csr_array:
    """Return the operator `-div(grad(.) / sigma)` on the voxels where sigma is not 0.

    The operator is symmetric and positive definite. The phase is 0 on the surface of the head,
    which consists of the faces between voxels inside and voxels outside the head.
    """
    sigma = np.pad(sigma, 1)
    inside = sigma > 0
    number = np.cumsum(inside, dtype=np.int32).reshape(inside.shape) - 1
    n = int(inside.sum())
    diagonal = np.zeros(sigma.shape)
    rows, columns, values = [], [], []
    for axis, size in enumerate(voxel_size):
        below, above = _halves(axis, slice(None, -1)), _halves(axis, slice(1, None))
        total = sigma[below] + sigma[above]
        # Harmonic mean of 1/sigma. If one of the two voxels is outside the head, its 1/sigma is
        # infinite, and the mean is 2/sigma. This coefficient is correct, because the phase is 0 on
        # the face between the voxels, at half of their distance.
        face = np.divide(2, total, out=np.zeros_like(total), where=total > 0) / (size * 1e-3) ** 2
        diagonal[below] += face
        diagonal[above] += face
        pair = inside[below] & inside[above]
        rows.append(number[below][pair])
        columns.append(number[above][pair])
        values.append(-face[pair])
    row, column, value = map(np.concatenate, (rows, columns, values))
    itself = np.arange(n, dtype=np.int32)
    value = np.concatenate([value, value, diagonal[inside]])
    where = np.concatenate([row, column, itself]), np.concatenate([column, row, itself])
    return sparse.coo_array((value, where), shape=(n, n)).tocsr()


def _halves(axis: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if a == axis else slice(None) for a in range(3))


def _solve(operator: sparse.csr_array, source: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solve with conjugate gradients, preconditioned by algebraic multigrid."""
    # Import here, because pyamg is slow to import and only this function needs it.
    from pyamg import ruge_stuben_solver

    # Single precision is faster and is sufficient for a preconditioner. Classical coarsening uses
    # no random numbers, so the phase of a head is reproducible to the last bit.
    multigrid = ruge_stuben_solver(
        operator.astype(np.float32),
        interpolation="direct",
        presmoother=("gauss_seidel", {"sweep": "forward"}),
        postsmoother=("gauss_seidel", {"sweep": "backward"}),
        max_coarse=100,
    )

    def cycle(residual: NDArray[np.float64]) -> NDArray[np.float64]:
        return multigrid.solve(residual.astype(np.float32), maxiter=1).astype(np.float64)

    solution, failure = linalg.cg(
        operator,
        source,
        rtol=_TOLERANCE,
        maxiter=_MAX_ITERATIONS,
        M=linalg.LinearOperator(operator.shape, cycle, dtype=np.float64),
    )
    if failure:
        raise RuntimeError(
            f"the solver for the phase did not converge in {_MAX_ITERATIONS} iterations"
        )
    return solution
