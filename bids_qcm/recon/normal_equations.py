"""Normal equations of the quadratic fit, as tables for the compiled loops."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.kernels import Triple, ellipsoid, runs

WEIGHT_SUMS = 5
PHASE_SUMS = 3
"""Numbers of sums along a run of the kernel: moments of the weights and of the weighted phase."""

# Exponents of the ten terms. An in-plane kernel has no terms of the axis perpendicular to its
# plane.
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

# Index of the monomial ky^b kz^c, by b and c; -1 for monomials above the second degree.
_MONOMIALS = np.array([(0, 3, 5), (1, 4, -1), (2, -1, -1)])


def quadratic_terms(radius: Triple) -> NDArray[np.int64]:
    """Return the exponents of the terms, shape (n_terms, 3).

    An axis with radius 0 has no terms.
    """
    flat = np.array(radius) == 0
    return _TERMS[(_TERMS[:, flat] == 0).all(axis=1)]


def check_determined(radius: Triple, voxel_size: Triple, name: str) -> None:
    """Check that a kernel has enough voxels for the quadratic fit to be unique.

    Parameters
    ----------
    radius, voxel_size : tuple of 3 floats
        Semi-axes and voxel size in mm. A radius of 0 drops the terms of its axis.
    name : str
        Name of the radius in the message.

    Raises
    ------
    ValueError
        If the fit is underdetermined, for example because there are too few voxels.
    """
    if not is_determined(radius, voxel_size):
        n_voxels = int(ellipsoid(radius, voxel_size).sum())
        n_terms = len(quadratic_terms(radius))
        raise ValueError(
            f"{name} {radius} mm contains {n_voxels} voxels of {voxel_size} mm, so the fit of "
            f"{n_terms} terms is underdetermined; use a larger radius"
        )


# cached, because the plan of a run checks the same kernel for every participant
@lru_cache
def is_determined(radius: Triple, voxel_size: Triple) -> bool:
    """Whether the quadratic fit to the voxels of the ellipsoid is unique."""
    design = design_matrix(radius, voxel_size)
    normal = design.T @ design
    return bool(np.linalg.matrix_rank(normal) == len(normal))


def design_matrix(radius: Triple, voxel_size: Triple) -> NDArray[np.float64]:
    """Return the terms at each voxel of the ellipsoid, shape (n_voxels, n_terms).

    Coordinates are relative to the centre, in units of :func:`coordinate_unit`.
    """
    kernel = ellipsoid(radius, voxel_size)
    steps = np.array(voxel_size) / coordinate_unit(radius)
    offsets = (np.argwhere(kernel) - np.array(kernel.shape) // 2) * steps
    return (offsets[:, None, :] ** quadratic_terms(radius)).prod(axis=2)


def coordinate_unit(radius: Triple) -> NDArray[np.float64]:
    """Return the unit of the fit's coordinates in mm.

    The unit is the radius, or 1 mm along an axis with radius 0. With this unit, all moments, and
    therefore the normal matrix, are of order one.
    """
    return np.where(np.array(radius) > 0, radius, 1.0)


def derivative_rows(radius: Triple) -> NDArray[np.float64]:
    """Return the derivatives at the centre as linear functions of the terms' coefficients.

    Parameters
    ----------
    radius : tuple of 3 floats
        Semi-axes in mm.

    Returns
    -------
    ndarray of float64, shape (4, n_terms)
        Rows for the gradient, in 1/m, and for the Laplacian, in 1/m^2, per unit of each
        coefficient.
    """
    terms = quadratic_terms(radius)
    metres = coordinate_unit(radius) * 1e-3
    gradient = np.where((terms.sum(axis=1) == 1)[:, None], terms / metres, 0)
    laplacian = np.where(terms == 2, 2 / metres**2, 0).sum(axis=1)
    return np.vstack([gradient.T, laplacian])


@dataclass(frozen=True)
class NormalEquations:
    """Tables from which the compiled loops compute the normal equations of a fit.

    Sums along the runs of a kernel are combined into sums over planes, and the sums over planes are
    combined into moments:

    - Plane p consists of the runs ``planes[p]`` to ``planes[p + 1] - 1``, which share kx. The first
      run of a plane is the mirror image of the last run, the second run is the mirror image of the
      second-last run, and so on. A run and its mirror image have the same length and opposite ky.
    - A run and its mirror image form a pair. A pair has two sets of sums: first the sums over both
      runs, then the sums over the first run minus the sums over its mirror image.
    - Sum q of a plane is the total of ``run_factors[r, q] * (sum number run_sums[q] of the pair)``
      over the pairs of the plane, where r is the first run of the pair. A run with ky = 0 is its
      own mirror image. Its sums are counted once, and its differences are multiplied by an odd
      power of ky, which is 0.
    - Moment k is the total of ``plane_factors[p, k] * (sum number plane_sums[k] of plane p)`` over
      the planes p.
    - Entry (p, q) of the normal matrix is moment ``normal[p, q]``. Entry p of the right-hand side
      is moment ``right[p]``.
    - At voxel (ky, kz) of plane p, term t is ``term_factors[p, t]`` times monomial
      ``term_monomials[t]``. The monomials 0 to 5 are 1, ky, ky^2, kz, ky kz and kz^2.
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
    """Return the tables of the normal equations for a fit in an ellipsoid.

    Parameters
    ----------
    radius, voxel_size : tuple of 3 floats
        Semi-axes and voxel size in mm. A radius of 0 drops the terms of its axis.
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
        # use the differences for odd powers of ky, which have opposite signs in the two runs of a
        # pair
        run_sums=sums[1] + (sums[0] % 2) * (WEIGHT_SUMS + PHASE_SUMS),
        # Sums along a run use integer offsets, which float32 represents exactly. The factors of
        # planes convert the offsets to the unit of the coordinates.
        plane_factors=(kx[:, None] * steps[0]) ** a * steps[2] ** c,
        plane_sums=plane_sums.ravel(),
        normal=normal.reshape(len(terms), len(terms)),
        right=len(exponents) + np.arange(len(terms)),
        derivatives=derivative_rows(radius),
        term_factors=kx[:, None] ** terms[:, 0] * (steps**terms).prod(axis=1),
        term_monomials=_MONOMIALS[terms[:, 1], terms[:, 2]],
    )
