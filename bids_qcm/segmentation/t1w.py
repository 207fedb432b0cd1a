"""Approximate tissue segmentation of a T1w image, for datasets without a segmentation."""

from typing import NamedTuple

import numpy as np
from nibabel.processing import fwhm2sigma
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import isotropic_closing, isotropic_dilation, isotropic_erosion

from bids_qcm.grids import Volume
from bids_qcm.segmentation.registration import to_sitk
from bids_qcm.segmentation.template import fit_template
from bids_qcm.segmentation.tissues import TISSUES

# ordered by increasing signal in a T1w image
_CLASSES = ("CSF", "GM", "WM")

_BIAS_SHRINK_MM = 4.0
_BIAS_ITERATIONS = (50, 50, 30)

_REACH_MM = 8.0
_NECK_MM = 2.5
_SULCUS_MM = 5.0
_PRIOR_BLUR_MM = 4.0
_PRIOR_FLOOR = 0.05
_MOST_FITTED = 200_000


class _Priors(NamedTuple):
    """Prior tissue probabilities and brain mask of the template, on the grid of a T1w image."""

    tissues: NDArray[np.float32]
    brain: NDArray[np.bool_]


def segment_t1w(image: Volume, n_threads: int = 1) -> NDArray[np.int32]:
    """Segment gray matter, white matter and cerebrospinal fluid in a T1w image of a head.

    Parameters
    ----------
    image : Volume of float
        T1w image with skull; any unit.
    n_threads : int
        Number of threads.

    Returns
    -------
    ndarray of int32, shape (X, Y, Z)
        Labels of `bids_qcm.segmentation.tissues.TISSUES`; 0 outside the brain.

    Raises
    ------
    ValueError
        If no brain is found, the template does not match, or the tissues have no contrast.

    Notes
    -----
    The image is bias-corrected with N4 (Tustison et al. 2010, doi:10.1109/TMI.2010.2046908). The
    MNI152 average brain from nilearn is registered to the image with an affine transform. The
    intensities are modelled as a mixture of three normal distributions of equal width, with the
    tissue maps of the template as priors. The brain mask is the largest connected region of gray
    and white matter near the template brain, together with the fluid in its folds. Unusual brains
    are segmented poorly, because the registration is only affine.
    """
    grid = image.grid
    values = np.nan_to_num(np.asarray(image.values, np.float32))
    head = head_mask(values)
    uniform = remove_bias(Volume(values, grid), head, n_threads)
    priors = _register_priors(Volume(uniform, grid), head)
    uniform = remove_bias(Volume(uniform, grid), priors.brain, n_threads)
    near = isotropic_dilation(priors.brain, _REACH_MM, spacing=grid.spacing)
    posterior = np.zeros((len(_CLASSES), *grid.shape), np.float32)
    posterior[:, near], limits = _classify(uniform, priors, near)
    brain = _extract_brain(uniform, limits, priors, near, grid.spacing)
    numbers = np.array([TISSUES[name].number for name in _CLASSES], np.int32)
    return np.where(brain, numbers[posterior.argmax(axis=0)], np.int32(0))


