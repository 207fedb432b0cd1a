"""Compute the Laplacian of the phase by a method, and its standard deviation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from bids_qcm.recon.finite_difference import (
    fd_gradient,
    fd_laplacian,
    fd_laplacian_std,
    gradient_of_smooth,
)
from bids_qcm.recon.inversion import COARSEST_SIZE, GoodnessOfFit, InverseProblem, invert
from bids_qcm.recon.kernels import Kernels, Triple
from bids_qcm.recon.linear_phase import (
    UNKNOWN_LINEAR_PHASE,
    LinearPhase,
    estimate_linear_phase,
    make_linear_phase,
    supported_by,
)
from bids_qcm.recon.methods import METHODS, Method
from bids_qcm.recon.quadratic_fit import QuadraticFit, fit_gradients, fit_quadratic
from bids_qcm.recon.replicates import REPLICATES, Noise, every_nth, replicate_std
from bids_qcm.recon.surface_integral import integrate_gradients, integrate_surface

# Spacing of the voxels with noise replicates, as a share of the integral radius: over this
# distance, the standard deviation hardly changes.
_SPACING_PER_REACH = 1 / 6
_LARGEST_SPACING = 3

# Sample from which the median standard deviation is predicted: number of voxels, number of
# replicates for each voxel, and smallest spacing of the voxels.
_SAMPLES = 500
_SAMPLE_REPLICATES = 16
_SMALLEST_SPACING = 4

# Method of the first map from which a linear phase is estimated, by (has magnitude, has tissues).
# integral-ivw is not in the table, because its kernels are too small for the large voxels of this
# estimate.
_FIRST_MAP = {
    (False, False): "integral-mag-ivw",
    (True, False): "integral-mag-ivw",
    (False, True): "integral-seg-ivw",
    (True, True): "integral-magseg-ivw",
}


@dataclass(frozen=True, eq=False)
class Volumes:
    """Input volumes from which the Laplacian is computed.

    Attributes
    ----------
    phase : ndarray of float64, shape (X, Y, Z)
        phi0 in rad, unwrapped, finite everywhere.
    support : ndarray of int32, shape (X, Y, Z)
        Only voxels with the same number are combined; voxels with 0 are not used.
    voxel_size : tuple of 3 floats
        Voxel size in mm.
    zscore : ndarray of float32, shape (X, Y, Z), or None
        z-scored magnitude, if the method uses magnitude weights.
    noise : Noise or None
        Noise of the phase and the magnitude, if it is known.
    b1_squared : ndarray of float64, shape (X, Y, Z), or None
        Square of the magnitude of B1+ in any unit, positive in the support; None for a constant.
    model_error : float
        Standard deviation in rad of the phase error from effects that the equation neglects, see
        :class:`bids_qcm.recon.inversion.InverseProblem`.
    """

    phase: NDArray[np.float64]
    support: NDArray[np.int32]
    voxel_size: Triple
    zscore: NDArray[np.float32] | None = None
    noise: Noise | None = None
    b1_squared: NDArray[np.float64] | None = None
    model_error: float = 0.0


class Laplacian(NamedTuple):
    """Laplacian of the phase, or its counterpart for a known magnitude b of B1+.

    Attributes
    ----------
    values : ndarray of float32, shape (X, Y, Z)
        The Laplacian, or ``div(b^2 grad(phi0)) / b^2`` if b is known, in rad/m^2; kappa for an
        inversion. NaN where invalid.
    std : ndarray of float32, shape (X, Y, Z), or None
        Noise-induced standard deviation of the values.
    goodness : GoodnessOfFit or None
        Goodness of fit of an inversion; None for the other methods.
    linear_phase : LinearPhase or None
        Linear phase that was estimated before an inversion; None for the other methods.
    """

    values: NDArray[np.float32]
    std: NDArray[np.float32] | None
    goodness: GoodnessOfFit | None = None
    linear_phase: LinearPhase | None = None


def compute_laplacian(
    volumes: Volumes, method: Method, kernels: Kernels, *, uncertainty: bool = True
) -> Laplacian:
    """Compute the Laplacian of the phase by a method, or invert the phase's equation.

    Parameters
    ----------
    volumes : Volumes
    method : Method
    kernels : Kernels
    uncertainty : bool
        Whether to compute the standard deviation, if the volumes include the noise.

    Returns
    -------
    Laplacian

    Raises
    ------
    ValueError
        If the volumes of an inversion do not include a positive phase noise.
    """
    if method.form == "inversion":
        problem = _inverse_problem(volumes, method)
        linear = find_linear_phase(problem)
        removed = make_linear_phase(linear.shrunk, problem.phase.shape, problem.voxel_size)
        problem = replace(
            problem, phase=problem.phase - removed, linear_phase_error=tuple(linear.standard_error)
        )
        return Laplacian(*invert(problem, uncertainty=uncertainty), linear)
    noise = volumes.noise if uncertainty else None
    if method.form == "integral":
        laplacian = _integral(volumes, method, kernels)
        if noise is None:
            return Laplacian(laplacian, None)
        reach = min(kernels.integral_radius[a] / volumes.voxel_size[a] for a in kernels.axes)
        spacing = min(max(int(reach * _SPACING_PER_REACH), 1), _LARGEST_SPACING)
        at = every_nth(volumes.support, spacing) if spacing > 1 else None
        std = _integral_std(volumes, method, kernels, laplacian, at, REPLICATES, spacing)
        return Laplacian(laplacian, np.where(np.isnan(laplacian), np.float32(np.nan), std))
    convection = _convection(volumes, kernels)
    if method.derivative == "fit":
        fit = _fit(volumes, kernels, noise, convection)
        return Laplacian(fit.laplacian, fit.laplacian_std)
    differentiated = (volumes.support != 0, volumes.voxel_size, kernels.axes, convection)
    laplacian = fd_laplacian(volumes.phase, *differentiated)
    std = None if noise is None else fd_laplacian_std(noise.phase, *differentiated)
    return Laplacian(laplacian, std)


def _inverse_problem(volumes: Volumes, method: Method) -> InverseProblem:
    inside = volumes.support != 0
    if volumes.noise is None or not (volumes.noise.phase[inside] > 0).all():
        raise ValueError(f"{method.name} needs a phase noise that is positive in the mask")
    precision = np.zeros(inside.shape)
    precision[inside] = volumes.noise.phase[inside].astype(np.float64) ** -2
    return InverseProblem(
        volumes.phase,
        precision,
        volumes.support,
        volumes.voxel_size,
        volumes.zscore,
        volumes.b1_squared,
        volumes.model_error,
    )


def find_linear_phase(problem: InverseProblem) -> LinearPhase:
    """Estimate the linear phase in the data of an inversion, from a first map with kernels.

    Parameters
    ----------
    problem : InverseProblem

    Returns
    -------
    LinearPhase
        The estimate without tissues. If there are tissues, the covariance also accounts for its
        difference from the estimate with tissues. The result is UNKNOWN_LINEAR_PHASE if the mask is
        too small, or if the median of the first map is not positive.

    Notes
    -----
    The estimate uses voxels of 3 to 6 mm, which are smaller than the kernels. If the voxels are
    larger, the kernels grow with the voxels.
    """
    while 2 * max(problem.voxel_size) <= COARSEST_SIZE:
        problem = problem.coarser()
    inside = problem.inside
    method = METHODS[_FIRST_MAP[problem.zscore is not None, problem.has_tissues]]
    first = _integral(
        Volumes(
            np.where(inside, problem.phase, 0),
            problem.support,
            problem.voxel_size,
            None if problem.zscore is None else problem.zscore.astype(np.float32),
        ),
        method,
        _kernels_of(method, problem.voxel_size),
    )
    known = first[inside & np.isfinite(first)]
    if not (known.size and np.median(known) > 0):
        return UNKNOWN_LINEAR_PHASE
    estimate = partial(
        estimate_linear_phase,
        problem.phase,
        inside,
        first,
        voxel_size=problem.voxel_size,
        b1_squared=problem.b1_squared,
    )
    if not problem.has_tissues:
        return estimate()
    return supported_by(estimate(), estimate(labels=problem.support))


def _kernels_of(method: Method, voxel_size: Triple) -> Kernels:
    """Return the method's published kernels, enlarged to radii of at least two voxels."""
    fit, integral = (
        tuple(max(radius, 2 * size) for size in voxel_size)
        for radius in (method.fit_radius, method.integral_radius)
    )
    return Kernels(fit, integral, (0, 1, 2))


