"""Brain masks from tissue labels or from the magnitude."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import isotropic_closing, isotropic_dilation, isotropic_erosion

from bids_qcm.grids import Volume
from bids_qcm.segmentation.template import TemplateFit, fit_template, template_brain

LEAST_OVERLAP = 0.8
"""Minimum fraction of a brain mask that must have signal."""

LEAST_SIGNAL_ML = 150.0
"""Minimum volume of signal in an image of a head, ml. A 2 cm slab of a brain has a larger
volume."""

# Radius of the closing that fills the folds of the brain.
_FOLD_MM = 8.0
# Minimum radius of the opening that removes bridges between brain and scalp.
_SKULL_MM = 2.0


class MagnitudeMask(NamedTuple):
    """Brain mask made from the magnitude.

    Attributes
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        Brain mask.
    fit : TemplateFit
        Registration of the template to the magnitude.
    overlap : float
        Fraction of the registered template brain that has signal.
    """

    mask: NDArray[np.bool_]
    fit: TemplateFit
    overlap: float


def brain_mask_from_magnitude(magnitude: Volume, signal: NDArray[np.bool_]) -> MagnitudeMask:
    """Create a brain mask from a magnitude image with the MNI152 template.

    Parameters
    ----------
    magnitude : Volume of float
        Magnitude in any unit and with any contrast.
    signal : ndarray of bool, shape (X, Y, Z)
        Voxels with signal.

    Returns
    -------
    MagnitudeMask

    Raises
    ------
    ValueError
        If the image does not show a head, or if the template does not fit.
    """
    spacing = magnitude.grid.spacing
    volume = np.count_nonzero(signal) * np.prod(spacing) / 1000
    if volume < LEAST_SIGNAL_ML:
        raise ValueError(
            f"the magnitude has {volume:.0f} ml of signal, less than the {LEAST_SIGNAL_ML:.0f} ml "
            "expected for a head"
        )
    fit = fit_template(magnitude, signal)
    fit.require_good("the magnitude")
    template = template_brain(fit.pose, magnitude.grid)
    share = float(np.count_nonzero(template & signal) / max(int(np.count_nonzero(template)), 1))
    if share < LEAST_OVERLAP:
        raise ValueError(f"only {share:.0%} of the registered MNI152 template brain has signal")
    return MagnitudeMask(_with_signal(template, signal, spacing), fit, share)


def brain_mask_from_labels(labels: Volume) -> NDArray[np.bool_]:
    """Return the filled hull of tissue labels, including the fluid in the folds of the brain.

    Parameters
    ----------
    labels : Volume of int
        Tissue labels; 0 outside the brain.

    Returns
    -------
    ndarray of bool, shape of the grid
    """
    inside = labels.values != 0
    hull = np.zeros(inside.shape, bool)
    boxes = ndimage.find_objects(inside.astype(np.uint8))
    if not boxes:
        return hull
    spacing = labels.grid.spacing
    # Add a margin so that the closing does not erode the mask at the edge of the box.
    margin = [(int(np.ceil(_FOLD_MM / size)) + 1,) * 2 for size in spacing]
    padded = np.pad(inside[boxes[0]], margin)
    closed = isotropic_closing(padded, _FOLD_MM, spacing=spacing)
    filled = largest_part(ndimage.binary_fill_holes(closed | padded))
    hull[boxes[0]] = filled[tuple(slice(low, -high) for low, high in margin)]
    return hull


def _with_signal(
    template: NDArray[np.bool_], signal: NDArray[np.bool_], spacing: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return the largest connected part of the template brain with signal, with holes filled.

    Where the template brain extends into the skull, which is dark, the mask ends with the signal. A
    morphological opening removes bridges to the scalp.
    """
    radius = max(_SKULL_MM, 1.01 * float(spacing.max()))
    inside = template & signal
    core = isotropic_erosion(inside, radius, spacing=spacing)
    if not core.any():
        return inside
    largest = largest_part(core)
    opened = isotropic_dilation(largest, radius, spacing=spacing)
    return ndimage.binary_fill_holes(opened & inside) & template


def largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected part of a nonempty mask."""
    parts, _ = ndimage.label(mask)
    return parts == np.bincount(parts[mask]).argmax()
