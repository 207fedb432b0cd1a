"""Base class of the forms, and the arrays that a form returns."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.kernels import Kernels, Triple
from bids_qcm.recon.methods import Method
from bids_qcm.recon.volumes import Volumes

if TYPE_CHECKING:
    from bids_qcm.recon.inversion import GoodnessOfFit
    from bids_qcm.recon.linear_phase import LinearPhase

EXACT = "exact"
"""Description of the noise propagation for a method that is linear in the phase."""

EXACT_BUT_MAGNITUDE = "exact for the phase noise, first order for the magnitude noise"
"""Description of the noise propagation for a linear method whose weights depend on the noisy
magnitude."""

QUADRATIC_FIT = "a quadratic polynomial that was fitted to phi0 within a radius of {fit_radius}"
"""Description of the fit for :meth:`Form.quantity`."""

BYTES_WITHOUT_REPLICATES = 65
"""Peak memory, in bytes per voxel, of a method with kernels and without noise replicates."""

BYTES_OF_NOISE_MAPS = 40
"""Memory of noise maps in bytes per voxel, if less than half of the volume is in the mask."""

# Processor time in s for each voxel of the mask and each voxel of the kernel. Measured on heads
# with 1 and 2 mm voxels on one core of a server from 2023.
_SECONDS_PER_PAIR = 0.7e-9


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
    noise : ndarray of float32, shape (NOISE_MAPS, n_support), or None
        Noise of the values in independent realisations, at the voxels of the support, in C order.
    """

    values: NDArray[np.float32]
    std: NDArray[np.float32] | None
    goodness: "GoodnessOfFit | None" = None
    linear_phase: "LinearPhase | None" = None
    noise: NDArray[np.float32] | None = None


class Form(ABC):
    """A form of the methods: its computation, requirements, costs and description.

    Attributes
    ----------
    title : str
        Name of the form in the methods text: "the ... methods".
    introduction : str
        Sentence about the form in the methods text, with citations such as ``[@voigt2011]``; empty
        for no sentence.
    effect_of_labels : str
        Effect of tissue labels in the methods text: "with ...".
    needs_noise : bool
        Whether the form needs the phase noise for the map itself.
    uses_b1_by_default : bool
        Whether the form uses the magnitude of B1+ with ``--b1 auto``.
    parameters : mapping of str to float
        Constants of the form, keyed by attribute of
        :class:`~bids_qcm.bids.sidecar_schema.MapSidecar`.
    """

    title: ClassVar[str]
    introduction: ClassVar[str] = ""
    effect_of_labels: ClassVar[str] = "a restriction to voxels of the same tissue"
    needs_noise: ClassVar[bool] = False
    uses_b1_by_default: ClassVar[bool] = False
    parameters: ClassVar[Mapping[str, float]] = MappingProxyType({})

    @abstractmethod
    def compute(
        self,
        volumes: Volumes,
        method: Method,
        kernels: Kernels,
        *,
        uncertainty: bool = True,
        noise_maps: bool = False,
    ) -> Laplacian:
        """Compute the Laplacian of the phase by a method of this form.

        Parameters
        ----------
        volumes : Volumes
        method : Method
        kernels : Kernels
        uncertainty : bool
            Whether to compute the standard deviation, if the volumes include the noise.
        noise_maps : bool
            Whether to compute noise maps in addition to the standard deviation.

        Returns
        -------
        Laplacian

        Raises
        ------
        ValueError
            If the form needs the noise but the volumes do not include it.
        """

    def std_at(
        self, volumes: Volumes, method: Method, kernels: Kernels, at: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Compute the standard deviation in a sample of voxels, to choose automatic radii.

        A form without kernels does not need this function.

        Parameters
        ----------
        volumes : Volumes
            Input volumes, including the noise.
        method : Method
        kernels : Kernels
        at : ndarray of bool, shape (X, Y, Z)
            The sample.

        Returns
        -------
        ndarray of float32, shape (X, Y, Z)
            Standard deviation in rad/m^2; NaN where invalid. Values outside the sample are ignored.
        """
        raise NotImplementedError

    @abstractmethod
    def quantity(self, method: Method) -> str:
        """Return the quantity that a method computes, for the sentence "It computed ...".

        Attributes of the sidecar in braces, such as ``{fit_radius}``, are replaced by their values.
        """

    @abstractmethod
    def propagation(self, method: Method) -> str:
        """Return a description of how the standard deviation is computed from the noise.

        This is the value of the sidecar field ``Propagation``. The methods text says: "The phase
        noise was propagated through the ... methods by ...".
        """

    @abstractmethod
    def bytes_per_voxel(self, method: Method, *, noise: bool, noise_maps: bool) -> float:
        """Return the peak memory in bytes per voxel of the volume.

        Parameters
        ----------
        method : Method
        noise : bool
            Whether the noise is known.
        noise_maps : bool
            Whether noise maps are computed.
        """

    @abstractmethod
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
        """Return the processor time in s per voxel of the mask.

        Parameters
        ----------
        method : Method
        kernels : Kernels
            The largest kernels that can be chosen.
        voxel_size : tuple of 3 floats
            Voxel size in mm.
        noise : bool
            Whether the noise is known.
        uncertainty : bool
            Whether the standard deviation is computed.
        noise_maps : bool
            Whether noise maps are computed.
        """

    def is_compiled(self, method: Method) -> bool:
        """Whether a method runs compiled loops; importing them needs memory."""
        return True


def seconds_of_kernels(kernels: Kernels, voxel_size: Triple) -> float:
    """Return the processor time in s per voxel of the mask for applying the kernels once.

    The time of a kernel is assumed to be proportional to its number of voxels.

    Parameters
    ----------
    kernels : Kernels
    voxel_size : tuple of 3 floats
        Voxel size in mm.
    """
    radii = (kernels.fit_radius, kernels.integral_radius)
    pairs = sum(n_voxels_within(radius, voxel_size) for radius in radii if radius is not None)
    return pairs * _SECONDS_PER_PAIR


def n_voxels_within(radius: Triple, voxel_size: Triple) -> float:
    """Estimate the number of voxels in an ellipsoid, or in an ellipse if a radius is 0."""
    semi_axes = [r / d for r, d in zip(radius, voxel_size, strict=True) if r > 0]
    return math.prod(semi_axes) * (4 / 3 if len(semi_axes) == 3 else 1) * math.pi
