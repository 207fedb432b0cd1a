import numpy as np
import pytest

from bids_qcm.bids.slicing import plan_slicing
from bids_qcm.grids import Grid
from bids_qcm.settings import Settings

TWO_D = {"MRAcquisitionType": "2D"}


def grid(n_slices=20, spacing=4.0, order=(0, 1, 2)):
    affine = np.eye(4)
    affine[:3, :3] = np.diag([1.0, 1.0, spacing])[list(order)]
    return Grid((30, 30, n_slices), affine)


def slicing(tmp_path, metadata, where=None, **options):
    paths = dict.fromkeys(("bids_dir", "output_dir", "work_dir"), tmp_path)
    return plan_slicing(metadata, where or grid(), Settings(**paths, **options))


@pytest.mark.parametrize("metadata", [{}, TWO_D, {"MRAcquisitionType": "3D"}])
def test_many_slices_are_differentiated_along_all_axes(tmp_path, metadata):
    found = slicing(tmp_path, metadata)
    assert (found.axes, found.warnings) == ((0, 1, 2), ())
    assert found.slice_axis == (2 if metadata == TWO_D else None)


def test_few_slices_of_a_2d_acquisition_are_mapped_in_plane(tmp_path):
    found = slicing(tmp_path, TWO_D, grid(n_slices=4))
    assert found.axes == (0, 1)
    (warning,) = found.warnings
    assert "not along axis k, because this 2-D acquisition has only 4 slices" in warning
    assert "by about 43% in axial slices" in warning
    assert slicing(tmp_path, TWO_D, grid(n_slices=4), in_plane="none").axes == (0, 1, 2)
    assert slicing(tmp_path, {}, grid(n_slices=4)).axes == (0, 1, 2)


@pytest.mark.parametrize(
    "options", [{"in_plane": "k"}, {"fit_radius": (9, 9, 0)}, {"integral_radius": (6, 6, 0)}]
)
@pytest.mark.parametrize(
    ("order", "orientation"),
    [((0, 1, 2), "43% in axial"), ((0, 2, 1), "26% in coronal"), ((2, 0, 1), "36% in sagittal")],
)
def test_the_warning_depends_on_the_orientation(tmp_path, options, order, orientation):
    found = slicing(tmp_path, {}, grid(order=order), **options)
    assert found.axes == (0, 1)
    assert orientation in found.warnings[0]
    assert "as requested" in found.warnings[0]


def test_in_plane_omits_the_selected_axis(tmp_path):
    assert slicing(tmp_path, TWO_D, in_plane="i").axes == (1, 2)


def test_a_slice_thickness_in_place_of_the_distance_causes_a_warning(tmp_path):
    """The derivative across slices would be wrong by the square of 5 / 4."""
    gaps = {**TWO_D, "SliceThickness": 4.0, "SpacingBetweenSlices": 5.0}
    (warning,) = slicing(tmp_path, gaps).warnings
    assert "is the slice thickness, 4 mm, but SpacingBetweenSlices is 5 mm" in warning
    assert slicing(tmp_path, gaps, grid(spacing=5.0)).warnings == ()
    # some scanners store the gap in this field
    assert (
        slicing(tmp_path, {**gaps, "SpacingBetweenSlices": 1.0}, grid(spacing=5.0)).warnings == ()
    )
