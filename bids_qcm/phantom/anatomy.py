"""An average head at any resolution: the MNI152 tissue maps that nilearn ships, and a shell."""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from bids_qcm.phantom.grids import Grid, grid_around, resample
from bids_qcm.phantom.lesions import TUMOUR_CENTRE, Ball, place_small_lesions
from bids_qcm.phantom.tissues import BRAIN, HEALTHY_BRAIN, TISSUE_ORDER, TISSUES

SKULL_THICKNESS = 7.0
"""mm."""

SCALP_THICKNESS = 6.0
"""mm."""

_MARGIN = 4
"""Voxels of air between the head and the border of the grid."""

_COARSE = 2.0
"""Voxel size on which distances from the brain are measured and lesions are placed, mm."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What each voxel of a head is made of.

    Parameters
    ----------
    fractions
        Of each tissue in each voxel, (T, X, Y, Z) float32 in the order of
        `bids_qcm.phantom.tissues.TISSUES`; their sum is 1 in the head and 0 outside.
    labels
        Index of the most probable tissue, (X, Y, Z) uint8: one of the brain's in the brain mask,
        one of the shell's in the rest of the head, 0 outside. Small lesions are not in it.
    brain
        Brain mask, (X, Y, Z) bool: gray matter, white matter, cerebrospinal fluid and tumour.
    small_lesion_fraction
        How much of each voxel is in a small lesion, (X, Y, Z) float32.
    small_lesion_diameter
        Diameter of the small lesion that a voxel belongs to, mm, (X, Y, Z) uint8; 0 in none.
    grid
        Where the voxels lie.
    """

    fractions: np.ndarray
    labels: np.ndarray
    brain: np.ndarray
    small_lesion_fraction: np.ndarray
    small_lesion_diameter: np.ndarray
    grid: Grid


class _Template(NamedTuple):
    """Fractions of gray matter, white matter and fluid, (3, X, Y, Z), and their 1 mm grid."""

    fractions: np.ndarray
    grid: Grid


def make_anatomy(
    resolution: float,
    *,
    tumour_diameter: float = 0.0,
    small_lesions_rng: np.random.Generator | None = None,
) -> Anatomy:
    """Make a head.

    Parameters
    ----------
    resolution
        Isotropic voxel size, mm.
    tumour_diameter
        mm; 0 for no tumour.
    small_lesions_rng
        Source of the places of the small lesions; None for none.

    Returns
    -------
    Anatomy
        The head; what is where does not depend on the resolution.
    """
    template = _load_template()
    reach = SKULL_THICKNESS + SCALP_THICKNESS + _COARSE
    low = template.grid.origin - reach
    high = [template.grid.centres(axis)[-1] + reach for axis in range(3)]
    grid = grid_around(low, high, resolution, _MARGIN)
    coarse = grid_around(low, high, _COARSE, _MARGIN)
    fractions = np.zeros((len(TISSUES), *grid.shape), np.float32)
    for row, of_template in zip(_rows(HEALTHY_BRAIN), template.fractions, strict=True):
        fractions[row] = resample(of_template, template.grid, grid)
    brain_on_coarse = resample(template.fractions.sum(axis=0), template.grid, coarse)
    _add_shell(fractions, _distance_from_brain(brain_on_coarse, coarse, grid), resolution)
    if tumour_diameter > 0:
        _add_tumour(fractions, Ball(TUMOUR_CENTRE, tumour_diameter), grid)
    lesions = []
    if small_lesions_rng is not None:
        gray, white, _ = (resample(one, template.grid, coarse) for one in template.fractions)
        lesions = place_small_lesions(gray, white, coarse, small_lesions_rng)
    brain = fractions[_rows(BRAIN)].sum(axis=0) > 0.5
    return Anatomy(
        fractions, _most_probable(fractions, brain), brain, *_paint_balls(lesions, grid), grid
    )


