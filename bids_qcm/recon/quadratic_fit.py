"""Weighted least-squares fit of a quadratic around every voxel."""

from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.blocks import blocks_of, padded, padded_all, reach
from bids_qcm.recon.compiling import in_threads
from bids_qcm.recon.fit_loops import fit_blocks, fit_replicates
from bids_qcm.recon.kernels import Triple, ellipsoid
from bids_qcm.recon.normal_equations import normal_equations
from bids_qcm.recon.stencils import Correlator, derivative_stencils

# Minimum number of kernel voxels for Fourier transforms to be faster than the compiled loops.
_SMALLEST_STENCIL = 1500


class QuadraticFit(NamedTuple):
    """Derivatives of the fitted quadratics.

    All values are NaN where no fit was requested or the fit is underdetermined.

    Attributes
    ----------
    laplacian : ndarray of float32, shape (X, Y, Z)
        Laplacian in rad/m^2; with a convection c, this is ``laplacian + c . gradient``.
    gradient : ndarray of float32, shape (3, X, Y, Z), or None
        Gradient in rad/m; None if it was not requested.
    laplacian_std : ndarray of float32, shape (X, Y, Z), or None
        Standard deviation of `laplacian` in rad/m^2; None without noise.
    gradient_variance : ndarray of float32, shape (3, X, Y, Z), or None
        Variance of the gradient in 1/m^2 for weighted residuals of unit variance: the diagonal of
        the inverse normal matrix for the gradient. None if it was not requested.
    """

    laplacian: NDArray[np.float32]
    gradient: NDArray[np.float32] | None
    laplacian_std: NDArray[np.float32] | None
    gradient_variance: NDArray[np.float32] | None = None


def fit_quadratic(
    phase: NDArray[np.float32],
    support: NDArray[np.int32],
    *,
    voxel_size: Triple,
    radius: Triple,
    zscore: NDArray[np.float32] | None = None,
    noise: NDArray[np.float32] | None = None,
    zscore_noise: float = 0.0,
    convection: NDArray[np.float32] | None = None,
    gradient: bool = True,
    gradient_variance: bool = False,
    at: NDArray[np.bool_] | None = None,
) -> QuadraticFit:
    """Fit a quadratic ``q_i(x)`` to the phase in the ellipsoid around each voxel i.

    The objective is ``sum_j w_ij^2 (phi_j - q_i(x_j))^2`` over the voxels j of the ellipsoid with
    ``support[j] == support[i]``. With a magnitude m, the weights are
    ``w_ij = exp(-(m_j - m_i)^2 / (2 delta^2))``. Without a magnitude, the weights are 1.

    Parameters
    ----------
    phase : ndarray of float32, shape (X, Y, Z)
        Unwrapped phase in rad; finite everywhere.
    support : ndarray of int32, shape (X, Y, Z)
        A fit uses only voxels with the same number as the central voxel; voxels with 0 are not
        used.
    voxel_size, radius : tuple of 3 floats
        Voxel size and semi-axes in mm. A radius of 0 drops the terms of its axis.
    zscore : ndarray of float32, shape (X, Y, Z), optional
        z-scored magnitude m, finite everywhere. Without it, all weights are 1.
    noise : ndarray of float32, shape (X, Y, Z), optional
        Standard deviation of the phase in rad, finite everywhere. The noise must be independent
        between voxels.
    zscore_noise : float
        Standard deviation of the noise in `zscore`. This noise changes the weights.
    convection : ndarray of float32, shape (3, X, Y, Z), optional
        Vector field c in 1/m. With this field, the resulting Laplacian and its standard deviation
        refer to ``laplacian(q_i) + c_i . grad(q_i)`` at the centre of the fit.
    gradient : bool
        Whether to return the gradient.
    gradient_variance : bool
        Whether to return the variance of the gradient.
    at : ndarray of bool, shape (X, Y, Z), optional
        Voxels to fit around; default: all voxels of the support.

    Returns
    -------
    QuadraticFit

    Notes
    -----
    A fit counts as unique if the Cholesky factorisation of the normal matrix, scaled to a unit
    diagonal, has no pivot below 1e-6; otherwise, it counts as underdetermined. The support must
    therefore contain at least as many voxels as there are terms. The Laplacian is a linear function
    of the phase, ``sum_j c_ij phi_j``, and its variance due to phase noise is
    ``sum_j c_ij^2 s_j^2``. The magnitude noise changes the coefficients c_ij; the variance includes
    this effect to first order.
    """
    out = np.full((8 if gradient_variance else 5, *support.shape), np.nan, dtype=np.float32)
    # float32 is sufficient, because the square of the phase noise in rad neither overflows nor
    # underflows
    variance = None if noise is None else np.square(noise)
    wanted = support if at is None else np.where(at, support, 0)
    if zscore is None and at is None:
        wanted = _fit_interior(
            phase, support, variance, convection, voxel_size, radius, out, gradient=gradient
        )
    margin = reach(ellipsoid(radius, voxel_size))
    noise_variance = None if variance is None else padded(variance, margin)
    phases = (padded(phase, margin), noise_variance, np.float32(zscore_noise), convection)
    _fit_each(fit_blocks, phases, support, zscore, wanted, voxel_size, radius, out)
    return QuadraticFit(
        laplacian=out[3],
        gradient=out[:3] if gradient else None,
        laplacian_std=None if noise is None else np.sqrt(out[4]),
        gradient_variance=out[5:] if gradient_variance else None,
    )


