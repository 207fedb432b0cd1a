"""Spatial normalisation: registration of a T1w image to nilearn's MNI152 template."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from skimage.morphology import isotropic_dilation

from bids_qcm.grids import Volume
from bids_qcm.segmentation.registration import (
    Deformation,
    maximise_information,
    pose_of,
    to_affine_transform,
    to_deformation,
    to_sitk,
)
from bids_qcm.segmentation.t1w import head_mask, remove_bias
from bids_qcm.segmentation.template import fit_template, shipped_template

if TYPE_CHECKING:
    import SimpleITK as sitk

# Voxel size of the registration and of the displacement field.
_GRID_MM = 2
# Width of the rim around the template brain that is compared with the image. In the rim, the
# template is 0, and the fluid and the inner skull are dark in the T1w image.
_RIM_MM = 2.0
# Percentiles of the brain intensities that are matched between the image and the template.
_MATCHED_PERCENTILES = (2, 10, 25, 50, 75, 90, 98)
# Resolutions of the deformable registration, from coarse to fine, with the number of iterations.
_LEVELS = ((4, 60), (2, 40), (1, 20))
# Standard deviation of the Gaussian filter of the displacement field, in voxels of each resolution.
_SMOOTHING_SD = 1.75
# Maximum fraction of the brain that a plausible deformation may fold.
_MOST_FOLDED = 1e-3


class Normalisation(NamedTuple):
    """Registration of a T1w image to the template.

    Attributes
    ----------
    affine : ndarray, shape (4, 4)
        Map from template coordinates to coordinates of the image in mm, after `deformation`.
    deformation : Deformation
        Map from template coordinates to template coordinates, before `affine`.
    inverse : Deformation
        Inverse of `deformation`.
    """

    affine: NDArray[np.float64]
    deformation: Deformation
    inverse: Deformation


def register_to_template(t1w: Volume, n_threads: int = 1) -> Normalisation:
    """Register a T1w image of a head to the MNI152 template.

    Parameters
    ----------
    t1w : Volume of float
        T1w image with or without skull; any unit.
    n_threads : int
        Number of threads.

    Returns
    -------
    Normalisation

    Raises
    ------
    ValueError
        If the template does not match the image, or if the deformation folds the brain.

    Notes
    -----
    The image is bias-corrected with N4. The affine transform of
    :func:`~bids_qcm.segmentation.template.fit_template` is refined by mutual information in the
    template brain and a rim of 2 mm. Diffeomorphic demons [1]_ at 8, 4 and 2 mm follow, after the
    intensities of the brain have been matched to the template.

    References
    ----------
    .. [1] Vercauteren T, et al. Diffeomorphic demons: efficient non-parametric image registration.
       NeuroImage 2009. doi:10.1016/j.neuroimage.2008.10.040
    """
    import SimpleITK as sitk

    values = np.nan_to_num(np.asarray(t1w.values, np.float32))
    head = head_mask(values)
    fit = fit_template(Volume(values, t1w.grid), head)
    fit.require_good("the image")
    template = shipped_template(_GRID_MM)
    brain, grid = template.values > 0, template.grid
    region = isotropic_dilation(brain, _RIM_MM, spacing=grid.spacing)
    moving = to_sitk(Volume(remove_bias(Volume(values, t1w.grid), head, n_threads), t1w.grid))
    fixed = to_sitk(template)
    affine = to_affine_transform(fit.pose, grid.at(np.argwhere(brain).mean(axis=0)))
    mask = sitk.Cast(to_sitk(Volume(region, grid)), sitk.sitkUInt8)
    maximise_information(fixed, moving, affine, n_threads, mask)
    aligned = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, affine)).T
    matched = Volume(np.where(region, _matched(aligned, template.values, brain), 0), grid)
    field = _deform(fixed, to_sitk(matched), n_threads)
    jacobian = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field)).T
    if np.mean(jacobian[brain] <= 0) > _MOST_FOLDED:
        raise ValueError("the deformation to the template folds the brain")
    return Normalisation(
        pose_of(affine),
        to_deformation(field, grid),
        to_deformation(sitk.InvertDisplacementField(field), grid),
    )


def _matched(
    values: NDArray[np.float32], template: NDArray[np.float32], brain: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the values with their percentiles in the brain matched to the template."""
    own, wanted = (
        [0, *np.percentile(one[brain], _MATCHED_PERCENTILES)] for one in (values, template)
    )
    return np.interp(values, own, wanted).astype(np.float32)


def _deform(fixed: "sitk.Image", moving: "sitk.Image", n_threads: int) -> "sitk.Image":
    """Return the displacement field of diffeomorphic demons, from coarse to fine resolution."""
    import SimpleITK as sitk

    field = None
    for factor, iterations in _LEVELS:
        one, other = (_coarser(image, factor) for image in (fixed, moving))
        demons = sitk.DiffeomorphicDemonsRegistrationFilter()
        demons.SetNumberOfThreads(n_threads)
        demons.SetNumberOfIterations(iterations)
        demons.SetStandardDeviations(_SMOOTHING_SD)
        demons.SmoothDisplacementFieldOn()
        if field is None:
            field = demons.Execute(one, other)
        else:
            field = demons.Execute(one, other, sitk.Resample(field, one))
    return sitk.Cast(field, sitk.sitkVectorFloat64)


def _coarser(image: "sitk.Image", factor: int) -> "sitk.Image":
    import SimpleITK as sitk

    if factor == 1:
        return image
    blurred = sitk.SmoothingRecursiveGaussian(image, factor * _GRID_MM / 2)
    return sitk.Shrink(blurred, [factor] * 3)
