"""Tissue classes of a T1w image, for those who have no segmentation: a first guess."""

from typing import NamedTuple

import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.segmentation.registration import to_sitk
from bids_qcm.segmentation.template import fit_template
from bids_qcm.segmentation.tissues import TISSUES

# in the order of their signal in a T1w image
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
    """What the template says of a T1w image's voxels: tissue probabilities, and the brain."""

    tissues: NDArray[np.float32]
    brain: NDArray[np.bool_]


def segment_t1w(
    image: NDArray[np.floating], affine: NDArray[np.floating], n_threads: int = 1
) -> NDArray[np.int32]:
    """Find gray matter, white matter and cerebrospinal fluid in a T1w image of a head.

    Parameters
    ----------
    image : ndarray of float, shape (X, Y, Z)
        With skull; any unit.
    affine : ndarray, shape (4, 4)
        Voxel indices to mm, with the axes right, anterior and superior.
    n_threads : int

    Returns
    -------
    ndarray of int32, shape (X, Y, Z)
        Labels of `bids_qcm.segmentation.tissues.TISSUES`, 0 outside the brain.

    Raises
    ------
    ValueError
        If no brain is found.

    Notes
    -----
    The intensity is made uniform by N4 (Tustison et al. 2010, doi:10.1109/TMI.2010.2046908). The
    MNI152 average brain that nilearn ships is registered to the image, affinely, and its tissue
    maps are the priors of a mixture of three equally wide normal distributions of the intensity.
    The brain is what of gray and white matter holds together near that of the template, with the
    fluid between. As the registration is affine only, an unusual brain is not found well.
    """
    image = np.nan_to_num(np.asarray(image, np.float32))
    head = _head(image)
    uniform = _make_uniform(image, affine, head, n_threads)
    priors = _register_priors(uniform, affine, head)
    uniform = _make_uniform(uniform, affine, priors.brain, n_threads)
    spacing = voxel_sizes(affine)
    near = _dilated(priors.brain, _REACH_MM, spacing)
    posterior = np.zeros((len(_CLASSES), *image.shape), np.float32)
    posterior[:, near], limits = _classify(uniform, priors, near)
    brain = _extract_brain(uniform, limits, priors, near, spacing)
    numbers = np.array([TISSUES[name].index for name in _CLASSES], np.int32)
    return np.where(brain, numbers[posterior.argmax(axis=0)], np.int32(0))


def _head(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    from skimage.filters import threshold_otsu

    return image > threshold_otsu(image) / 2


def _make_uniform(
    image: NDArray[np.float32],
    affine: NDArray[np.floating],
    where: NDArray[np.bool_],
    n_threads: int,
) -> NDArray[np.float32]:
    """Remove the bias field, estimated in a region on a coarser grid."""
    import SimpleITK as sitk

    full = to_sitk(image, affine)
    shrink = [max(1, round(_BIAS_SHRINK_MM / size)) for size in voxel_sizes(affine)]
    coarse = sitk.Shrink(full, shrink)
    mask = sitk.Cast(sitk.Shrink(to_sitk(where, affine), shrink) > 0.5, sitk.sitkUInt8)
    correction = sitk.N4BiasFieldCorrectionImageFilter()
    correction.SetNumberOfThreads(n_threads)
    correction.SetMaximumNumberOfIterations(_BIAS_ITERATIONS)
    correction.Execute(coarse, mask)
    field = sitk.GetArrayFromImage(correction.GetLogBiasFieldAsImage(full)).T
    return image / np.exp(field.astype(np.float32))


def _register_priors(
    image: NDArray[np.float32], affine: NDArray[np.floating], head: NDArray[np.bool_]
) -> _Priors:
    """Bring the tissue maps of the MNI152 template to the grid of a head."""
    # slow to import
    from nilearn import datasets

    fit = fit_template(image, affine, head)
    fit.require_good("it")
    maps = [
        datasets.load_mni152_brain_mask(resolution=1),
        datasets.load_mni152_gm_template(resolution=1),
        datasets.load_mni152_wm_template(resolution=1),
    ]
    to_template = np.linalg.inv(fit.pose @ maps[0].affine) @ affine
    brain, gray, white = (
        ndimage.affine_transform(
            np.asarray(one.dataobj, np.float32), to_template, output_shape=image.shape, order=1
        )
        for one in maps
    )
    tissues = np.stack([np.clip(brain - gray - white, 0, 1), gray, white])
    blur = [0, *(_PRIOR_BLUR_MM / 2.355 / voxel_sizes(affine))]
    tissues = ndimage.gaussian_filter(tissues, blur) + _PRIOR_FLOOR
    return _Priors(tissues / tissues.sum(axis=0), brain > 0.5)


def _classify(
    image: NDArray[np.float32], priors: _Priors, near: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Give the posterior of each class near the brain, (3, N), and the range of its intensities.

    The mixture is fitted in the template's brain, whose tissues' mean intensities are its start.
    """
    # slow to import
    from sklearn.mixture import GaussianMixture

    values, weights = image[priors.brain].astype(np.float64), priors.tissues[:, priors.brain]
    step = max(1, values.size // _MOST_FITTED)
    low, high = np.percentile(values, [0.5, 99.5])
    fitted = values[::step][:, None]
    starts = (weights**4 @ values) / (weights**4).sum(axis=1)
    mixture = GaussianMixture(
        len(_CLASSES),
        # of one width: else mixed voxels become a class of their own where there is little noise
        covariance_type="tied",
        means_init=starts[:, None],
        weights_init=weights.mean(axis=1) / weights.mean(axis=1).sum(),
        random_state=0,
    ).fit(np.clip(fitted, low, high))
    order = np.argsort(mixture.means_[:, 0])
    if not np.array_equal(order, np.arange(len(_CLASSES))):
        raise ValueError("the tissues cannot be told from each other by their signal")
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
    """Find the brain: gray and white matter that holds together, and the fluid in its folds.

    Thin bridges to scalp and eyes are cut by an opening, and folds are bridged by a closing.
    """
    matter = near & (image > limits[0]) & (image < limits[1])
    core = _eroded(matter, _NECK_MM, spacing)
    parts, n_parts = ndimage.label(core)
    if n_parts == 0:
        raise ValueError("no brain was found in it")
    largest = parts == np.bincount(parts[core]).argmax()
    opened = _dilated(largest, _NECK_MM, spacing) & near
    closed = _eroded(_dilated(opened, _SULCUS_MM, spacing), _SULCUS_MM, spacing)
    return ndimage.binary_fill_holes(closed | _eroded(priors.brain, _SULCUS_MM, spacing))


def _dilated(
    mask: NDArray[np.bool_], radius: float, spacing: NDArray[np.float64]
) -> NDArray[np.bool_]:
    return ndimage.distance_transform_edt(~mask, sampling=spacing) <= radius


def _eroded(
    mask: NDArray[np.bool_], radius: float, spacing: NDArray[np.float64]
) -> NDArray[np.bool_]:
    return ndimage.distance_transform_edt(mask, sampling=spacing) > radius
