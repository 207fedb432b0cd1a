"""Smooth, invertible deformations of the template, and movements of the head between scans."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from bids_qcm.phantom.grids import IsotropicGrid, grid_around

CORRELATION_LENGTH = 40.0
"""Distance at which the correlation of the displacement falls to 1/e, mm."""

LARGEST_DEVIATION = 2.5
"""Maximum displacement along an axis, in standard deviations."""

LEAST_JACOBIAN = 0.3
"""Minimum determinant of the Jacobian. A smooth map whose determinant is positive
everywhere is invertible."""

_SPACING = 8.0
"""Voxel size of the displacement field, in mm."""

_BOX = ((-128.0, -168.0, -128.0), (128.0, 136.0, 144.0))
"""Corners of the displacement field, mm. The box contains the head in every scan of a study."""

_INVERSION_STEPS = 50


@dataclass(frozen=True, eq=False)
class Warp:
    """Map from points of a scan to points of the template.

    The head first moves back to its reference position, and then every point is displaced.

    Attributes
    ----------
    displacement : ndarray of float64, shape (X, Y, Z, 3)
        Displacement from the reference position to the template, mm (RAS axes). It is interpolated
        linearly and is constant outside the grid.
    grid : IsotropicGrid
        Grid of the displacement.
    movement : ndarray of float, shape (4, 4)
        Rigid map from points of the scan to the reference position, in mm.
    """

    displacement: NDArray[np.float64]
    grid: IsotropicGrid
    movement: NDArray[np.floating]

    def to_template(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return the points of the template at points of the scan, both (N, 3) in mm."""
        return self._deform(_apply(self.movement, np.asarray(points, np.float64)))

    def from_template(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return the points of the scan at points of the template, both (N, 3) in mm."""
        wanted = np.asarray(points, np.float64)
        reference = wanted
        # The displacement between two points changes by less than their distance, so this iteration
        # converges.
        for _ in range(_INVERSION_STEPS):
            reference = reference + wanted - self._deform(reference)
        return _apply(np.linalg.inv(self.movement), reference)

    def pull(
        self, values: NDArray[np.floating], source: IsotropicGrid, target: IsotropicGrid
    ) -> NDArray[np.float32]:
        """Interpolate maps of the template linearly at the voxels of a scan.

        Parameters
        ----------
        values : ndarray of float, shape (N, *source.shape)
            N maps; 0 outside the grid.
        source, target : IsotropicGrid
            Grid of the maps, and grid of the scan.

        Returns
        -------
        ndarray of float32, shape (N, *target.shape)
        """
        indices = (self.to_template(target.points()) - source.origin) / source.resolution
        pulled = [
            ndimage.map_coordinates(one, indices.T, order=1, output=np.float32) for one in values
        ]
        return np.reshape(pulled, (len(values), *target.shape))

    def _deform(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        indices = (points - self.grid.origin).T / self.grid.resolution
        shift = [
            ndimage.map_coordinates(along, indices, order=1, mode="nearest")
            for along in np.moveaxis(self.displacement, -1, 0)
        ]
        return points + np.transpose(shift)


def random_displacement(
    sd: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], IsotropicGrid]:
    """Return a smooth random displacement field that is invertible.

    Parameters
    ----------
    sd : float
        Standard deviation of the displacement along each axis, mm.
    rng : Generator

    Returns
    -------
    displacement : ndarray of float64, shape (X, Y, Z, 3)
        Displacement, mm. If its Jacobian falls below `LEAST_JACOBIAN`, the field is scaled down.
    grid : IsotropicGrid
        Grid of the displacement.
    """
    grid = grid_around(*_BOX, _SPACING, margin=0)
    # White noise has this correlation after filtering with a Gaussian of this standard deviation.
    width = CORRELATION_LENGTH / 2 / _SPACING
    noise = rng.standard_normal((*grid.shape, 3))
    field = ndimage.gaussian_filter(noise, (width, width, width, 0), mode="wrap")
    field *= (2 * np.sqrt(np.pi) * width) ** 1.5
    displacement = sd * field.clip(-LARGEST_DEVIATION, LARGEST_DEVIATION)
    while jacobian(displacement, grid).min() < LEAST_JACOBIAN:
        displacement *= 0.9
    return displacement, grid


def jacobian(displacement: NDArray[np.float64], grid: IsotropicGrid) -> NDArray[np.float64]:
    """Return the Jacobian determinant of a deformation in each voxel of the field.

    Parameters
    ----------
    displacement : ndarray of float64, shape (X, Y, Z, 3)
        Displacement, mm.
    grid : IsotropicGrid
        Grid of the displacement.

    Returns
    -------
    ndarray of float64, shape (X, Y, Z)
        Local change of the volume: 1 without deformation.
    """
    slopes = [np.gradient(displacement, grid.resolution, axis=axis) for axis in range(3)]
    return np.linalg.det(np.stack(slopes, axis=-1) + np.eye(3))


def rigid_movement(
    translation: ArrayLike, rotation: ArrayLike, centre: ArrayLike
) -> NDArray[np.float64]:
    """Return the matrix of a rigid movement.

    Parameters
    ----------
    translation : array_like, shape (3,)
        Translation, mm.
    rotation : array_like, shape (3,)
        Rotation vector: its direction is the axis, and its length is the angle in degrees.
    centre : array_like, shape (3,)
        Centre of the rotation, in mm.

    Returns
    -------
    ndarray of float64, shape (4, 4)
    """
    # Import here, because only studies need it.
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.asarray(rotation), degrees=True).as_matrix()
    matrix[:3, 3] = np.asarray(translation) + centre - matrix[:3, :3] @ np.asarray(centre)
    return matrix


def _apply(matrix: NDArray[np.floating], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points @ matrix[:3, :3].T + matrix[:3, 3]
