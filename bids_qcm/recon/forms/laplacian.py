"""The Laplacian form: the Laplacian of a fit, or finite differences."""

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.arguments import require
from bids_qcm.recon.finite_difference import fd_laplacian, fd_laplacian_std, gradient_of_smooth
from bids_qcm.recon.forms.base import (
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
from bids_qcm.recon.replicates import Noise
from bids_qcm.recon.volumes import Volumes

# Run time of the propagation of the magnitude noise, as a multiple of the run time of the map.
_TIME_OF_MAGNITUDE_NOISE = 5


class LaplacianForm(Form):
    """Methods that compute the Laplacian directly. They are linear in the phase."""

    title = "Laplacian"

    def compute(
        self, volumes: Volumes, method: Method, kernels: Kernels, *, uncertainty: bool = True
    ) -> Laplacian:
        """Compute the Laplacian and its exact standard deviation."""
        noise = volumes.noise if uncertainty else None
        convection = _convection(volumes, kernels)
        if method.derivative == "fit":
            fit = _fit(volumes, kernels, noise, convection)
            return Laplacian(fit.laplacian, fit.laplacian_std)
        differentiated = (volumes.inside, volumes.voxel_size, kernels.axes, convection)
        laplacian = fd_laplacian(volumes.phase, *differentiated)
        std = None if noise is None else fd_laplacian_std(noise.phase, *differentiated)
        return Laplacian(laplacian, std)

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

    def bytes_per_voxel(self, method: Method, *, noise: bool) -> float:
        """Return the peak memory in bytes per voxel of the volume."""
        return BYTES_WITHOUT_REPLICATES

    def seconds_per_voxel(
        self,
        method: Method,
        kernels: Kernels,
        voxel_size: Triple,
        *,
        noise: bool,
        uncertainty: bool,
    ) -> float:
        """Return the processor time in s per voxel of the mask."""
        seconds = seconds_of_kernels(kernels, voxel_size)
        if uncertainty and method.uses_magnitude:
            return seconds * (1 + _TIME_OF_MAGNITUDE_NOISE)
        return seconds

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
