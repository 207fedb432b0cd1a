"""The Laplacian of the phase as a method defines it, and its standard deviation."""

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.finite_difference import fd_gradient, fd_laplacian, fd_laplacian_std
from bids_qcm.recon.kernels import Kernels, Triple
from bids_qcm.recon.methods import Method
from bids_qcm.recon.quadratic_fit import fit_gradients, fit_quadratic
from bids_qcm.recon.replicates import Noise, replicate_std
from bids_qcm.recon.surface_integral import integrate_surface

# Voxels of the integral radius from which on the noise hardly changes from voxel to voxel.
_LARGE_REACH = 12


def compute_laplacian(
    phase: NDArray[np.float64],
    support: NDArray[np.int32],
    method: Method,
    voxel_size: Triple,
    kernels: Kernels,
    zscore: NDArray[np.float32] | None = None,
    noise: Noise | None = None,
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
    noise : Noise, optional

    Returns
    -------
    laplacian : ndarray of float32, shape (X, Y, Z)
        In rad/m^2; NaN where invalid.
    laplacian_std : ndarray of float32, shape (X, Y, Z), or None
        Its standard deviation, if the noise was given.
    """
    form = _laplacian_form if method.form == "laplacian" else _integral_form
    return form(phase, support, method, voxel_size, kernels, zscore, noise)


def _laplacian_form(
    phase: NDArray[np.float64],
    support: NDArray[np.int32],
    method: Method,
    voxel_size: Triple,
    kernels: Kernels,
    zscore: NDArray[np.float32] | None,
    noise: Noise | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    if method.derivative == "fit":
        fit = fit_quadratic(
            phase.astype(np.float32),
            support,
            voxel_size=voxel_size,
            radius=kernels.fit_radius,
            zscore=zscore,
            noise=None if noise is None else noise.phase,
            zscore_noise=0.0 if noise is None else noise.zscore,
            gradient=False,
        )
        return fit.laplacian, fit.laplacian_std
    mask = support != 0
    laplacian = fd_laplacian(phase, mask, voxel_size, kernels.axes)
    if noise is None:
        return laplacian, None
    return laplacian, fd_laplacian_std(noise.phase, mask, voxel_size, kernels.axes)


def _integral_form(
    phase: NDArray[np.float64],
    support: NDArray[np.int32],
    method: Method,
    voxel_size: Triple,
    kernels: Kernels,
    zscore: NDArray[np.float32] | None,
    noise: Noise | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    fitted = {"voxel_size": voxel_size, "radius": kernels.fit_radius}
    integrated = {
        "voxel_size": voxel_size,
        "radius": kernels.integral_radius,
        "axes": kernels.axes,
    }
    values, mask = phase.astype(np.float32), support != 0
    if method.derivative == "fit":
        gradient = fit_quadratic(values, support, zscore=zscore, **fitted).gradient
    else:
        gradient = fd_gradient(phase, mask, voxel_size, kernels.axes)
    laplacian = integrate_surface(gradient, support, zscore=zscore, **integrated)
    if noise is None:
        return laplacian, None

    def estimate(
        phases: NDArray[np.float32], zscore: NDArray[np.float32] | None, at: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        if method.derivative == "fit":
            gradients = fit_gradients(phases, support, zscore=zscore, **fitted)
        else:
            gradients = np.stack([fd_gradient(p, mask, voxel_size, kernels.axes) for p in phases])
        return integrate_surface(gradients, support, zscore=zscore, at=at, **integrated)

    reach = min(kernels.integral_radius[a] / voxel_size[a] for a in kernels.axes)
    std = replicate_std(
        estimate,
        values,
        laplacian,
        support,
        noise,
        zscore,
        sparse=reach >= _LARGE_REACH,
    )
    return laplacian, np.where(np.isnan(laplacian), np.float32(np.nan), std)
