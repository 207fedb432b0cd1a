"""Rigid registration of an anatomical image to the magnitude."""

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from nibabel.affines import apply_affine, from_matvec, voxel_sizes
from numpy.typing import NDArray

from bids_qcm.grids import Grid, Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

_HISTOGRAM_BINS = 48
_SAMPLES = 100_000
_SEED = 1
_SHRINK_FACTORS = (4, 2, 1)
_SMOOTHING_MM = (6.0, 3.0, 0.0)

# Minimum relative gain in mutual information for which the registered pose replaces the pose of the
# headers. Mutual information is a mean over about 100,000 voxels, so smaller gains are noise.
_LEAST_GAIN = 0.02

# Minimum ratio of the mutual information with and without mirroring at which a flip is reported. In
# a 3 T head, swapping left and right reduces the mutual information by 12 %.
_FLIP_FACTOR = 1.05


class Alignment(NamedTuple):
    """Position of an anatomical image relative to the magnitude.

    Attributes
    ----------
    pose : ndarray, shape (4, 4)
        Transform from coordinates of the magnitude to coordinates of the anatomical image, in mm.
    chosen : {"header", "rigid"}
        Whether `pose` is the pose of the headers or the registered pose.
    shift : float
        Mean displacement by the registration over the volume of the magnitude, mm.
    header_information, registered_information : float
        Mutual information (nats) of both images at the pose of the headers and at the registered
        pose.
    mirrored_information : float
        Mutual information (nats) after left and right of the anatomical image are swapped and the
        swapped image is registered.
    """

    pose: NDArray[np.float64]
    chosen: Literal["header", "rigid"]
    shift: float
    header_information: float
    registered_information: float
    mirrored_information: float

    @property
    def looks_flipped(self) -> bool:
        """Whether the images match clearly better after left and right of one image are swapped."""
        return self.mirrored_information > _FLIP_FACTOR * self.registered_information


class Deformation(NamedTuple):
    """A map of points by a displacement field, which is the identity outside the grid.

    Attributes
    ----------
    displacement : ndarray of float64, shape (X, Y, Z, 3)
        Displacement of each grid point in mm (RAS axes).
    grid : Grid
    """

    displacement: NDArray[np.float64]
    grid: Grid


def align(
    magnitude: Volume,
    anatomical: Volume,
    *,
    always: bool = False,
    n_threads: int = 1,
) -> Alignment:
    """Register an anatomical image to the magnitude if the headers are not accurate enough.

    Parameters
    ----------
    magnitude, anatomical : Volume of float
        Any unit.
    always : bool
        Whether to use the registered pose even if the pose of the headers is equally good.
    n_threads : int
        Number of threads.

    Returns
    -------
    Alignment
        The registered pose is used if `always` is true, or if the registration moves the head by
        more than half of the smallest voxel edge of the magnitude and increases the mutual
        information by more than 2 %. Otherwise, the pose of the headers is used.
    """
    import SimpleITK as sitk

    fixed, moving = to_sitk(magnitude), to_sitk(anatomical)
    best, best_mirrored = (
        _register(fixed, image, n_threads) for image in (moving, _mirrored(moving))
    )
    registered = pose_of(best)
    before, after = (
        information(fixed, moving, transform) for transform in (sitk.Euler3DTransform(), best)
    )
    mirrored = information(fixed, _mirrored(moving), best_mirrored)
    grid = magnitude.grid
    corners = np.array(np.meshgrid(*([0, n - 1] for n in grid.shape))).reshape(3, -1).T
    points = grid.at(corners / 2 + np.array(grid.shape) / 4)
    shift = np.linalg.norm(apply_affine(registered, points) - points, axis=1).mean()
    needed = after > (1 + _LEAST_GAIN) * before and shift > min(grid.spacing) / 2
    replaces = always or needed
    return Alignment(
        registered if replaces else np.eye(4),
        "rigid" if replaces else "header",
        float(shift),
        before,
        after,
        mirrored,
    )


def information(
    fixed: "sitk.Image",
    moving: "sitk.Image",
    transform: "sitk.Transform",
) -> float:
    """Return the mutual information of two images in nats, over all voxels of their overlap.

    Both images must be of type float32, as returned by :func:`to_sitk`. The mutual information is 0
    if the images do not overlap.
    """
    method = _method(n_threads=1)
    method.SetInitialTransform(transform)
    try:
        return -method.MetricEvaluate(fixed, moving)
    except RuntimeError:  # the images do not overlap
        return 0.0


