"""The integral form: the flux of the gradient through a closed surface."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from bids_qcm.recon.arguments import require
from bids_qcm.recon.finite_difference import fd_gradient
from bids_qcm.recon.forms.base import (
    BYTES_WITHOUT_REPLICATES,
    QUADRATIC_FIT,
    Form,
    Laplacian,
    seconds_of_kernels,
)
from bids_qcm.recon.kernels import Kernels, Triple
from bids_qcm.recon.methods import Method
from bids_qcm.recon.quadratic_fit import fit_gradients, fit_quadratic
from bids_qcm.recon.replicates import (
    NOISE_MAPS,
    REPLICATES,
    Replicated,
    replicate_noise,
    select_at_spacing,
    spacing_of_noise,
    spread,
)
from bids_qcm.recon.surface_integral import integrate_gradients, integrate_surface
from bids_qcm.recon.volumes import Volumes

# Distance over which the standard deviation hardly changes, as a fraction of the integral radius.
_SPACING_PER_RADIUS = 1 / 6

# Number of noise replicates for choosing automatic radii.
_SAMPLE_REPLICATES = 16

# Peak memory, in bytes per voxel, while the noise replicates are computed; and the run time of the
# noise replicates in all voxels, as a multiple of the run time of the map.
_BYTES_OF_REPLICATES = 240
_TIME_OF_REPLICATES = 10

# Processor time, in s per voxel of the mask, that does not depend on the kernels; and the time of
# the loops over the kernels, as a multiple of the time of a quadratic fit. The multiple is above 1,
# because the integral also evaluates the pairs of voxels. Measured on phantoms with 2 mm voxels on
# a server from 2023.
_SECONDS_PER_VOXEL = 1e-6
_TIME_OF_KERNELS = 2


class IntegralForm(Form):
    """Methods that compute the Laplacian as a closed surface integral of the gradient."""

    title = "integral"
    introduction = (
        "The integral methods compute the Laplacian as the flux of the gradient of phi0 through a "
        "closed surface, divided by the enclosed volume."
    )

    def compute(
        self,
        volumes: Volumes,
        method: Method,
        kernels: Kernels,
        *,
        uncertainty: bool = True,
        noise_maps: bool = False,
    ) -> Laplacian:
        """Compute the integral, and estimate its noise from replicates."""
        laplacian = integrate(volumes, method, kernels)
        if volumes.noise is None or not uncertainty:
            return Laplacian(laplacian, None)
        radius = require(kernels.integral_radius, "an integral radius")
        spacing = spacing_of_noise(radius, volumes.voxel_size, kernels.axes, _SPACING_PER_RADIUS)
        at = select_at_spacing(volumes.support, spacing)
        selected = at if spacing > 1 else None
        found = _replicate(volumes, method, kernels, laplacian, selected, REPLICATES, spacing)
        std = np.where(np.isnan(laplacian), np.float32(np.nan), found.std)
        maps = spread(found.noise[:NOISE_MAPS], at, volumes.support) if noise_maps else None
        return Laplacian(laplacian, std, noise=maps)

    def std_at(
        self, volumes: Volumes, method: Method, kernels: Kernels, at: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Estimate the standard deviation in a sample of voxels from few noise replicates."""
        # include the neighbours of sampled voxels, because replicate_noise averages over neighbours
        at = maximum_filter(at, 3) & volumes.inside
        laplacian = integrate(volumes, method, kernels, at)
        return _replicate(volumes, method, kernels, laplacian, at, _SAMPLE_REPLICATES).std

    def quantity(self, method: Method) -> str:
        """Return the quantity that a method computes."""
        fitted = method.derivative == "fit"
        gradient = f"the gradient of {QUADRATIC_FIT}" if fitted else "central differences"
        return f"the surface integral, within a radius of {{integral_radius}}, of {gradient}"

    def propagation(self, method: Method) -> str:
        """Return a description of how the standard deviation is computed from the noise."""
        return f"{REPLICATES} noise replicates"

    def bytes_per_voxel(self, method: Method, *, noise: bool, noise_maps: bool) -> float:
        """Return the peak memory in bytes per voxel of the volume."""
        return _BYTES_OF_REPLICATES if noise else BYTES_WITHOUT_REPLICATES

    def seconds_per_voxel(
        self,
        method: Method,
        kernels: Kernels,
        voxel_size: Triple,
        *,
        noise: bool,
        uncertainty: bool,
        noise_maps: bool,
    ) -> float:
        """Return the processor time in s per voxel of the mask."""
        seconds = _SECONDS_PER_VOXEL + _TIME_OF_KERNELS * seconds_of_kernels(kernels, voxel_size)
        if not noise:
            return seconds
        radius = require(kernels.integral_radius, "an integral radius")
        spacing = spacing_of_noise(radius, voxel_size, kernels.axes, _SPACING_PER_RADIUS)
        return seconds * (1 + _TIME_OF_REPLICATES / spacing**2)


FORM = IntegralForm()


def integrate(
    volumes: Volumes, method: Method, kernels: Kernels, at: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Integrate the phase gradient around every voxel, or around the voxels of `at`.

    Parameters
    ----------
    volumes : Volumes
    method : Method
        A method of the integral form.
    kernels : Kernels
    at : ndarray of bool, shape (X, Y, Z), optional
        Voxels to integrate around; default: all voxels of the support.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        Laplacian in rad/m^2, or its counterpart for a known magnitude of B1+; NaN where invalid.
    """
    support, voxel_size, zscore = volumes.support, volumes.voxel_size, volumes.zscore
    variance = None
    if method.derivative == "fit":
        fit = fit_quadratic(
            volumes.phase.astype(np.float32),
            support,
            voxel_size=voxel_size,
            radius=require(kernels.fit_radius, "a fit radius"),
            zscore=zscore,
            gradient_variance=method.weighs_pairs,
        )
        gradient, variance = require(fit.gradient, "a gradient"), fit.gradient_variance
    else:
        gradient = fd_gradient(volumes.phase, support != 0, voxel_size, kernels.axes)
    return integrate_surface(
        gradient,
        support,
        zscore=zscore,
        variance=variance,
        at=at,
        **_geometry(volumes, kernels),
    )


def _geometry(volumes: Volumes, kernels: Kernels) -> dict[str, Any]:
    squared = volumes.b1_squared
    return {
        "b1_squared": None if squared is None else squared.astype(np.float32),
        "voxel_size": volumes.voxel_size,
        "radius": kernels.integral_radius,
        "axes": kernels.axes,
    }


def _replicate(
    volumes: Volumes,
    method: Method,
    kernels: Kernels,
    laplacian: NDArray[np.float32],
    at: NDArray[np.bool_] | None,
    replicates: int,
    spacing: int = 1,
) -> Replicated:
    """Estimate the noise of an integral from replicates."""
    support, voxel_size = volumes.support, volumes.voxel_size

    def estimate(
        phases: Sequence[NDArray[np.float32]],
        zscore: NDArray[np.float32] | None,
        at: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        variance = None
        if method.derivative == "fit":
            gradients, variance = fit_gradients(
                phases,
                support,
                voxel_size=voxel_size,
                radius=require(kernels.fit_radius, "a fit radius"),
                zscore=zscore,
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
            **_geometry(volumes, kernels),
        )

    return replicate_noise(
        estimate,
        volumes.phase.astype(np.float32),
        laplacian,
        support,
        require(volumes.noise, "noise"),
        volumes.zscore,
        at=at,
        spacing=spacing,
        replicates=replicates,
    )
