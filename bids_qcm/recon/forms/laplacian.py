"""The Laplacian form: the Laplacian of a fit, or finite differences."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.arguments import require
from bids_qcm.recon.finite_difference import fd_laplacian, fd_laplacian_std, gradient_of_smooth
from bids_qcm.recon.forms.base import (
    BYTES_OF_NOISE_MAPS,
    BYTES_WITHOUT_REPLICATES,
    EXACT,
    EXACT_BUT_MAGNITUDE,
    QUADRATIC_FIT,
    Form,
    Laplacian,
    seconds_of_kernels,
)
from bids_qcm.recon.kernels import Kernels, Triple
from bids_qcm.recon.methods import Method
from bids_qcm.recon.quadratic_fit import QuadraticFit, fit_quadratic
from bids_qcm.recon.replicates import (
    NOISE_MAPS,
    Noise,
    NoisePhases,
    select_at_spacing,
    spacing_of_noise,
    spread,
)
from bids_qcm.recon.volumes import Volumes

# Distance over which the noise hardly changes, as a fraction of the fit radius.
_SPACING_PER_RADIUS = 0.4

# Run time of the propagation of the magnitude noise, as a multiple of the run time of the map.
_TIME_OF_MAGNITUDE_NOISE = 5


class LaplacianForm(Form):
    """Methods that compute the Laplacian directly. They are linear in the phase."""

    title = "Laplacian"

    def compute(
        self,
        volumes: Volumes,
        method: Method,
        kernels: Kernels,
        *,
        uncertainty: bool = True,
        noise_maps: bool = False,
    ) -> Laplacian:
        """Compute the Laplacian, its exact standard deviation, and noise maps."""
        noise = volumes.noise if uncertainty else None
        convection = _convection(volumes, kernels)
        maps = None
        if noise is not None and noise_maps:
            maps = _noise_maps(volumes, method, kernels, noise, convection)
        if method.derivative == "fit":
            fit = _fit(volumes, kernels, noise, convection)
            return Laplacian(fit.laplacian, fit.laplacian_std, noise=maps)
        differentiated = (volumes.inside, volumes.voxel_size, kernels.axes, convection)
        laplacian = fd_laplacian(volumes.phase, *differentiated)
        std = None if noise is None else fd_laplacian_std(noise.phase, *differentiated)
        return Laplacian(laplacian, std, noise=maps)

    def std_at(
        self, volumes: Volumes, method: Method, kernels: Kernels, at: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Compute the standard deviation in a sample of voxels, for a method with a fit."""
        convection = _convection(volumes, kernels)
        noise = require(volumes.noise, "noise")
        fit = _fit(volumes, kernels, noise, convection, at)
        return require(fit.laplacian_std, "noise")

    def quantity(self, method: Method) -> str:
        """Return the quantity that a method computes."""
        if method.derivative == "fit":
            return f"the Laplacian of {QUADRATIC_FIT}"
        return "the Laplacian by finite differences"

    def propagation(self, method: Method) -> str:
        """Return a description of how the standard deviation is computed from the noise."""
        return EXACT_BUT_MAGNITUDE if method.uses_magnitude else EXACT

    def bytes_per_voxel(self, method: Method, *, noise: bool, noise_maps: bool) -> float:
        """Return the peak memory in bytes per voxel of the volume."""
        return BYTES_WITHOUT_REPLICATES + (BYTES_OF_NOISE_MAPS if noise_maps else 0)

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
        seconds = seconds_of_kernels(kernels, voxel_size)
        if not uncertainty or kernels.fit_radius is None:
            return seconds
        of_magnitude = _TIME_OF_MAGNITUDE_NOISE if method.uses_magnitude else 0
        of_noise_maps = NOISE_MAPS / _spacing(kernels, voxel_size) ** 2 if noise_maps else 0
        return seconds * (1 + of_magnitude + of_noise_maps)

    def is_compiled(self, method: Method) -> bool:
        """Whether a method runs compiled loops."""
        return method.derivative == "fit"


FORM = LaplacianForm()


def _convection(volumes: Volumes, kernels: Kernels) -> NDArray[np.float32] | None:
    """Return ``grad(ln b^2)`` in 1/m, shape (3, X, Y, Z); None if b is constant.

    This vector field appears in ``div(b^2 grad(phi0)) / b^2 = laplacian(phi0) + grad(ln b^2) .
    grad(phi0)``. b is smooth across tissue borders, so the differences may cross labels.
    """
    if volumes.b1_squared is None:
        return None
    return gradient_of_smooth(
        np.log(volumes.b1_squared), volumes.inside, volumes.voxel_size, kernels.axes
    )


def _noise_maps(
    volumes: Volumes,
    method: Method,
    kernels: Kernels,
    noise: Noise,
    convection: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    """Return the Laplacian of phase noise alone, (NOISE_MAPS, n_support)."""
    inside = volumes.inside
    phases = NoisePhases(noise.phase, inside, NOISE_MAPS)
    if method.derivative != "fit":
        differentiated = (inside, volumes.voxel_size, kernels.axes, convection)
        return np.stack([fd_laplacian(phase, *differentiated)[inside] for phase in phases])
    spacing = _spacing(kernels, volumes.voxel_size)
    at = select_at_spacing(volumes.support, spacing)
    maps = [
        _fit(
            replace(volumes, phase=phase.astype(np.float64)), kernels, None, convection, at
        ).laplacian[at]
        for phase in phases
    ]
    return spread(np.stack(maps), at, volumes.support)


def _spacing(kernels: Kernels, voxel_size: Triple) -> int:
    """Return the spacing in voxels of the voxels with noise maps."""
    radius = require(kernels.fit_radius, "a fit radius")
    return spacing_of_noise(radius, voxel_size, kernels.axes, _SPACING_PER_RADIUS)


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
        radius=require(kernels.fit_radius, "a fit radius"),
        zscore=volumes.zscore,
        noise=None if noise is None else noise.phase,
        zscore_noise=0.0 if noise is None else noise.zscore,
        convection=convection,
        gradient=False,
        at=at,
    )
