"""Average head with skull and scalp at any resolution, from nilearn's MNI152 tissue maps."""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from bids_qcm.phantom.deformation import Warp
from bids_qcm.phantom.grids import IsotropicGrid, grid_around, resample
from bids_qcm.phantom.lesions import TUMOUR_CENTRE, Ball, place_small_lesions
from bids_qcm.phantom.tissues import BRAIN, HEALTHY_BRAIN, TISSUE_ORDER, TISSUES

SKULL_THICKNESS = 7.0
"""Thickness of the skull in mm."""

SCALP_THICKNESS = 6.0
"""Thickness of the scalp in mm."""

_MARGIN = 4
"""Margin of air between the head and the border of the grid, in voxels."""

_WARP_MARGIN = 20.0
"""Margin around the template for deformed and moved heads, mm."""

_COARSE = 2.0
"""Voxel size, in mm, of the grid for measuring distances from the brain and placing lesions."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Tissues and lesions in each voxel of a head.

    Parameters
    ----------
    fractions
        Fraction of each tissue in each voxel, (T, X, Y, Z) float32, in the order of
        `bids_qcm.phantom.tissues.TISSUES`. The sum is 1 in the head and 0 outside.
    labels
        Index of the most probable tissue, (X, Y, Z) uint8: a brain tissue in the brain mask, skull
        or scalp in the rest of the head, and 0 outside the head. Small lesions are not labelled.
    brain
        Brain mask, (X, Y, Z) bool: gray matter, white matter, cerebrospinal fluid and tumour.
    small_lesion_fraction
        Fraction of each voxel that is inside a small lesion, (X, Y, Z) float32.
    small_lesion_diameter
        Diameter in mm of the small lesion at each voxel, (X, Y, Z) uint8; 0 outside small lesions.
    grid
        Grid of the voxels.
    """

    fractions: np.ndarray
    labels: np.ndarray
    brain: np.ndarray
    small_lesion_fraction: np.ndarray
    small_lesion_diameter: np.ndarray
    grid: IsotropicGrid


class _Template(NamedTuple):
    """Fractions of gray matter, white matter and fluid, (3, X, Y, Z), on a 1 mm grid."""

    fractions: np.ndarray
    grid: IsotropicGrid


def make_anatomy(
    resolution: float,
    *,
    tumour_diameter: float = 0.0,
    small_lesions_rng: np.random.Generator | None = None,
    warp: Warp | None = None,
) -> Anatomy:
    """Create the anatomy of a head.

    Parameters
    ----------
    resolution
        Isotropic voxel size in mm.
    tumour_diameter
        Diameter of the tumour in mm; 0 for no tumour.
    small_lesions_rng
        Random number generator for the positions of the small lesions; None for no small lesions.
    warp
        Deformation and movement of the head; None for the template itself. Lesions move with the
        head, but remain balls of their diameter.

    Returns
    -------
    Anatomy
        Tissues and lesions. Without `warp`, their positions do not depend on the resolution.
    """
    template = _load_template()
    if warp is not None:
        template = _warp_template(template, warp, resolution)
    grid, coarse = (_head_grid(template.grid, size) for size in (resolution, _COARSE))
    fractions = np.zeros((len(TISSUES), *grid.shape), np.float32)
    for row, of_template in zip(_rows(HEALTHY_BRAIN), template.fractions, strict=True):
        fractions[row] = resample(of_template, template.grid, grid)
    brain_on_coarse = resample(template.fractions.sum(axis=0), template.grid, coarse)
    _add_shell(fractions, _distance_from_brain(brain_on_coarse, coarse, grid), resolution)
    if tumour_diameter > 0:
        _add_tumour(fractions, _move(Ball(TUMOUR_CENTRE, tumour_diameter), warp), grid)
    lesions = []
    if small_lesions_rng is not None:
        lesions = [_move(ball, warp) for ball in _small_lesions(small_lesions_rng)]
    brain = fractions[_rows(BRAIN)].sum(axis=0) > 0.5
    return Anatomy(
        fractions, _most_probable(fractions, brain), brain, *_paint_balls(lesions, grid), grid
    )


def _head_grid(brain: IsotropicGrid, resolution: float) -> IsotropicGrid:
    """Return a grid that covers the brain, the skull, the scalp and a margin."""
    reach = SKULL_THICKNESS + SCALP_THICKNESS + _COARSE
    high = [brain.centres(axis)[-1] + reach for axis in range(3)]
    return grid_around(brain.origin - reach, high, resolution, _MARGIN)


def _small_lesions(rng: np.random.Generator) -> list[Ball]:
    """Return small lesions in the template."""
    template = _load_template()
    coarse = _head_grid(template.grid, _COARSE)
    gray, white, _ = (resample(one, template.grid, coarse) for one in template.fractions)
    return place_small_lesions(gray, white, coarse, rng)


