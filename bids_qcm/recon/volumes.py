"""The volumes from which a method computes conductivity."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.kernels import Triple
from bids_qcm.recon.replicates import Noise


@dataclass(frozen=True, eq=False)
class Volumes:
    """Input volumes from which the Laplacian or the conductivity is computed.

    Attributes
    ----------
    phase : ndarray of float64, shape (X, Y, Z)
        Unwrapped phi0 in rad, finite everywhere. Its sign makes the median Laplacian positive.
    support : ndarray of int32, shape (X, Y, Z)
        Tissue numbers; 0 outside the mask. Kernels combine only voxels with the same number.
    voxel_size : tuple of 3 floats
        Voxel size in mm.
    zscore : ndarray of float32, shape (X, Y, Z), or None
        z-scored magnitude if the method uses the magnitude; float64 on the coarser grids of an
        inversion.
    noise : Noise or None
        Noise of the phase and the magnitude; None if it is unknown.
    b1_squared : ndarray of float64, shape (X, Y, Z), or None
        Square of the magnitude of B1+ in any unit, positive in the mask; None if it is constant.
    model_error : float
        Standard deviation, in rad, of the phase error due to effects that the phase equation
        neglects, for a voxel of 8 mm^3; see :func:`bids_qcm.recon.inversion.model_error`. For
        voxels of other sizes, the variance is inversely proportional to the volume.
    """

    phase: NDArray[np.float64]
    support: NDArray[np.int32]
    voxel_size: Triple
    zscore: NDArray[Any] | None = None
    noise: Noise | None = None
    b1_squared: NDArray[np.float64] | None = None
    model_error: float = 0.0

    @property
    def inside(self) -> NDArray[np.bool_]:
        """The mask."""
        return self.support != 0
