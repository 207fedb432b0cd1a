"""The Laplacian of the phase as a method defines it, and its standard deviation."""

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.finite_difference import fd_gradient, fd_laplacian, fd_laplacian_std
from bids_qcm.recon.kernels import Kernels, Triple
from bids_qcm.recon.methods import Method
from bids_qcm.recon.quadratic_fit import fit_gradients, fit_quadratic
from bids_qcm.recon.surface_integral import integrate_surface

REPLICATES = 24
"""Noise replicates from which the standard deviation of an integral method is estimated."""

# Fitted together, they share their weights and normal matrices; more would take more memory.
_TOGETHER = 8


def compute_laplacian(
    phase: NDArray[np.float64],
    support: NDArray[np.int32],
    method: Method,
    voxel_size: Triple,
    kernels: Kernels,
    zscore: NDArray[np.float32] | None = None,
    noise: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Differentiate the phase as the method says.

    Parameters
    ----------
    phase : ndarray of float64, shape (X, Y, Z)
        phi0 in rad, unwrapped, finite everywhere.
    support : ndarray of int32, shape (X, Y, Z)
        Only voxels with the same number are used together; 0 is never used.
    method : Method
    voxel_size : tuple of 3 floats
        In mm.
    kernels : Kernels
    zscore : ndarray of float32, shape (X, Y, Z), optional
        z-scored magnitude, where the method weighs by it.
    noise : ndarray of float32, shape (X, Y, Z), optional
        Standard deviation of the phase in rad, finite everywhere.

    Returns
    -------
    laplacian : ndarray of float32, shape (X, Y, Z)
        In rad/m^2; NaN where invalid.
    laplacian_std : ndarray of float32, shape (X, Y, Z), or None
        Its standard deviation, if the noise was given.
    """
    keywords = {"voxel_size": voxel_size, "radius": kernels.fit_radius, "zscore": zscore}
    if method.form == "integral":
        if method.derivative == "fit":
            gradient = fit_quadratic(phase.astype(np.float32), support, **keywords).gradient
        else:
            gradient = fd_gradient(phase, support != 0, voxel_size, kernels.axes)
        laplacian = _integrate(gradient, support, zscore, voxel_size, kernels)
        std = None
        if noise is not None:
            std = _std_of_replicates(noise, support, zscore, method, voxel_size, kernels)
        return laplacian, std
    if method.derivative == "fit":
        fit = fit_quadratic(
            phase.astype(np.float32), support, noise=noise, gradient=False, **keywords
        )
        return fit.laplacian, fit.laplacian_std
    laplacian = fd_laplacian(phase, support != 0, voxel_size, kernels.axes)
    if noise is None:
        return laplacian, None
    return laplacian, fd_laplacian_std(noise, support != 0, voxel_size, kernels.axes)


def _integrate(
    gradient: NDArray[np.float32],
    support: NDArray[np.int32],
    zscore: NDArray[np.float32] | None,
    voxel_size: Triple,
    kernels: Kernels,
) -> NDArray[np.float32]:
    return integrate_surface(
        gradient,
        support,
        voxel_size=voxel_size,
        radius=kernels.integral_radius,
        axes=kernels.axes,
        zscore=zscore,
    )


def _std_of_replicates(
    noise: NDArray[np.float32],
    support: NDArray[np.int32],
    zscore: NDArray[np.float32] | None,
    method: Method,
    voxel_size: Triple,
    kernels: Kernels,
) -> NDArray[np.float32]:
    """Estimate an integral method's standard deviation; (X, Y, Z) float32 in rad/m^2.

    The method is linear in the phase, so applied to noise alone it gives its own noise. An exact
    propagation would have to follow every voxel of the region through all the fits it is in.
    """
    rng = np.random.default_rng(0)
    squares = np.zeros(support.shape)
    for _ in range(0, REPLICATES, _TOGETHER):
        shape = (_TOGETHER, *support.shape)
        replicates = noise * rng.standard_normal(shape, dtype=np.float32)
        if method.derivative == "fit":
            gradients = fit_gradients(
                replicates, support, voxel_size=voxel_size, radius=kernels.fit_radius, zscore=zscore
            )
        else:
            gradients = np.stack(
                [fd_gradient(r, support != 0, voxel_size, kernels.axes) for r in replicates]
            )
        laplacians = _integrate(gradients, support, zscore, voxel_size, kernels)
        squares += np.square(laplacians, dtype=np.float64).sum(axis=0)
    return np.sqrt(squares / REPLICATES).astype(np.float32)
