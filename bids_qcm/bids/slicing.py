"""Decide along which axes the phase of an acquisition is differentiated."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from bids_qcm.bids.sequences import SPACING_TOLERANCE, positive_number, slice_axis
from bids_qcm.checks.slices import FEWEST_SLICES
from bids_qcm.grids import Grid
from bids_qcm.physics import IN_PLANE_LOSS
from bids_qcm.recon.radii import curved_axes
from bids_qcm.settings import Settings

ALL_AXES = (0, 1, 2)


class Slicing(NamedTuple):
    """Slices of an acquisition, and the axes along which its phase is differentiated.

    Attributes
    ----------
    axes : tuple of int
        Axes along which the phase is differentiated; two axes for in-plane maps.
    chosen : bool
        Whether ``--in-plane auto`` left out the slice axis.
    slice_axis : int or None
        Axis across the slices of a 2-D acquisition; None for a 3-D acquisition.
    warnings : tuple of str
        Warnings, without the name of the acquisition.
    """

    axes: tuple[int, ...]
    chosen: bool
    slice_axis: int | None
    warnings: tuple[str, ...]


def plan_slicing(metadata: Mapping[str, Any], grid: Grid, settings: Settings) -> Slicing:
    """Decide along which axes the phase is differentiated.

    Parameters
    ----------
    metadata : mapping
        Sidecar of the phase.
    grid : Grid
        Grid of the phase.
    settings : Settings
        A radius of 0, or ``in_plane``, selects in-plane maps. With ``auto``, a 2-D acquisition with
        few slices also has in-plane maps, because phase offsets between slices cannot be measured
        from so few slices.

    Returns
    -------
    Slicing
    """
    axis = slice_axis(metadata)
    given = [
        one
        for one in (settings.fit_radius, settings.integral_radius)
        if one is not None and not isinstance(one, str)
    ]
    axes = curved_axes(*given)
    chosen, reason = False, "as requested"
    if settings.in_plane in ("i", "j", "k"):
        axes = tuple(one for one in axes if "ijk"[one] != settings.in_plane)
    elif settings.in_plane == "auto" and axis in axes and grid.shape[axis] < FEWEST_SLICES:
        chosen = True
        slices = "slice" if grid.shape[axis] == 1 else "slices"
        reason = f"because this 2-D acquisition has only {grid.shape[axis]} {slices}"
        axes = tuple(one for one in axes if one != axis)
    warnings = []
    if len(axes) == len(ALL_AXES) - 1:
        (across,) = set(ALL_AXES) - set(axes)
        warnings.append(_loss_warning(across, grid, reason))
    elif axis is not None and (contradiction := _spacing_contradiction(metadata, axis, grid)):
        warnings.append(contradiction)
    return Slicing(axes, chosen, axis, tuple(warnings))


def _loss_warning(across: int, grid: Grid, reason: str) -> str:
    """Return the warning that the curvature across slices is missing from the maps."""
    orientation = grid.orientation(across)
    return (
        f"the phase is differentiated within slices only, not along axis {'ijk'[across]}, "
        f"{reason}. The maps lack the phase curvature across slices, so their conductivity is too "
        f"low: by about {IN_PLANE_LOSS[orientation]:.0%} in {orientation} slices through the "
        "brain of the full-wave phantom. Compare these maps only with maps from the same protocol"
    )


def _spacing_contradiction(metadata: Mapping[str, Any], axis: int, grid: Grid) -> str:
    """Return a warning if the header has the slice thickness in place of the slice distance."""
    thickness, spacing = (
        positive_number(metadata, name) for name in ("SliceThickness", "SpacingBetweenSlices")
    )
    size = grid.voxel_size[axis]
    if thickness is None or spacing is None:
        return ""
    if not math.isclose(size, thickness, rel_tol=SPACING_TOLERANCE) or math.isclose(
        size, spacing, rel_tol=SPACING_TOLERANCE
    ):
        return ""
    return (
        f"the voxel size across slices is the slice thickness, {thickness:g} mm, but "
        f"SpacingBetweenSlices is {spacing:g} mm. If the slices have gaps, the voxel size is "
        "wrong, and so is the derivative across slices. Convert the DICOM files again, or use "
        f"--in-plane {'ijk'[axis]}"
    )
