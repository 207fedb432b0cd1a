"""Mid-sagittal plane of a head: the mirror plane for which the mirror image fits best."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from nibabel.affines import apply_affine, from_matvec
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.grids import Volume

LEAST_SYMMETRY = 0.6
"""Minimum correlation of a head with its mirror image. The correlation is 0.99 for the phantom,
0.52 if left and right are exchanged with front and back, and 0.34 for half a head."""

# Spacing of the points that are compared, in mm.
_COARSE_MM = 8.0
_FINE_MM = 4.0

# Plane normals in the grid search, as slopes relative to the sagittal direction in the header.
_SLOPES = np.linspace(-0.4, 0.4, 9)

# Edge lengths of the first simplex: two slopes, and the shift in mm.
_FIRST_STEPS = (0.05, 0.05, 4.0)


@dataclass(frozen=True, eq=False)
class MirrorPlane:
    """A plane, and the reflection of points in it.

    Attributes
    ----------
    normal : ndarray of float, shape (3,)
        Unit vector perpendicular to the plane, towards the right side of the head.
    offset : float
        Distance of the plane from the origin along the normal, mm.
    correlation : float
        Correlation of the head with its mirror image, at most 1.
    """

    normal: NDArray[np.float64]
    offset: float
    correlation: float

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """The reflection as an affine matrix, (4, 4)."""
        reflection = np.eye(3) - 2 * np.outer(self.normal, self.normal)
        return from_matvec(reflection, 2 * self.offset * self.normal)

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the reflected points, (N, 3) in mm."""
        reflected: NDArray[np.float64] = apply_affine(self.matrix, points)
        return reflected


def mid_sagittal_plane(
    magnitude: Volume, mask: NDArray[np.bool_], without: NDArray[np.bool_] | None = None
) -> MirrorPlane:
    """Find the mirror plane for which the mirror image of a masked magnitude fits best.

    Parameters
    ----------
    magnitude : Volume of float
        Any unit and contrast; finite.
    mask : ndarray of bool, shape of `magnitude`
        Brain or head; at least one voxel.
    without : ndarray of bool, shape of `magnitude`, optional
        Voxels that are not symmetric, such as lesions. These voxels and their mirror image are left
        out of the comparison.

    Returns
    -------
    MirrorPlane
        The plane with the largest correlation. A correlation below `LEAST_SYMMETRY` means that the
        mask does not show both sides of a head.

    Notes
    -----
    The magnitude is divided by its median in the mask and is 0 outside it, so that the outline of
    the brain counts too. It is smoothed to the spacing of the points that are compared. A grid
    search over planes through the centroid of the mask, up to 22 degrees from the sagittal
    direction of the header, uses points 8 mm apart. The simplex algorithm of Nelder and Mead then
    refines the direction and position of the plane with points 4 mm apart.
    """
    # import here, because scipy.optimize is slow to import
    from scipy.optimize import minimize

    centroid = magnitude.grid.at(np.argwhere(mask).mean(axis=0))
    coarse = _Comparison(magnitude, mask, without, centroid, _COARSE_MM)
    start = max(product(_SLOPES, _SLOPES), key=lambda slopes: coarse.correlation((*slopes, 0.0)))
    fine = _Comparison(magnitude, mask, without, centroid, _FINE_MM)
    first = np.array([*start, 0.0])
    found = minimize(
        fine.negative_correlation,
        first,
        method="Nelder-Mead",
        options={
            "initial_simplex": np.vstack([first, first + np.diag(_FIRST_STEPS)]),
            "xatol": 1e-3,
            "fatol": 1e-5,
        },
    )
    return fine.plane(found.x, -float(found.fun))


class _Comparison:
    """Comparison of a masked magnitude with its mirror image at regularly spaced points."""

    def __init__(
        self,
        magnitude: Volume,
        mask: NDArray[np.bool_],
        without: NDArray[np.bool_] | None,
        centroid: NDArray[np.float64],
        spacing: float,
    ) -> None:
        grid = magnitude.grid
        values = np.where(mask, magnitude.values / np.median(magnitude.values[mask]), 0)
        # standard deviation of a box function that is as wide as the spacing
        sigma = spacing / np.sqrt(12) / grid.spacing
        self._values = ndimage.gaussian_filter(values.astype(np.float32), sigma)
        self._without = None if without is None else without.astype(np.float32)
        self._to_indices = np.linalg.inv(grid.affine)
        self._centroid = centroid
        step = np.clip(np.round(spacing / grid.spacing).astype(int), 1, None)
        every = tuple(slice(one // 2, None, one) for one in step.tolist())
        indices = np.argwhere(ndimage.binary_dilation(mask, iterations=int(step.max()))[every])
        indices = indices * step + step // 2
        self._points = grid.at(indices)
        self._own = self._values[tuple(indices.T)]
        self._kept = np.ones(len(indices), bool)
        if without is not None:
            self._kept = ~without[tuple(indices.T)]

    def plane(
        self, parameters: Sequence[float] | NDArray[np.floating], correlation: float = np.nan
    ) -> MirrorPlane:
        """Return the plane with two slopes and a shift from the centroid in mm."""
        *slopes, shift = parameters
        normal = np.array([1.0, *slopes]) / np.hypot(1, np.hypot(*slopes))
        return MirrorPlane(normal, float(normal @ self._centroid + shift), correlation)

    def negative_correlation(self, parameters: NDArray[np.float64]) -> float:
        """Return the negative correlation, which is minimised."""
        return -self.correlation(parameters)

    def correlation(self, parameters: Sequence[float] | NDArray[np.floating]) -> float:
        """Return the correlation of the magnitude with its mirror image; -1 if it is constant."""
        indices = apply_affine(self._to_indices, self.plane(parameters)(self._points)).T
        mirrored = ndimage.map_coordinates(self._values, indices, order=1)
        kept = self._kept
        if self._without is not None:
            kept = kept & (ndimage.map_coordinates(self._without, indices, order=1) < 0.5)
        own, mirrored = self._own[kept], mirrored[kept]
        if not (own.size and np.ptp(own) > 0 and np.ptp(mirrored) > 0):
            return -1.0
        return float(np.corrcoef(own, mirrored)[0, 1])