def median_std(volumes: Volumes, method: Method, kernels: Kernels) -> float:
    """Predict the standard deviation of the median voxel from a sample of voxels.

    Parameters
    ----------
    volumes : Volumes
        Input volumes, including the noise.
    method : Method
        A method with a fit or an integral.
    kernels : Kernels

    Returns
    -------
    float
        Standard deviation in rad/m^2; NaN if the Laplacian is valid in no sampled voxel.
    """
    sample = _sample(volumes.support)
    if method.form == "integral":
        # include the neighbours of sampled voxels, because replicate_std averages over neighbours
        at = maximum_filter(sample, 3) & (volumes.support != 0)
        laplacian = _integral(volumes, method, kernels, at)
        std = _integral_std(volumes, method, kernels, laplacian, at, _SAMPLE_REPLICATES)
    else:
        convection = _convection(volumes, kernels)
        std = _fit(volumes, kernels, volumes.noise, convection, sample).laplacian_std
    found = std[sample & np.isfinite(std)]
    return float(np.median(found)) if found.size else float("nan")


def _sample(support: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Select voxels of the support on a coarse grid."""
    inside = support != 0
    spacing = max(_SMALLEST_SPACING, round((inside.sum() / _SAMPLES) ** (1 / 3)))
    grid = np.zeros(support.shape, dtype=bool)
    grid[tuple(slice(min(spacing, n) // 2, None, spacing) for n in support.shape)] = True
    return grid & inside if (grid & inside).any() else inside


def _convection(volumes: Volumes, kernels: Kernels) -> NDArray[np.float32] | None:
    """Return ``grad(ln b^2)`` in 1/m, shape (3, X, Y, Z); None if b is constant.

    This vector field appears in ``div(b^2 grad(phi0)) / b^2 = laplacian(phi0) + grad(ln b^2) .
    grad(phi0)``. b is smooth across tissue borders, so the differences may cross labels.
    """
    if volumes.b1_squared is None:
        return None
    return gradient_of_smooth(
        np.log(volumes.b1_squared), volumes.support != 0, volumes.voxel_size, kernels.axes
    )


def _fit(
    volumes: Volumes,
    kernels: Kernels,
    noise: Noise | None,
    convection: NDArray[np.float32] | None,
    at: NDArray[np.bool_] | None = None,
) -> QuadraticFit:
    return fit_quadratic(
        volumes.phase.astype(np.float32),
        volumes.support,
        voxel_size=volumes.voxel_size,
        radius=kernels.fit_radius,
        zscore=volumes.zscore,
        noise=None if noise is None else noise.phase,
        zscore_noise=0.0 if noise is None else noise.zscore,
        convection=convection,
        gradient=False,
        at=at,
    )


def _integral(
    volumes: Volumes, method: Method, kernels: Kernels, at: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Integrate the gradient of the phase around every voxel, or around the voxels of `at`."""
    support, voxel_size, zscore = volumes.support, volumes.voxel_size, volumes.zscore
    variance = None
    if method.derivative == "fit":
        fit = fit_quadratic(
            volumes.phase.astype(np.float32),
            support,
            voxel_size=voxel_size,
            radius=kernels.fit_radius,
            zscore=zscore,
            gradient_variance=method.weighs_pairs,
        )
        gradient, variance = fit.gradient, fit.gradient_variance
    else:
        gradient = fd_gradient(volumes.phase, support != 0, voxel_size, kernels.axes)
    return integrate_surface(
        gradient,
        support,
        zscore=zscore,
        variance=variance,
        at=at,
        **_of_integral(volumes, kernels),
    )


def _of_integral(volumes: Volumes, kernels: Kernels) -> dict[str, Any]:
    squared = volumes.b1_squared
    return {
        "b1_squared": None if squared is None else squared.astype(np.float32),
        "voxel_size": volumes.voxel_size,
        "radius": kernels.integral_radius,
        "axes": kernels.axes,
    }


def _integral_std(
    volumes: Volumes,
    method: Method,
    kernels: Kernels,
    laplacian: NDArray[np.float32],
    at: NDArray[np.bool_] | None,
    replicates: int,
    spacing: int = 1,
) -> NDArray[np.float32]:
    """Estimate the standard deviation of an integral from noise replicates."""
    support, voxel_size = volumes.support, volumes.voxel_size

    def estimate(
        phases: Sequence[NDArray[np.float32]],
        zscore: NDArray[np.float32] | None,
        at: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        variance = None
        if method.derivative == "fit":
            gradients, variance = fit_gradients(
                phases, support, voxel_size=voxel_size, radius=kernels.fit_radius, zscore=zscore
            )
        else:
            inside = support != 0
            gradients = np.stack(
                [fd_gradient(p, inside, voxel_size, kernels.axes)[:, inside] for p in phases]
            )
        return integrate_gradients(
            gradients,
            support,
            zscore=zscore,
            variance=variance if method.weighs_pairs else None,
            at=at,
            **_of_integral(volumes, kernels),
        )

    return replicate_std(
        estimate,
        volumes.phase.astype(np.float32),
        laplacian,
        support,
        volumes.noise,
        volumes.zscore,
        at=at,
        spacing=spacing,
        replicates=replicates,
    )
