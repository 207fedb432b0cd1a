"""The labels of an average head at any resolution, from the MNI152 maps that nilearn ships."""

import math

import numpy as np
from scipy import ndimage

_MARGIN = 4
"""Voxels between the brain and the border of the box."""

_FWHM_PER_SD = math.sqrt(8 * math.log(2))


def make_labels(resolution: float) -> tuple[np.ndarray, np.ndarray]:
    """Return tissue labels of the MNI152 brain.

    Each voxel of the brain mask takes the most probable tissue: gray matter, white matter or, for
    what neither explains, cerebrospinal fluid.

    Parameters
    ----------
    resolution
        Isotropic voxel size, mm.

    Returns
    -------
    labels : ndarray
        (X, Y, Z) uint8: 1 gray matter, 2 white matter, 3 cerebrospinal fluid, 0 outside the brain.
    affine : ndarray
        (4, 4) float64, voxel indices to MNI152 mm; the axes are right, anterior, superior.
    """
    gray, white, brain, template_affine = _load_template()
    fluid = np.clip(brain - gray - white, 0, 1)
    origin, shape = _grid(brain, template_affine, resolution)
    first_voxel = (origin - template_affine[:3, 3]) / np.diag(template_affine)[:3]

    def resample(probability: np.ndarray) -> np.ndarray:
        return _resample(probability, resolution, first_voxel, shape)

    labels = np.argmax([resample(tissue) for tissue in (gray, white, fluid)], axis=0) + 1
    labels[resample(brain) <= 0.5] = 0
    affine = np.diag([resolution, resolution, resolution, 1.0])
    affine[:3, 3] = origin
    return labels.astype(np.uint8), affine


def _load_template() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the probabilities of gray and white matter, the brain mask and their 1 mm affine."""
    # Slow to import, and it brings nibabel with it: only this function needs it.
    from nilearn import datasets

    images = [
        datasets.load_mni152_gm_template(resolution=1),
        datasets.load_mni152_wm_template(resolution=1),
        datasets.load_mni152_brain_mask(resolution=1),
    ]
    gray, white, brain = (np.asarray(image.dataobj, dtype=np.float32) for image in images)
    return gray, white, brain, images[0].affine


def _grid(
    brain: np.ndarray, affine: np.ndarray, resolution: float
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return the origin (mm) and shape of a grid around the brain, with a margin.

    Voxel centres are multiples of the resolution, so the 1 mm grid is the template's own and
    needs no interpolation. The grid may reach outside the template, which cuts the brain stem off.
    """
    inside = np.argwhere(brain) * np.diag(affine)[:3] + affine[:3, 3]
    first = np.floor(inside.min(axis=0) / resolution) - _MARGIN
    last = np.ceil(inside.max(axis=0) / resolution) + _MARGIN
    return first * resolution, tuple((last - first + 1).astype(int))


def _resample(
    probability: np.ndarray, resolution: float, first_voxel: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Sample a 1 mm map on a grid that starts at `first_voxel`, without aliasing."""
    # Takes the template's own width of one voxel to the width of the wanted voxel.
    sd = math.sqrt(max(resolution**2 - 1, 0)) / _FWHM_PER_SD
    smooth = ndimage.gaussian_filter(probability, sd, mode="constant")
    return ndimage.affine_transform(
        smooth, [resolution] * 3, first_voxel, shape, order=1, mode="grid-constant"
    )
