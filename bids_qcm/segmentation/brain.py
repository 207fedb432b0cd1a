"""Brain masks: from the tissue classes of a T1w image, or from the magnitude itself."""

from typing import NamedTuple

import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.segmentation.template import TemplateFit, fit_template, template_brain

LEAST_OVERLAP = 0.8
"""Least share of a brain mask that has signal."""

LEAST_SIGNAL_ML = 150.0
"""Less signal than this is not a head: a slab of 2 cm through a brain has more."""

_FOLD_MM = 8.0
_SKULL_MM = 2.0


class MadeMask(NamedTuple):
    """A brain mask made from the magnitude.

    Attributes
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
    fit : TemplateFit
    overlap : float
        Share of the template's brain that has signal.
    """

    mask: NDArray[np.bool_]
    fit: TemplateFit
    overlap: float


def brain_of_magnitude(
    magnitude: NDArray[np.floating], affine: NDArray[np.floating], signal: NDArray[np.bool_]
) -> MadeMask:
    """Make a brain mask from a magnitude image by the MNI152 template.

    Parameters
    ----------
    magnitude : ndarray of float, shape (X, Y, Z)
        Any unit and any contrast.
    affine : ndarray, shape (4, 4)
        Voxel indices to mm, with the axes right, anterior and superior.
    signal : ndarray of bool, shape (X, Y, Z)
        Voxels with signal.

    Returns
    -------
    MadeMask

    Raises
    ------
    ValueError
        If the image shows no head, or the template does not fit.
    """
    spacing = voxel_sizes(affine)
    volume = np.count_nonzero(signal) * np.prod(spacing) / 1000
    if volume < LEAST_SIGNAL_ML:
        raise ValueError(
            f"the magnitude has {volume:.0f} ml of signal, less than the {LEAST_SIGNAL_ML:.0f} ml "
            "of a head"
        )
    fit = fit_template(magnitude, affine, signal)
    fit.require_good("the magnitude")
    template = template_brain(fit.pose, magnitude.shape, affine)
    share = float(np.count_nonzero(template & signal) / max(np.count_nonzero(template), 1))
    if share < LEAST_OVERLAP:
        raise ValueError(f"only {share:.0%} of the brain that the MNI152 template shows has signal")
    return MadeMask(_with_signal(template, signal, spacing), fit, share)


def brain_of_labels(labels: NDArray[np.integer], affine: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return the filled hull of tissue labels, which has the fluid in the folds of the brain.

    Parameters
    ----------
    labels : ndarray of int, shape (X, Y, Z)
        0 outside the brain.
    affine : ndarray, shape (4, 4)
        Voxel indices to mm.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
    """
    hull = np.zeros(labels.shape, bool)
    boxes = ndimage.find_objects((labels != 0).astype(np.uint8))
    if not boxes:
        return hull
    spacing = voxel_sizes(affine)
    # Without a margin, the edge of the box would be eroded.
    margin = [(int(np.ceil(_FOLD_MM / size)) + 1,) * 2 for size in spacing]
    padded = np.pad(labels[boxes[0]] != 0, margin)
    wide = ndimage.distance_transform_edt(~padded, sampling=spacing) <= _FOLD_MM
    closed = ndimage.distance_transform_edt(wide, sampling=spacing) > _FOLD_MM
    filled = largest_part(ndimage.binary_fill_holes(closed | padded))
    hull[boxes[0]] = filled[tuple(slice(low, -high) for low, high in margin)]
    return hull


def _with_signal(
    template: NDArray[np.bool_], signal: NDArray[np.bool_], spacing: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return the largest part of the template's brain that has signal, without its holes.

    Where the template reaches into the dark skull, the signal ends; an opening cuts the bridges to
    the scalp.
    """
    radius = max(_SKULL_MM, 1.01 * float(spacing.max()))
    inside = template & signal
    core = ndimage.distance_transform_edt(inside, sampling=spacing) > radius
    if not core.any():
        return inside
    largest = largest_part(core)
    opened = ndimage.distance_transform_edt(~largest, sampling=spacing) <= radius
    return ndimage.binary_fill_holes(opened & inside) & template


def largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected part of a mask that is not empty."""
    parts, _ = ndimage.label(mask)
    return parts == np.bincount(parts[mask]).argmax()
