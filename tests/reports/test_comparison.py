import io

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.image import AxesImage

from bids_qcm.recon import METHODS
from bids_qcm.recon.methods import PUBLISHED
from bids_qcm.reports.comparison import MapSlice, MethodComparison, arrange, draw_comparison

INVALID = to_rgba("#2fd12f")


def test_methods_are_arranged_as_in_the_table():
    places, headings = arrange(METHODS)
    for row, form in enumerate(("laplacian", "integral")):
        in_row = [f"{form}-fd", form, f"{form}-mag", f"{form}-seg", f"{form}-magseg"]
        assert [places[name] for name in in_row] == [(row, column) for column in range(5)]
    assert len(set(places.values())) == len(METHODS)
    assert headings == ["finite difference", "no edges", "magnitude", "segmentation", "both"]


def test_a_subset_has_no_empty_row_or_column():
    places, headings = arrange(["integral-seg", "integral"])
    assert places == {"integral": (0, 0), "integral-seg": (0, 1)}
    assert headings == ["no edges", "segmentation"]


def test_unknown_names_follow_in_rows_of_the_same_width():
    places, headings = arrange(["integral", "one", "laplacian-mag", "two", "three"])
    assert (places["laplacian-mag"], places["integral"]) == ((0, 1), (1, 0))
    assert [places[name] for name in ("one", "two", "three")] == [(2, 0), (2, 1), (3, 0)]
    assert headings == []


def test_unknown_names_alone_form_rows_of_five():
    places, _ = arrange(f"other{number}" for number in range(7))
    assert list(places.values()) == [(0, c) for c in range(5)] + [(1, 0), (1, 1)]


@pytest.fixture(scope="module")
def brain():
    x, y = np.ogrid[:20, :24]
    return (x - 9) ** 2 / 64 + (y - 12) ** 2 / 100 <= 1


def draw(brain, names, change=lambda values: values):
    truth = np.where(brain, 0.5, 0.3)
    maps = {name: MapSlice(change(truth + 0.25), mae=0.25) for name in names}
    return draw_comparison(maps, truth, brain, (2.0, 2.0), "a title")


def images(figure):
    return [axes.get_images()[0] for axes in figure.axes if axes.get_images()]


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


@pytest.mark.parametrize(
    ("names", "shape"),
    [
        (list(PUBLISHED), (5, 6)),
        ([*PUBLISHED, "integral-seg-ivw", "inversion"], (9, 6)),
        (["integral-magseg"], (3, 2)),
        (["laplacian-mag", "integral-seg"], (5, 3)),
        (["mine", "laplacian"], (5, 2)),
        ([f"mine{number}" for number in range(6)], (5, 6)),
    ],
)
def test_every_subset_has_its_panels_and_no_empty_rows(brain, names, shape):
    figure = draw(brain, names)
    assert titles(figure) == [f"{name}\n0.250 S/m" for name in names]
    assert len(images(figure)) == 2 * len(names) + 1
    grid = figure.axes[0].get_subplotspec().get_gridspec()
    assert (grid.nrows, grid.ncols) == shape
    png = io.BytesIO()
    figure.savefig(png, format="png")
    assert png.getvalue().startswith(b"\x89PNG")


def colour(image: AxesImage, x, y, brain):
    """Return the colour of a voxel in the figure."""
    first = [np.flatnonzero(brain.any(axis=1 - axis))[0] for axis in (0, 1)]
    return tuple(image.get_array()[y - first[1], x - first[0]])


def test_conductivity_error_and_invalid_voxels_have_their_colours(brain):
    def break_one(values):
        values[9, 12] = np.nan
        return values

    figure = draw(brain, ["integral"], break_one)
    shown, error, truth = images(figure)
    bars = {axes.get_xlabel(): axes for axes in figure.axes[-1].child_axes + figure.axes}
    assert bars["conductivity, S/m"].get_xlim() == (0, 2.2)
    assert bars["error, S/m"].get_xlim() == (-1, 1)
    assert colour(shown, 9, 12, brain) == colour(error, 9, 12, brain) == pytest.approx(INVALID)
    # 0.75 and 0.5 of 2.2 S/m, and an error of 0.25 in -1 to 1 S/m: redder than white
    assert sum(colour(shown, 9, 11, brain)[:3]) > sum(colour(truth, 9, 11, brain)[:3])
    red, green, blue, _ = colour(error, 9, 11, brain)
    assert red > green > blue
    outside = [(x, y) for x, y in np.argwhere(~brain) if brain[x].any() and brain[:, y].any()]
    for image in (shown, error, truth):
        assert image.get_array().shape[:2] == (21, 17)
        assert colour(image, *outside[0], brain) == (1, 1, 1, 1)


def test_invalid_voxels_are_in_the_legend_only_if_they_exist(brain):
    def legends(figure):
        return [axes.get_legend() for axes in figure.axes if axes.get_legend()]

    assert not legends(draw(brain, ["integral"]))
    (legend,) = legends(draw(brain, ["integral"], lambda v: np.where(v > 0.7, np.nan, v)))
    assert legend.get_texts()[0].get_text() == "invalid"


def test_voxels_keep_their_shape(brain):
    truth = np.where(brain, 0.5, 0.0)
    figure = draw_comparison({"integral": MapSlice(truth, 0.0)}, truth, brain, (1.0, 3.0), "")
    assert {image.axes.get_aspect() for image in images(figure)} == {3.0}


@pytest.mark.parametrize(
    ("names", "shape"),
    [
        (list(PUBLISHED), (2, 5)),
        ([name for name in PUBLISHED if name not in ("integral", "integral-fd")], (2, 5)),
        # both methods are in one row, although the table has them in different rows
        (["laplacian-fd", "inversion-magseg"], (1, 2)),
        (["mine", "laplacian", "other"], (1, 3)),
    ],
)
def test_methods_are_compared_in_as_few_rows_as_possible(brain, names, shape):
    mask = np.repeat(brain[:, :, None], 6, axis=2)
    comparison = MethodComparison(names, mask, np.eye(4))
    for name in names:
        comparison.draw(name, np.where(mask, 0.5, 0.0))
    drawn = [axes for axes in comparison.figure.axes if axes.get_images()]
    assert [axes.get_title() for axes in drawn] == names
    # an axial, a coronal and a sagittal slice
    assert {len(axes.get_images()) for axes in drawn} == {3}
    corners = [axes.get_position().p0.round(6) for axes in drawn]
    assert (len({y for _, y in corners}), len({x for x, _ in corners})) == shape