def fit_gradients(
    phases: Sequence[NDArray[np.float32]],
    support: NDArray[np.int32],
    *,
    voxel_size: Triple,
    radius: Triple,
    zscore: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fit several phases at once, like :func:`fit_quadratic`; intended for noise.

    Parameters
    ----------
    phases : sequence of n ndarrays of float32, shape (X, Y, Z)
        Phases in rad, finite everywhere. The mean of a phase should not exceed its spread, because
        rounding errors are larger than in :func:`fit_quadratic`.
    support, voxel_size, radius, zscore
        As in :func:`fit_quadratic`.

    Returns
    -------
    gradients : ndarray of float32, shape (n, 3, n_voxels)
        Gradients in rad/m at the voxels of the support, in C order; NaN where the fit is
        underdetermined.
    variance : ndarray of float32, shape (3, n_voxels)
        ``gradient_variance`` of :class:`QuadraticFit`, which is the same for all phases.
    """
    out = np.full((len(phases) + 1, 3, np.count_nonzero(support)), np.nan, dtype=np.float32)
    together = padded_all(phases, reach(ellipsoid(radius, voxel_size)))
    _fit_each(fit_replicates, (together,), support, zscore, support, voxel_size, radius, out)
    return out[:-1], out[-1]


def _fit_interior(
    phase: NDArray[np.float32],
    support: NDArray[np.int32],
    variance: NDArray[np.float32] | None,
    convection: NDArray[np.float32] | None,
    voxel_size: Triple,
    radius: Triple,
    out: NDArray[np.float32],
    *,
    gradient: bool,
) -> NDArray[np.int32]:
    """Fit with Fourier transforms where the whole ellipsoid is in the support.

    Return the support of the voxels that remain to be fitted. A support with several labels is
    returned unchanged, because almost no ellipsoid lies within a single label.
    """
    inside = support != 0
    kernel = ellipsoid(radius, voxel_size).astype(np.float64)
    if kernel.sum() < _SMALLEST_STENCIL or np.unique(support[inside]).size != 1:
        return support
    correlator = Correlator(support.shape, kernel.shape)
    n_voxels = correlator.correlate(correlator.spectrum(inside), kernel)
    whole = inside & (n_voxels > kernel.sum() - 0.5)
    if not whole.any():
        return support
    stencils = derivative_stencils(radius, voxel_size)
    # the Laplacian with convection is a sum of these stencils, with factors that vary between
    # voxels
    factors = {3: 1.0}
    if convection is not None:
        factors |= {axis: convection[axis][whole].astype(np.float64) for axis in range(3)}
    spectrum = correlator.spectrum(np.where(inside, phase, 0))
    laplacian = 0.0
    for d in (0, 1, 2, 3) if gradient else factors:
        derivative = correlator.correlate(spectrum, stencils[d])[whole]
        out[d, whole] = derivative
        laplacian += factors.get(d, 0.0) * derivative
    out[3, whole] = laplacian
    if variance is not None:
        spectrum = correlator.spectrum(np.where(inside, variance, 0))
        total = np.zeros(np.count_nonzero(whole))
        for c, d in combinations_with_replacement(factors, 2):
            products = correlator.correlate(spectrum, stencils[c] * stencils[d])[whole]
            total += (1 if c == d else 2) * factors[c] * factors[d] * products
        # rounding can make a zero variance negative
        out[4, whole] = total.clip(min=0)
    for axis in range(len(out) - 5):
        out[5 + axis, whole] = np.sum(stencils[axis] ** 2)
    return np.where(whole, 0, support)


def _fit_each(
    loop: Callable[..., None],
    phases: tuple[NDArray[np.float32] | np.float32 | None, ...],
    support: NDArray[np.int32],
    zscore: NDArray[np.float32] | None,
    wanted: NDArray[np.int32],
    voxel_size: Triple,
    radius: Triple,
    out: NDArray[np.float32],
) -> None:
    """Fit with a separate normal matrix for each voxel in one of the compiled loops."""
    margin = reach(ellipsoid(radius, voxel_size))
    e = normal_equations(radius, voxel_size)
    in_threads(
        loop,
        blocks_of(wanted),
        (*phases, padded(support, margin), None if zscore is None else padded(zscore, margin)),
        # An array with the dtype of the weight sums. Without a magnitude, weights are 0 or 1 and
        # offsets are integers, so that float32 sums are exact. With a magnitude, the rounding
        # errors of float32 sums would be visible in ill-conditioned fits, but they are negligible
        # for noise replicates.
        np.empty(0, np.float32 if zscore is None or loop is fit_replicates else np.float64),
        e.runs,
        (e.planes, e.run_factors, e.run_sums, e.plane_factors, e.plane_sums),
        (e.normal, e.right, e.derivatives, e.term_factors, e.term_monomials),
        np.ascontiguousarray(wanted),
        margin,
        out,
    )
