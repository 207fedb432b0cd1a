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
    tiles = Mosaic(inside, AFFINE, 5, 6.0).tiles
    assert [tile.axis for tile in tiles] == [2] * 5 + [1] * 5 + [0] * 4
    for tile in tiles:
        others = tuple(axis for axis in range(3) if axis != tile.axis)
        assert inside.any(axis=others)[tile.index]
    tops = [tile.extent[3] for tile in tiles]
    assert tops == sorted(tops, reverse=True)


def test_tiles_do_not_overlap_and_are_spread_over_the_width(inside):
    mosaic = Mosaic(inside, AFFINE, 5, 6.0)
    for axis in (0, 1, 2):
        row = [tile.extent for tile in mosaic.tiles if tile.axis == axis]
        gaps = [b[0] - a[1] for a, b in pairwise(row)]
        assert min(gaps) > 0
        assert gaps == pytest.approx([row[0][0]] * len(gaps))
        assert row[-1][1] + row[0][0] == pytest.approx(mosaic.width)
    # a line of labels is above and below the slices
    top = max(tile.extent[3] for tile in mosaic.tiles)
    assert mosaic.height - top == pytest.approx(min(tile.extent[2] for tile in mosaic.tiles))


def test_labels_are_beside_the_slices(inside):
    axes = Figure().add_subplot()
    mosaic = Mosaic(inside, AFFINE, 4, 6.0)
    mosaic.prepare(axes)
    for text in axes.texts:
        x, y = text.get_position()
        for left, right, bottom, top in (tile.extent for tile in mosaic.tiles):
            assert not (left < x < right and bottom < y < top)


@pytest.mark.parametrize("columns", range(1, 7))
def test_slices_contain_much_of_the_region_and_avoid_its_median_plane(columns):
    """The region has a long thin tip, in which equally spaced slices would be almost empty."""
    x, y, z = np.ogrid[-20:21, -24:25, -40:21]
    region = (x**2 / 18**2 + y**2 / 22**2 + z**2 / 18**2 < 1) | ((abs(x) + abs(y) < 2) & (z < 0))
    for tile in Mosaic(region, np.eye(4), columns, 6.0).tiles:
        shown = np.take(region, tile.index, axis=tile.axis).sum()
        largest = region.sum(axis=tuple({0, 1, 2} - {tile.axis})).max()
        assert shown > 0.25 * largest
        if tile.axis == 0:
            assert abs(tile.index - 20) > 2


def test_planes_can_be_arranged_in_one_row(inside):
    tiles = Mosaic(inside, AFFINE, 1, 6.0, in_one_row=True).tiles
    assert [tile.axis for tile in tiles] == [2, 1, 0]
    assert len({tile.extent[3] for tile in tiles}) == 1
    assert all(a.extent[1] < b.extent[0] for a, b in pairwise(tiles))


def test_tiles_have_the_size_of_their_slices_in_mm(inside):
    mosaic = Mosaic(inside, AFFINE, 3, 6.0, margin=1000)
    lengths = np.multiply(SHAPE, (2, 2, 3))
    expected = {2: lengths[:2], 1: lengths[[0, 2]], 0: lengths[1:]}
    for tile in mosaic.tiles:
        left, right, bottom, top = tile.extent
        np.testing.assert_allclose((right - left, top - bottom), expected[tile.axis])


def test_slices_are_taken_from_the_volume(inside):
    mosaic = Mosaic(inside, AFFINE, 3, 6.0, margin=1000)
    volume = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    for tile, parts in zip(mosaic.tiles, shown(mosaic, volume, -volume), strict=True):
        np.testing.assert_array_equal(parts[0], np.take(volume, tile.index, axis=tile.axis))
        np.testing.assert_array_equal(parts[1], -parts[0])


def test_labels_are_scanner_coordinates(inside):
    for tile in Mosaic(inside, AFFINE, 3, 6.0).tiles:
        letter, position = tile.label.split(" = ")
        axis = "xyz".index(letter)
        assert axis == tile.axis
        assert float(position) == AFFINE[axis, axis] * tile.index + AFFINE[axis, 3]


@pytest.mark.parametrize(
    ("shape", "axes", "letters"),
    [
        ((10, 12, 1), [2], "LRPA"),
        ((10, 1, 12), [1], "LRIS"),
        ((1, 10, 12), [0], "PAIS"),
        ((10, 12, 2), [2, 1, 0], "LRPALRISPAIS"),
    ],
)
@pytest.mark.parametrize("margin", [6.0, 15.0])
def test_a_single_slice_is_drawn_once_and_with_its_outline(shape, axes, letters, margin):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(2, 8) if n > 2 else slice(None) for n in shape)] = True
    mosaic = Mosaic(mask, np.eye(4), 4, 6.0, margin=margin)
    drawn = [tile.axis for tile in mosaic.tiles]
    assert list(dict.fromkeys(drawn)) == axes
    if len(axes) == 1:
        assert len(drawn) == 1
    figure = Figure().add_subplot()
    mosaic.prepare(figure)
    written = [text.get_text() for text in figure.texts]
    assert [text for text in written if " = " not in text] == list(letters)
    mosaic.outline(figure, mask, "red")
    assert len(figure.collections) == len(drawn)
    assert all(min(parts[0].shape) > 1 for parts in shown(mosaic, mask))


def test_a_line_is_drawn_without_an_outline():
    mask = np.zeros((1, 1, 9), bool)
    mask[:, :, 3:6] = True
    mosaic = Mosaic(mask, np.eye(4), 4, 6.0)
    axes = Figure().add_subplot()
    mosaic.outline(axes, mask, "red")
    assert len(axes.collections) == 0
    assert len(shown(mosaic, mask)) == len(mosaic.tiles) > 0


def test_outlines_follow_the_mask(inside):
    mosaic = Mosaic(inside, AFFINE, 3, 6.0, margin=1000)
    axes = Figure().add_subplot()
    mosaic.outline(axes, inside, "red")
    assert len(axes.collections) == len(mosaic.tiles)
    # in the first (axial) tile, the mask spans voxels 6 to 25 of 30 and voxels 8 to 31 of 36
    vertices = axes.collections[0].get_paths()[0].vertices
    left, _, bottom, _ = mosaic.tiles[0].extent
    np.testing.assert_allclose(vertices.min(axis=0) - (left, bottom), (12, 16), atol=1)
    np.testing.assert_allclose(vertices.max(axis=0) - (left, bottom), (50, 62), atol=1)
