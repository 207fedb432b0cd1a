"""The head that everything is measured on."""

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
    """Volumes of shape (X, Y, Z), as `reconstruct` takes them.

    Attributes
    ----------
    phase : ndarray of float32
        In rad, not wrapped.
    magnitude : ndarray of float32
    mask : ndarray of bool
    labels : ndarray of uint8
        A tissue in every voxel of the mask.
    voxel_size : float
        In mm, isotropic.
    frequency : float
        In Hz.
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
        """Give the number of voxels of the ellipsoid with a radius in mm."""
        return int(self.kernel(radius).sum())

    def kernel(self, radius: float) -> NDArray[np.bool_]:
        """Give the ellipsoid with a radius in mm."""
        return ellipsoid((radius,) * 3, self._size)

    def share_of_whole(self, radius: float) -> float:
        """Give the share of the mask's voxels whose whole ellipsoid is in the mask."""
        distance = distance_transform_edt(np.pad(self.mask, 1), sampling=self.voxel_size)
        return float(np.sum(distance > radius * (1 + 1e-6)) / self.n_voxels)

    def slab(self, share: float) -> Self:
        """Cut out the middle planes along x that hold about a share of the mask."""
        below = np.cumsum(self.mask.sum(axis=(1, 2))) / self.n_voxels
        first = np.searchsorted(below, (1 - share) / 2)
        last = np.searchsorted(below, (1 + share) / 2 - 1e-9)
        return self._cut((slice(int(first), int(last) + 1), slice(None), slice(None)))

    def middle(self, half_width: int) -> Self:
        """Cut out a cube in the middle, with at most 2 `half_width` voxels along each axis."""
        return self._cut(
            tuple(slice(max(n // 2 - half_width, 0), n // 2 + half_width) for n in self.mask.shape)
        )

    def reconstruct(self, method: str, **options: Any) -> Reconstruction:  # noqa: ANN401
        """Map the conductivity; the options are those of `reconstruct`."""
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
        """Give the noise as `reconstruct` takes it."""
        sd = float(self.magnitude[self.mask].mean() / SNR)
        return {"phase_noise": sd / np.maximum(self.magnitude, sd), "magnitude_noise": sd}

    def loop(self, method: str, part: Part, radius: float) -> Callable[[], Any]:
        """Prepare a call of `fit_quadratic` or `integrate_surface` alone, as a method makes it."""
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
            gradient=METHODS[method].form == "integral",
            **geometry,
        )

    def save(self, path: Path) -> None:
        """Write the head for another process."""
        np.savez(path, **{item.name: getattr(self, item.name) for item in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a saved head."""
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
        """Differentiate the phase quickly: the integral's time does not depend on the values."""
        gradient = np.stack(np.gradient(self.phase, self.voxel_size * 1e-3))
        return np.where(self.mask, gradient, np.nan).astype(np.float32)


def make_head(resolution: float) -> Head:
    """Make the phantom's head with voxels of `resolution` mm."""
    # nilearn, which the anatomy comes with, is not for the processes that load a saved head
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
