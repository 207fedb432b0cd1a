"""The head on which the benchmarks run."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from benchmarks.cases import SNR, Part
from bids_qcm.recon import METHODS, Reconstruction, reconstruct
from bids_qcm.recon.kernels import Triple, ellipsoid
from bids_qcm.recon.quadratic_fit import fit_quadratic
from bids_qcm.recon.surface_integral import integrate_surface


@dataclass(frozen=True, eq=False)
class Head:
    """Volumes of shape (X, Y, Z) that can be passed to `reconstruct`.

    Attributes
    ----------
    phase : ndarray of float32
        Unwrapped phase in rad.
    magnitude : ndarray of float32
        Magnitude in any unit.
    mask : ndarray of bool
        Brain mask.
    labels : ndarray of uint8
        Tissue labels, which are not 0 in the mask.
    voxel_size : float
        Isotropic voxel size in mm.
    frequency : float
        Larmor frequency in Hz.
    """

    phase: NDArray[np.float32]
    magnitude: NDArray[np.float32]
    mask: NDArray[np.bool_]
    labels: NDArray[np.uint8]
    voxel_size: float
    frequency: float

    @property
    def n_voxels(self) -> int:
        """Number of output voxels."""
        return int(self.mask.sum())

    def n_support(self, radius: float) -> int:
        """Return the number of voxels in the ellipsoid with a radius in mm."""
        return int(self.kernel(radius).sum())

    def kernel(self, radius: float) -> NDArray[np.bool_]:
        """Return the ellipsoid with a radius in mm."""
        return ellipsoid((radius,) * 3, self._size)

    def share_of_whole(self, radius: float) -> float:
        """Return the fraction of the mask's voxels whose whole ellipsoid is in the mask."""
        distance = distance_transform_edt(np.pad(self.mask, 1), sampling=self.voxel_size)
        return float(np.sum(distance > radius * (1 + 1e-6)) / self.n_voxels)

    def slab(self, share: float) -> Self:
        """Return the middle planes along x that contain about the fraction `share` of the mask."""
        below = np.cumsum(self.mask.sum(axis=(1, 2))) / self.n_voxels
        first = np.searchsorted(below, (1 - share) / 2)
        last = np.searchsorted(below, (1 + share) / 2 - 1e-9)
        return self._cut((slice(int(first), int(last) + 1), slice(None), slice(None)))

    def middle(self, half_width: int) -> Self:
        """Return a central cube with at most twice `half_width` voxels along each axis."""
        return self._cut(
            tuple(slice(max(n // 2 - half_width, 0), n // 2 + half_width) for n in self.mask.shape)
        )

    def reconstruct(self, method: str, **options: Any) -> Reconstruction:  # noqa: ANN401
        """Reconstruct the conductivity; the options are passed to `reconstruct`."""
        return reconstruct(
            self.phase,
            method=method,
            voxel_size=self.voxel_size,
            frequency=self.frequency,
            mask=self.mask,
            magnitude=self.magnitude,
            labels=self.labels,
            **options,
        )

    def noise(self) -> dict[str, Any]:
        """Return the noise as keyword arguments of `reconstruct`."""
        sd = float(self.magnitude[self.mask].mean() / SNR)
        return {"phase_noise": sd / np.maximum(self.magnitude, sd), "magnitude_noise": sd}

    def loop(self, method: str, part: Part, radius: float) -> Callable[[], Any]:
        """Return a function that calls only `fit_quadratic` or `integrate_surface` for a method."""
        support = self.mask.astype(np.int32)
        if METHODS[method].uses_labels:
            support *= self.labels
        geometry = {"voxel_size": self._size, "radius": (radius,) * 3}
        geometry["zscore"] = self._zscore() if METHODS[method].uses_magnitude else None
        if part == "integral":
            return partial(integrate_surface, self._gradient(), support, **geometry)
        return partial(
            fit_quadratic,
            np.where(self.mask, self.phase, 0),
            support,
            gradient=METHODS[method].integral_radius is not None,
            **geometry,
        )

    def save(self, path: Path) -> None:
        """Save the head in a file for another process."""
        np.savez(path, **{item.name: getattr(self, item.name) for item in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load a saved head."""
        with np.load(path) as saved:
            return cls(
                **{name: array if array.ndim else float(array) for name, array in saved.items()}
            )

    @property
    def _size(self) -> Triple:
        return (self.voxel_size,) * 3

    def _cut(self, box: tuple[slice, ...]) -> Self:
        names = ("phase", "magnitude", "mask", "labels")
        return replace(
            self, **{name: np.ascontiguousarray(getattr(self, name)[box]) for name in names}
        )

    def _zscore(self) -> NDArray[np.float32]:
        inside = self.magnitude[self.mask]
        return np.where(self.mask, (self.magnitude - inside.mean()) / inside.std(), 0)

    def _gradient(self) -> NDArray[np.float32]:
        """Return a gradient that is fast to compute.

        The run time of the integral does not depend on the values of the gradient.
        """
        gradient = np.stack(np.gradient(self.phase, self.voxel_size * 1e-3))
        return np.where(self.mask, gradient, np.nan).astype(np.float32)


def make_head(resolution: float) -> Head:
    """Return the phantom's head with voxels of `resolution` mm."""
    # imported here so that processes that only load a saved head do not import nilearn
    from bids_qcm.phantom.make import make_phantom
    from bids_qcm.phantom.parameters import PhantomParameters

    phantom = make_phantom(PhantomParameters(resolution=resolution, snr=SNR))
    return Head(
        phase=phantom.phase[0],
        magnitude=phantom.magnitude[0],
        mask=phantom.mask,
        labels=phantom.labels,
        voxel_size=resolution,
        frequency=phantom.frequency,
    )
