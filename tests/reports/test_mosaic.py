from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

from bids_qcm.reports.mosaic import Mosaic

SHAPE = (30, 36, 24)
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
AFFINE[:3, 3] = -30, -40, -50


@pytest.fixture
def inside():
    mask = np.zeros(SHAPE, bool)
    mask[6:25, 8:31, 4:21] = True
    return mask


def shown(mosaic, *volumes):
    """Return the slices passed to `paint`, one for each tile."""
    axes = Figure().add_subplot()
    slices = []

    def paint(*parts):
        slices.append(parts)
        return np.ones((*parts[0].shape, 4))

    mosaic.show(axes, paint, *volumes)
    return slices


def test_rows_are_axial_coronal_and_sagittal_in_the_region_of_interest(inside):
    tiles = Mosaic(inside, AFFINE, 4).tiles
    assert [tile.axis for tile in tiles] == [2] * 4 + [1] * 4 + [0] * 3
    for tile in tiles:
        others = tuple(axis for axis in range(3) if axis != tile.axis)
        assert inside.any(axis=others)[tile.index]
    tops = [tile.extent[3] for tile in tiles]
    assert tops == sorted(tops, reverse=True)


def test_tiles_do_not_overlap_and_fill_the_width(inside):
    mosaic = Mosaic(inside, AFFINE, 4)
    for axis in (0, 1, 2):
        row = [tile.extent for tile in mosaic.tiles if tile.axis == axis]
        assert row[0][0] == 0
        assert row[-1][1] == pytest.approx(mosaic.width)
        assert all(a[1] < b[0] for a, b in pairwise(row))
    assert max(tile.extent[3] for tile in mosaic.tiles) == pytest.approx(mosaic.height)
    assert min(tile.extent[2] for tile in mosaic.tiles) == pytest.approx(0)


def test_tiles_have_the_size_of_their_slices_in_mm(inside):
    mosaic = Mosaic(inside, AFFINE, 3, margin=1000)
    lengths = np.multiply(SHAPE, (2, 2, 3))
    expected = {2: lengths[:2], 1: lengths[[0, 2]], 0: lengths[1:]}
    for tile in mosaic.tiles:
        left, right, bottom, top = tile.extent
        np.testing.assert_allclose((right - left, top - bottom), expected[tile.axis])


def test_slices_are_taken_from_the_volume(inside):
    mosaic = Mosaic(inside, AFFINE, 3, margin=1000)
    volume = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    for tile, parts in zip(mosaic.tiles, shown(mosaic, volume, -volume), strict=True):
        np.testing.assert_array_equal(parts[0], np.take(volume, tile.index, axis=tile.axis))
        np.testing.assert_array_equal(parts[1], -parts[0])


def test_labels_are_scanner_coordinates(inside):
    for tile in Mosaic(inside, AFFINE, 3).tiles:
        letter, position = tile.label.split(" = ")
        axis = "xyz".index(letter)
        assert axis == tile.axis
        assert float(position) == AFFINE[axis, axis] * tile.index + AFFINE[axis, 3]


@pytest.mark.parametrize(
    ("shape", "axes", "letters"),
    [
        ((10, 12, 1), [2], "LR"),
        ((10, 1, 12), [1], "LR"),
        ((1, 10, 12), [0], "PA"),
        ((10, 12, 2), [2, 1, 0], "LR"),
    ],
)
@pytest.mark.parametrize("margin", [6.0, 15.0])
def test_a_single_slice_is_drawn_once_and_with_its_outline(shape, axes, letters, margin):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(2, 8) if n > 2 else slice(None) for n in shape)] = True
    mosaic = Mosaic(mask, np.eye(4), 4, margin=margin)
    drawn = [tile.axis for tile in mosaic.tiles]
    assert list(dict.fromkeys(drawn)) == axes
    if len(axes) == 1:
        assert len(drawn) == 1
    figure = Figure().add_subplot()
    mosaic.prepare(figure)
    assert [text.get_text() for text in figure.texts[-2:]] == list(letters)
    mosaic.outline(figure, mask, "red")
    assert len(figure.collections) == len(drawn)
    assert all(min(parts[0].shape) > 1 for parts in shown(mosaic, mask))


def test_a_line_is_drawn_without_an_outline():
    mask = np.zeros((1, 1, 9), bool)
    mask[:, :, 3:6] = True
    mosaic = Mosaic(mask, np.eye(4), 4)
    axes = Figure().add_subplot()
    mosaic.outline(axes, mask, "red")
    assert len(axes.collections) == 0
    assert len(shown(mosaic, mask)) == len(mosaic.tiles) > 0


def test_outlines_follow_the_mask(inside):
    mosaic = Mosaic(inside, AFFINE, 3, margin=1000)
    axes = Figure().add_subplot()
    mosaic.outline(axes, inside, "red")
    assert len(axes.collections) == len(mosaic.tiles)
    # in the first (axial) tile, the mask spans voxels 6 to 25 of 30 and voxels 8 to 31 of 36
    vertices = axes.collections[0].get_paths()[0].vertices
    left, _, bottom, _ = mosaic.tiles[0].extent
    np.testing.assert_allclose(vertices.min(axis=0) - (left, bottom), (12, 16), atol=1)
    np.testing.assert_allclose(vertices.max(axis=0) - (left, bottom), (50, 62), atol=1)