def _move(ball: Ball, warp: Warp | None) -> Ball:
    """Return a ball of the template at its position in the scan."""
    if warp is None:
        return ball
    ((x, y, z),) = warp.from_template([ball.centre]).tolist()
    return Ball((x, y, z), ball.diameter)


def _warp_template(template: _Template, warp: Warp, resolution: float) -> _Template:
    """Return the tissue maps of a deformed and moved head.

    The template is first averaged to half the voxel size of the scan, which saves time.
    """
    size = max(1.0, resolution / 2)
    high = [template.grid.centres(axis)[-1] for axis in range(3)]
    source, target = (
        grid_around(template.grid.origin - margin, np.add(high, margin), size, margin=1)
        for margin in (0.0, _WARP_MARGIN)
    )
    averaged = np.stack([resample(one, template.grid, source) for one in template.fractions])
    return _Template(warp.pull(averaged, source, target), target)


@cache
def _load_template() -> _Template:
    """Return sharpened MNI152 tissue maps, cropped to the brain. Do not modify the maps."""
    # Import here, because nilearn is slow to import and only this function needs it.
    from nilearn import datasets

    images = [
        datasets.load_mni152_gm_template(resolution=1),
        datasets.load_mni152_wm_template(resolution=1),
        datasets.load_mni152_brain_mask(resolution=1),
    ]
    maps = [np.asarray(image.dataobj, dtype=np.float32) for image in images]
    (box,) = ndimage.find_objects((maps[2] > 0).astype(np.uint8))
    gray, white, brain = (values[box] for values in maps)
    # The rest of the brain mask is fluid.
    fractions = np.stack([gray, white, np.clip(brain - gray - white, 0, 1)])
    # The template is an average of many heads, so its tissue borders are blurred. Taking the eighth
    # power of the probabilities makes the borders about one voxel wide, as in a single head,
    # without moving them.
    for _ in range(3):
        np.square(fractions, out=fractions)
    fractions *= brain / np.maximum(fractions.sum(axis=0), np.finfo(np.float32).tiny)
    fractions.flags.writeable = False
    origin = images[0].affine[:3, 3] + [part.start for part in box]
    return _Template(fractions, IsotropicGrid(origin, 1.0, brain.shape))


def _distance_from_brain(
    brain_fraction: np.ndarray, coarse: IsotropicGrid, grid: IsotropicGrid
) -> np.ndarray:
    """Return the distance, in mm, of each voxel from the brain surface; undefined in the brain."""
    to_centre = ndimage.distance_transform_edt(brain_fraction <= 0.5, sampling=coarse.resolution)
    # `resample` returns 0 outside the coarse grid. Subtract the largest distance before resampling
    # so that voxels outside this grid have a large distance.
    far = to_centre.max()
    # The brain surface is half a voxel closer than the centre of the nearest brain voxel.
    return resample(to_centre - far, coarse, grid) + far - coarse.resolution / 2


def _add_shell(fractions: np.ndarray, distance: np.ndarray, resolution: float) -> None:
    """Add skull and scalp, and normalise the fractions to a sum of 1 in the head."""
    filled, outer = fractions.sum(axis=0), 0.0
    for abbreviation, thickness in (("B", SKULL_THICKNESS), ("ST", SCALP_THICKNESS)):
        outer += thickness
        inside = np.clip((outer - distance) / resolution + 0.5, 0, 1)
        fractions[TISSUE_ORDER[abbreviation]] = np.clip(inside - filled, 0, None)
        filled = np.maximum(inside, filled)
    fractions *= np.where(filled > 0.5, 1 / np.maximum(filled, 0.5), 0)


def _add_tumour(fractions: np.ndarray, ball: Ball, grid: IsotropicGrid) -> None:
    """Replace the brain tissues inside a ball with tumour."""
    where, inside = ball.fill(grid)
    healthy = _rows(HEALTHY_BRAIN)
    part = fractions[(slice(None), *where)]
    part[TISSUE_ORDER["L"]] = inside * part[healthy].sum(axis=0)
    part[healthy] *= 1 - inside


def _paint_balls(balls: list[Ball], grid: IsotropicGrid) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each voxel, the fraction inside a ball and the diameter of this ball.

    A voxel belongs to a ball if the ball fills at least half of the voxel. If a ball does not fill
    half of any voxel, the voxels with the largest filled fraction are assigned to it.
    """
    fraction = np.zeros(grid.shape, np.float32)
    diameter = np.zeros(grid.shape, np.uint8)
    for ball in balls:
        where, inside = ball.fill(grid)
        fraction[where] = np.maximum(fraction[where], inside)
        diameter[where][inside >= min(0.5, inside.max())] = ball.diameter
    return fraction, diameter


def _most_probable(fractions: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Return tissue labels: the most probable brain tissue in the brain, another tissue outside."""
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