@cache
def _load_template() -> _Template:
    """Return the MNI152 maps of one head's tissues, cut to the brain; they are never written to."""
    # Slow to import, and it brings nibabel with it: only this function needs it.
    from nilearn import datasets

    images = [
        datasets.load_mni152_gm_template(resolution=1),
        datasets.load_mni152_wm_template(resolution=1),
        datasets.load_mni152_brain_mask(resolution=1),
    ]
    maps = [np.asarray(image.dataobj, dtype=np.float32) for image in images]
    (box,) = ndimage.find_objects((maps[2] > 0).astype(np.uint8))
    gray, white, brain = (values[box] for values in maps)
    # What neither map explains is fluid.
    fractions = np.stack([gray, white, np.clip(brain - gray - white, 0, 1)])
    # They are probabilities over many heads, whose borders are blurred; one head's are not. The
    # eighth power keeps the borders where they are and makes them about one voxel wide.
    for _ in range(3):
        np.square(fractions, out=fractions)
    fractions *= brain / np.maximum(fractions.sum(axis=0), np.finfo(np.float32).tiny)
    fractions.flags.writeable = False
    origin = images[0].affine[:3, 3] + [part.start for part in box]
    return _Template(fractions, Grid(origin, 1.0, brain.shape))


def _distance_from_brain(brain_fraction: np.ndarray, coarse: Grid, grid: Grid) -> np.ndarray:
    """Return the distance of voxels from the brain's surface, mm; meaningless inside."""
    to_centre = ndimage.distance_transform_edt(brain_fraction <= 0.5, sampling=coarse.resolution)
    far = to_centre.max()  # what lies outside the coarse grid is far away, not at 0
    # The surface is half a voxel nearer than the centre of the nearest brain voxel.
    return resample(to_centre - far, coarse, grid) + far - coarse.resolution / 2


def _add_shell(fractions: np.ndarray, distance: np.ndarray, resolution: float) -> None:
    """Fill in skull and scalp, and make the fractions of each voxel of the head add up to 1."""
    filled, outer = fractions.sum(axis=0), 0.0
    for abbreviation, thickness in (("B", SKULL_THICKNESS), ("ST", SCALP_THICKNESS)):
        outer += thickness
        inside = np.clip((outer - distance) / resolution + 0.5, 0, 1)
        fractions[TISSUE_ORDER[abbreviation]] = np.clip(inside - filled, 0, None)
        filled = np.maximum(inside, filled)
    fractions *= np.where(filled > 0.5, 1 / np.maximum(filled, 0.5), 0)


def _add_tumour(fractions: np.ndarray, ball: Ball, grid: Grid) -> None:
    """Replace the brain's tissues by tumour inside a ball."""
    where, inside = ball.fill(grid)
    healthy = _rows(HEALTHY_BRAIN)
    part = fractions[(slice(None), *where)]
    part[TISSUE_ORDER["L"]] = inside * part[healthy].sum(axis=0)
    part[healthy] *= 1 - inside


def _paint_balls(balls: list[Ball], grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return the filled fraction of each voxel, and the diameter of the ball it belongs to.

    A voxel belongs to a ball that fills half of it, and each ball has at least its fullest voxel.
    """
    fraction = np.zeros(grid.shape, np.float32)
    diameter = np.zeros(grid.shape, np.uint8)
    for ball in balls:
        where, inside = ball.fill(grid)
        fraction[where] = np.maximum(fraction[where], inside)
        diameter[where][inside >= min(0.5, inside.max())] = ball.diameter
    return fraction, diameter


def _most_probable(fractions: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Return tissue indices, of the brain's tissues in the brain and of the others elsewhere."""
    index = np.array([tissue.index for tissue in TISSUES], dtype=np.uint8)
    in_brain = _rows(BRAIN)
    in_shell = np.setdiff1d(np.arange(len(TISSUES)), in_brain)
    labels = np.where(
        brain,
        index[in_brain][fractions[in_brain].argmax(axis=0)],
        index[in_shell][fractions[in_shell].argmax(axis=0)],
    )
    labels[~fractions.any(axis=0)] = 0
    return labels


def _rows(abbreviations: tuple[str, ...]) -> list[int]:
    return [TISSUE_ORDER[abbreviation] for abbreviation in abbreviations]