def head_mask(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the voxels of a T1w image that are brighter than half of Otsu's threshold."""
    from skimage.filters import threshold_otsu

    return image > threshold_otsu(image) / 2


def remove_bias(image: Volume, where: NDArray[np.bool_], n_threads: int) -> NDArray[np.float32]:
    """Remove the bias field, which is estimated in the region `where` on a coarser grid."""
    import SimpleITK as sitk

    full = to_sitk(image)
    shrink = [max(1, round(_BIAS_SHRINK_MM / size)) for size in image.grid.spacing]
    coarse = sitk.Shrink(full, shrink)
    mask = sitk.Cast(sitk.Shrink(to_sitk(Volume(where, image.grid)), shrink) > 0.5, sitk.sitkUInt8)
    correction = sitk.N4BiasFieldCorrectionImageFilter()
    correction.SetNumberOfThreads(n_threads)
    correction.SetMaximumNumberOfIterations(_BIAS_ITERATIONS)
    correction.Execute(coarse, mask)
    field = sitk.GetArrayFromImage(correction.GetLogBiasFieldAsImage(full)).T
    values: NDArray[np.float32] = image.values
    bias: NDArray[np.float32] = np.exp(field.astype(np.float32))
    return values / bias


def _register_priors(image: Volume, head: NDArray[np.bool_]) -> _Priors:
    """Register the MNI152 template, and resample its tissue maps to the grid of the image."""
    # import here, because nilearn is slow to import
    from nilearn import datasets

    fit = fit_template(image, head)
    fit.require_good("the image")
    maps = [
        datasets.load_mni152_brain_mask(resolution=1),
        datasets.load_mni152_gm_template(resolution=1),
        datasets.load_mni152_wm_template(resolution=1),
    ]
    to_template = np.linalg.inv(fit.pose @ maps[0].affine) @ image.grid.affine
    brain, gray, white = (
        ndimage.affine_transform(
            np.asarray(one.dataobj, np.float32), to_template, output_shape=image.grid.shape, order=1
        )
        for one in maps
    )
    tissues = np.stack([np.clip(brain - gray - white, 0, 1), gray, white])
    blur = [0, *(fwhm2sigma(_PRIOR_BLUR_MM) / image.grid.spacing)]
    tissues = ndimage.gaussian_filter(tissues, blur) + _PRIOR_FLOOR
    return _Priors(tissues / tissues.sum(axis=0), brain > 0.5)


def _classify(
    image: NDArray[np.float32], priors: _Priors, near: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Return the class probabilities near the brain, (3, N), and intensity limits of brain matter.

    The mixture model is fitted in the template brain. The initial means are the mean intensities in
    the tissues of the template.
    """
    # import here, because scikit-learn is slow to import
    from sklearn.mixture import GaussianMixture

    values, weights = image[priors.brain].astype(np.float64), priors.tissues[:, priors.brain]
    step = max(1, values.size // _MOST_FITTED)
    low, high = np.percentile(values, [0.5, 99.5])
    fitted = values[::step][:, None]
    starts = (weights**4 @ values) / (weights**4).sum(axis=1)
    mixture = GaussianMixture(
        len(_CLASSES),
        # Use the same width for all classes. Otherwise, mixed voxels become a class in images with
        # little noise.
        covariance_type="tied",
        means_init=starts[:, None],
        weights_init=weights.mean(axis=1) / weights.mean(axis=1).sum(),
        random_state=0,
    ).fit(np.clip(fitted, low, high))
    order = np.argsort(mixture.means_[:, 0])
    if not np.array_equal(order, np.arange(len(_CLASSES))):
        raise ValueError("the tissues cannot be distinguished by their signal")
    likelihood = mixture.predict_proba(np.clip(image[near], low, high)[:, None].astype(np.float64))
    posterior = likelihood.T / mixture.weights_[:, None] * priors.tissues[:, near]
    deviation = np.sqrt(mixture.covariances_[0, 0])
    limits = (
        float((mixture.means_[0, 0] + mixture.means_[1, 0]) / 2),
        float(mixture.means_[2, 0] + 4 * deviation),
    )
    return (posterior / posterior.sum(axis=0)).astype(np.float32), limits


def _extract_brain(
    image: NDArray[np.float32],
    limits: tuple[float, float],
    priors: _Priors,
    near: NDArray[np.bool_],
    spacing: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Return the brain mask: connected gray and white matter, and the fluid in its folds.

    A morphological opening removes thin bridges to scalp and eyes, and a closing fills the folds.
    """
    matter = near & (image > limits[0]) & (image < limits[1])
    core = isotropic_erosion(matter, _NECK_MM, spacing=spacing)
    parts, n_parts = ndimage.label(core)
    if n_parts == 0:
        raise ValueError("no brain was found")
    largest = parts == np.bincount(parts[core]).argmax()
    opened = isotropic_dilation(largest, _NECK_MM, spacing=spacing) & near
    closed = isotropic_closing(opened, _SULCUS_MM, spacing=spacing)
    eroded = isotropic_erosion(priors.brain, _SULCUS_MM, spacing=spacing)
    return ndimage.binary_fill_holes(closed | eroded)
