"""The least-squares problem of the quadratic fit, as the compiled loops need it."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.kernels import Triple, ellipsoid, runs

WEIGHT_SUMS = 5
PHASE_SUMS = 3
"""Sums along a run of the kernel: moments of the weight, then of the weighted phase."""

# Exponents of the ten terms; those of an axis that an in-plane kernel lacks are dropped.
_TERMS = np.array(
    [
        (0, 0, 0),
        (1, 0, 0),
        (0, 1, 0),
        (0, 0, 1),
        (2, 0, 0),
        (0, 2, 0),
        (0, 0, 2),
        (1, 1, 0),
        (1, 0, 1),
        (0, 1, 1),
    ]
)

# Number of the monomial ky^b kz^c, by b and c.
_MONOMIALS = np.array([(0, 3, 5), (1, 4, -1), (2, -1, -1)])


def quadratic_terms(radius: Triple) -> NDArray[np.int64]:
    """List the exponents of the terms, (n_terms, 3), without those of an axis with radius 0."""
    flat = np.array(radius) == 0
    return _TERMS[(_TERMS[:, flat] == 0).all(axis=1)]


def check_determined(radius: Triple, voxel_size: Triple, name: str) -> None:
    """Refuse a kernel that holds too few voxels, or too few places, for the quadratic's terms.

    Parameters
    ----------
    radius, voxel_size : tuple of 3 floats
        In mm. A radius of 0 drops that axis's terms.
    name : str
        What the radius is called in the message.

    Raises
    ------
    ValueError
        If no fit in it can be determined.
    """
    if not is_determined(radius, voxel_size):
        n_voxels = int(ellipsoid(radius, voxel_size).sum())
        n_terms = len(quadratic_terms(radius))
        raise ValueError(
            f"{name} {radius} mm holds {n_voxels} voxels of {voxel_size} mm, which cannot "
            f"determine the {n_terms} terms of the fit; give a larger radius"
        )


# a plan asks for each of a thousand participants
@lru_cache
def is_determined(radius: Triple, voxel_size: Triple) -> bool:
    """Tell whether the ellipsoid's voxels determine all terms of the quadratic."""
    design = design_matrix(radius, voxel_size)
    normal = design.T @ design
    return bool(np.linalg.matrix_rank(normal) == len(normal))


def design_matrix(radius: Triple, voxel_size: Triple) -> NDArray[np.float64]:
    """Give the terms at each of the ellipsoid's voxels, (n_voxels, n_terms).

    Coordinates are from the centre, in units of :func:`coordinate_unit`.
    """
    kernel = ellipsoid(radius, voxel_size)
    steps = np.array(voxel_size) / coordinate_unit(radius)
    offsets = (np.argwhere(kernel) - np.array(kernel.shape) // 2) * steps
    return (offsets[:, None, :] ** quadratic_terms(radius)).prod(axis=2)


def coordinate_unit(radius: Triple) -> NDArray[np.float64]:
    """Give what the fit measures coordinates in: the radius, and 1 mm along an axis without one.

    It keeps all moments, and so the normal matrix, of order one.
    """
    return np.where(np.array(radius) > 0, radius, 1.0)


def derivative_rows(radius: Triple) -> NDArray[np.float64]:
    """Give the derivatives at the centre as linear functions of the terms' coefficients.

    Parameters
    ----------
    radius : tuple of 3 floats
        In mm.

    Returns
    -------
    ndarray of float64, shape (4, n_terms)
        Gradient in 1/m and Laplacian in 1/m^2, per unit of each coefficient.
    """
    terms = quadratic_terms(radius)
    metres = coordinate_unit(radius) * 1e-3
    gradient = np.where((terms.sum(axis=1) == 1)[:, None], terms / metres, 0)
    laplacian = np.where(terms == 2, 2 / metres**2, 0).sum(axis=1)
    return np.vstack([gradient.T, laplacian])


@dataclass(frozen=True)
class NormalEquations:
    """How the normal equations follow from sums along runs, in two steps.

    A plane of the kernel is the runs ``planes[p]`` to ``planes[p + 1]``, which share kx. Its first
    run mirrors the last, the second the last but one, and so on: they have the same length and
    opposite ky. Of such a pair there are twice the sums along a run: those of both together, then
    those of the first less the other. Sum q of the plane is that over its pairs of
    ``run_factors[r, q] * (sum number run_sums[q] of the pair)``, r being the first of the pair; a
    run that is its own mirror has a ky of 0, whose odd powers leave out what is less. Moment
    k is the sum over planes p of ``plane_factors[p, k] * (sum number plane_sums[k] of plane p)``.
    Entry (p, q) of the normal matrix is moment ``normal[p, q]``, that of the right-hand side is
    moment ``right[p]``. At voxel (ky, kz) of plane p, term t has the value
    ``term_factors[p, t]`` times monomial ``term_monomials[t]``: number 0 to 5 of 1, ky, ky^2, kz,
    ky kz and kz^2.
    """

    runs: NDArray[np.int32]
    planes: NDArray[np.int64]
    run_factors: NDArray[np.float64]
    run_sums: NDArray[np.int64]
    plane_factors: NDArray[np.float64]
    plane_sums: NDArray[np.int64]
    normal: NDArray[np.int64]
    right: NDArray[np.int64]
    derivatives: NDArray[np.float64]
    term_factors: NDArray[np.float64]
    term_monomials: NDArray[np.int64]


def normal_equations(radius: Triple, voxel_size: Triple) -> NormalEquations:
    """Set up the normal equations of the fit in an ellipsoid.

    Parameters
    ----------
    radius, voxel_size : tuple of 3 floats
        In mm. A radius of 0 drops that axis's terms.
    """
    kernel_runs = runs(ellipsoid(radius, voxel_size))
    terms = quadratic_terms(radius)
    steps = np.array(voxel_size) / coordinate_unit(radius)
    products = terms[:, None] + terms[None, :]
    exponents, normal = np.unique(products.reshape(-1, 3), axis=0, return_inverse=True)
    a, b, c = np.concatenate([exponents, terms]).T
    run_sum = c + np.where(np.arange(len(c)) < len(exponents), 0, WEIGHT_SUMS)
    sums, plane_sums = np.unique(np.stack([b, run_sum]), axis=1, return_inverse=True)
    kx, planes = np.unique(kernel_runs[:, 0], return_index=True)
    return NormalEquations(
        runs=kernel_runs,
        planes=np.append(planes, len(kernel_runs)),
        run_factors=(kernel_runs[:, 1:2] * steps[1]) ** sums[0],
        # odd powers of ky change their sign in the mirror
        run_sums=sums[1] + (sums[0] % 2) * (WEIGHT_SUMS + PHASE_SUMS),
        # Sums along a run have integer offsets, which float32 holds exactly; their step comes here.
        plane_factors=(kx[:, None] * steps[0]) ** a * steps[2] ** c,
        plane_sums=plane_sums.ravel(),
        normal=normal.reshape(len(terms), len(terms)),
        right=len(exponents) + np.arange(len(terms)),
        derivatives=derivative_rows(radius),
        term_factors=kx[:, None] ** terms[:, 0] * (steps**terms).prod(axis=1),
        term_monomials=_MONOMIALS[terms[:, 1], terms[:, 2]],
    )
