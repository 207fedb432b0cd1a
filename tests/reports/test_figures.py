from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from bids_qcm.reports.colours import IMPLAUSIBLE, INVALID, OUTLINE
from bids_qcm.reports.distributions import density_of, draw_distributions
from bids_qcm.reports.figures import draw_map, draw_mask, draw_phase, draw_tissues
from bids_qcm.reports.saving import save_png, save_svg

SHAPE = (24, 28, 20)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


@pytest.fixture(scope="module")
def mask():
    axes = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in SHAPE)]
    return sum(np.square(axis) for axis in axes) < 0.8


def share(path, colour):
    """Return the fraction of pixels with nearly the given colour."""
    pixels = np.asarray(Image.open(path).convert("RGB"), float) / 255
    return np.mean(np.abs(pixels - to_rgb(colour)).max(axis=-1) < 0.06)


def legends(figure):
    return [t.get_text() for a in figure.axes if a.get_legend() for t in a.get_legend().get_texts()]


def places(figure):
    """Return the size of a figure and the positions of its axes."""
    return figure.get_size_inches().tolist(), [axes.get_position().bounds for axes in figure.axes]


def draw(mask, tmp_path, change=lambda values: None, std=True):
    values = np.where(mask, 0.5, 0).astype(np.float32)
    change(values)
    figure = draw_map(values, 0.1 * values if std else None, mask, AFFINE)
    save_png(figure, tmp_path / "map.png")
    return figure, tmp_path / "map.png"


def test_invalid_and_implausible_voxels_are_marked_and_counted(mask, tmp_path):
    def change(values):
        half = mask & (np.arange(SHAPE[0])[:, None, None] < 12)
        values[half] = np.nan
        values[~half & mask & (np.arange(SHAPE[1])[:, None] < 14)] = -0.1

    figure, path = draw(mask, tmp_path, change)
    assert share(path, INVALID) > 0.05
    assert share(path, IMPLAUSIBLE) > 0.03
    assert legends(figure) == ["invalid: 50.0%", "< 0 or > 10 S/m: 25.0%"]


def test_a_good_map_has_no_marks(mask, tmp_path):
    _, path = draw(mask, tmp_path)
    # Only the legend has these colours.
    assert share(path, INVALID) < 0.001
    assert share(path, IMPLAUSIBLE) < 0.001


def test_scales_have_units_and_ends(mask, tmp_path):
    figure, _ = draw(mask, tmp_path)
    bars = [child for axes in figure.axes for child in axes.child_axes]
    assert [bar.get_xlabel() for bar in bars] == ["S/m", "S/m"]
    assert [bar.get_xlim() for bar in bars] == [(0, 2.2), (0, 0.5)]
    figure, _ = draw(mask, tmp_path, std=False)
    assert len([child for axes in figure.axes for child in axes.child_axes]) == 1


def test_nothing_is_cut_off(mask, tmp_path):
    figure, _ = draw(mask, tmp_path)
    width, height = figure.canvas.get_width_height()
    for axes in figure.axes:
        for text in [*axes.texts, *(t for c in axes.child_axes for t in c.get_xticklabels())]:
            box = text.get_window_extent()
            assert box.x0 >= 0
            assert box.y0 >= 0
            assert box.x1 <= width
            assert box.y1 <= height


def test_the_outline_of_the_mask_is_visible(mask, tmp_path):
    magnitude = np.where(mask, 100.0, 5.0)
    save_png(draw_mask(magnitude, mask, AFFINE), tmp_path / "mask.png", gray=True)
    assert share(tmp_path / "mask.png", OUTLINE) > 0.002


def test_tissues_in_the_mask_are_drawn(mask):
    labels = np.where(mask, np.where(np.arange(SHAPE[0])[:, None, None] < 12, 1, 2), 5)
    names = {1: "Gray Matter", 2: "White Matter", 5: "Bone", 7: "Lesion"}
    plain, figure = draw_tissues(np.where(mask, 100.0, 5.0), mask, labels, names, AFFINE)
    assert legends(plain) == []
    assert legends(figure) == ["Gray Matter", "White Matter"]
    assert places(plain) == places(figure)


def test_figures_before_and_after_unwrapping_differ_only_at_wraps(mask):
    phi0 = np.where(mask, np.linspace(-6, 6, SHAPE[0])[:, None, None], 0)
    wrapped = np.angle(np.exp(1j * phi0))
    pair = draw_phase(wrapped, phi0, mask, AFFINE)
    low, high = np.percentile(phi0[mask], (1, 99))
    for figure in pair:
        (bar,) = (child for axes in figure.axes for child in axes.child_axes)
        assert bar.get_xlim() == pytest.approx((low, high))
    # the images alternate on the page, so nothing else may differ
    assert places(pair[0]) == places(pair[1])
    # the slices differ only in voxels with a wrap
    before, after = (figure.axes[0].get_images()[2].get_array() for figure in pair)
    differs = (before != after).any(axis=-1)
    assert 0.1 < differs.mean() < 0.5


def test_the_same_figure_gives_the_same_bytes(mask, tmp_path):
    def write(folder):
        folder.mkdir()
        tissues = {"White Matter": np.array([0.3, 0.4, np.nan]), "x": np.full(2, np.nan)}
        densities = {name: density_of(values) for name, values in tissues.items()}
        figure = draw_distributions({"laplacian": densities}, {"White Matter": 0.34})
        save_svg(figure, folder / "d.svg")
        _, path = draw(mask, folder)
        return (folder / "d.svg").read_bytes(), path.read_bytes()

    assert write(tmp_path / "a") == write(tmp_path / "b")


def test_distributions_are_densities_of_the_valid_voxels():
    values = np.concatenate([np.full(30, 0.4), np.full(10, 5.0), np.full(60, np.nan)])
    density = density_of(values)
    assert density.sum() * 3.5 / density.size == pytest.approx(0.75)
    maps = {"a": {"White Matter": density / 2}, "b": {"White Matter": density}}
    (axes,) = draw_distributions(maps, {"White Matter": 0.34}).axes
    first, second = (patch.get_data() for patch in axes.patches)
    # the second histogram is one row lower, and twice as high on the same scale
    assert (second.values.max() + 1) / first.values.max() == pytest.approx(2)
    assert axes.lines[-1].get_xdata()[0] == 0.34
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]


@pytest.mark.parametrize("name", [r"$\foo$", "$", r"\$x$", "a_b^c", "<b>&"])
def test_special_characters_in_tissue_names_are_escaped(tmp_path, name):
    labels = np.ones((8, 8, 8), np.int32)
    _, figure = draw_tissues(labels.astype(float), labels > 0, labels, {1: name}, np.eye(4))
    save_png(figure, tmp_path / "a.png")
    densities = {name: {name: density_of(np.linspace(0, 1, 50))}}
    save_svg(draw_distributions(densities, {}), tmp_path / "a.svg")
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