def maximise_information(
    fixed: "sitk.Image",
    moving: "sitk.Image",
    transform: "sitk.Transform",
    n_threads: int = 1,
    fixed_mask: "sitk.Image | None" = None,
) -> None:
    """Maximise the mutual information of two images [1]_, from coarse to fine resolution.

    Parameters
    ----------
    fixed, moving : SimpleITK.Image
        Images of type float32.
    transform : SimpleITK.Transform
        Initial transform from points of `fixed` to points of `moving`. The transform is changed in
        place.
    n_threads : int
        Number of threads.
    fixed_mask : SimpleITK.Image, optional
        Mask of the voxels of `fixed` that are compared, of type uint8; all voxels by default.

    References
    ----------
    .. [1] Mattes D, et al. PET-CT image registration in the chest using free-form deformations.
       IEEE Trans Med Imaging 2003. doi:10.1109/TMI.2003.809072
    """
    method = _method(n_threads)
    if fixed_mask is not None:
        method.SetMetricFixedMask(fixed_mask)
    n_voxels = np.prod(fixed.GetSize())
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentagePerLevel(
        [min(1.0, _SAMPLES * factor**3 / n_voxels) for factor in _SHRINK_FACTORS], _SEED
    )
    method.SetShrinkFactorsPerLevel(_SHRINK_FACTORS)
    method.SetSmoothingSigmasPerLevel(_SMOOTHING_MM)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-3, numberOfIterations=200, gradientMagnitudeTolerance=1e-6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)


def to_sitk(volume: Volume) -> "sitk.Image":
    """Convert a volume to a SimpleITK image of type float32.

    Values that are not finite become 0.
    """
    import SimpleITK as sitk

    # NaN in the image would make the metric NaN, and the registration would not converge
    finite = np.nan_to_num(np.asarray(volume.values, np.float32), posinf=0, neginf=0)
    image = sitk.GetImageFromArray(finite.T)
    lps = _LPS @ volume.grid.affine
    spacing = voxel_sizes(lps)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return image


def pose_of(transform: "sitk.Transform") -> NDArray[np.float64]:
    """Convert a linear ITK transform to a matrix in NIfTI coordinates, (4, 4)."""
    # an affine map is determined by the images of the origin and of the unit vectors
    points = np.vstack([np.zeros(3), np.eye(3)])
    origin, *others = (np.array(transform.TransformPoint(point.tolist())) for point in points)
    return _LPS @ from_matvec(np.transpose(others - origin), origin) @ _LPS


def to_affine_transform(
    pose: NDArray[np.floating], centre: NDArray[np.floating]
) -> "sitk.AffineTransform":
    """Convert a matrix in NIfTI coordinates, (4, 4), to an ITK transform with a centre in mm."""
    import SimpleITK as sitk

    matrix, middle = _LPS @ pose @ _LPS, _LPS[:3, :3] @ centre
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetCenter(middle.tolist())
    transform.SetTranslation((matrix[:3, 3] + matrix[:3, :3] @ middle - middle).tolist())
    return transform


def to_displacement_field(deformation: Deformation) -> "sitk.Image":
    """Convert a deformation to an ITK displacement field."""
    import SimpleITK as sitk

    flipped = np.asarray(deformation.displacement, np.float64) @ _LPS[:3, :3]
    field = sitk.GetImageFromArray(flipped.transpose(2, 1, 0, 3), isVector=True)
    grid = deformation.grid
    field.CopyInformation(to_sitk(Volume(np.zeros(grid.shape, np.float32), grid)))
    return field


def to_deformation(field: "sitk.Image", grid: Grid) -> Deformation:
    """Convert an ITK displacement field in a grid to a deformation."""
    import SimpleITK as sitk

    displacement = sitk.GetArrayFromImage(field).transpose(2, 1, 0, 3) @ _LPS[:3, :3]
    return Deformation(displacement, grid)


def _mirrored(image: "sitk.Image") -> "sitk.Image":
    """Swap left and right of an image about the middle of its grid."""
    import SimpleITK as sitk

    directions = np.abs(np.array(image.GetDirection()).reshape(3, 3)[0])
    flipped = sitk.Flip(image, [axis == int(directions.argmax()) for axis in range(3)])
    flipped.CopyInformation(image)
    return flipped


def _register(fixed: "sitk.Image", moving: "sitk.Image", n_threads: int) -> "sitk.Euler3DTransform":
    """Register two images rigidly.

    The registration starts from the pose of the headers or from aligned centres of mass, whichever
    has the larger mutual information.
    """
    import SimpleITK as sitk

    centred = sitk.Euler3DTransform(
        sitk.CenteredTransformInitializer(
            fixed, moving, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
        )
    )
    identity = sitk.Euler3DTransform(centred)
    identity.SetTranslation((0.0, 0.0, 0.0))
    transform = max((identity, centred), key=lambda start: information(fixed, moving, start))
    maximise_information(fixed, moving, transform, n_threads=n_threads)
    return transform


def _method(n_threads: int) -> "sitk.ImageRegistrationMethod":
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_HISTOGRAM_BINS)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetNumberOfThreads(n_threads)
    return method
