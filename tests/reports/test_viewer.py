import base64
import json
import re
import zlib

import numpy as np
import pytest

from bids_qcm.reports.viewer import ViewerGrid, write_viewer

SHAPE = (24, 30, 18)
AFFINE = np.diag([4.0, 4.0, 5.0, 1.0])
AFFINE[:3, 3] = -48, -60, -45


@pytest.fixture(scope="module")
def mask():
    axes = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in SHAPE)]
    return sum(np.square(axis) for axis in axes) < 0.5


@pytest.fixture(scope="module")
def conductivity(mask):
    values = np.linspace(0.2, 0.8, mask.size).reshape(SHAPE)
    values[0::8], values[1::8], values[2::8], values[3::8] = np.nan, -1, 20, 5
    return np.where(mask, values, 0)


@pytest.fixture(scope="module")
def page(tmp_path_factory, mask, conductivity):
    path, grid = tmp_path_factory.mktemp("viewer") / "viewer.html", ViewerGrid(mask, AFFINE)
    left = mask & (np.arange(SHAPE[0])[:, None, None] < SHAPE[0] // 2)
    maps = {
        "first": {"conductivity": grid.encode_conductivity(np.where(mask, 0.1, 0))},
        "second": {
            "conductivity": grid.encode_conductivity(conductivity),
            "std": grid.encode_std(np.where(left, np.nan, np.where(mask, 0.034, 0))),
        },
    }
    magnitude = grid.encode_magnitude(np.where(mask, 100.0, 10.0))
    tissues = {"White Matter": left, "<b>Gray": mask & ~left}
    write_viewer(path, "a title", grid, maps, magnitude, tissues, "second")
    return path


def unpack(text, shape):
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(shape)


def test_values_are_rounded_to_the_steps_of_the_viewer(page, mask, conductivity):
    text = re.search(r'<script id="data"[^>]*>(.*?)</script>', page.read_text(), re.DOTALL)[1]
    data = json.loads(text)
    box = ViewerGrid(mask, AFFINE).box
    shown, inside = conductivity[box], mask[box]
    codes = unpack(data["maps"]["second"]["conductivity"], data["shape"])
    first, last, step = (data["steps"]["conductivity"][key] for key in ("first", "last", "step"))
    known = (codes >= first) & (codes <= last)
    np.testing.assert_allclose((codes[known] - first) * step, shown[known], atol=step / 2)
    expected = {
        "outside the mask": ~inside,
        "invalid": np.isnan(shown),
        "< 0 S/m": shown < 0,
        "> 10 S/m": shown > 10,
    }
    for code, text in data["texts"].items():
        np.testing.assert_array_equal(codes == int(code), expected.pop(text))
    assert not expected
    np.testing.assert_array_equal(codes == 254, shown == 5)
    first, step = (data["steps"]["std"][key] for key in ("first", "step"))
    std = unpack(data["maps"]["second"]["std"], data["shape"])
    known = std[inside & (np.arange(SHAPE[0]) >= SHAPE[0] // 2)[box[0], None, None]]
    np.testing.assert_allclose((known - first) * step, 0.034, atol=1e-9)
    # the first voxel of the box has the same position as in the image
    starts = [part.start for part in box]
    expected = AFFINE[:3] @ [*starts, 1]
    np.testing.assert_allclose(np.array(data["affine"])[:, 3], expected)


def test_the_page_is_reproducible_and_loads_nothing(page, mask, tmp_path):
    assert not re.findall(r"https?://(?!www\.w3\.org/)|src=|@import", page.read_text())
    grid = ViewerGrid(mask, AFFINE)
    maps = {"a": {"conductivity": grid.encode_conductivity(np.where(mask, 0.5, 0))}}
    for name in ("1", "2"):
        write_viewer(tmp_path / name, "", grid, maps, None, {"whole mask": mask}, "a")
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_the_value_and_its_noise_are_shown_under_the_pointer(page, mask, conductivity, look):
    shown = look(page, 1108)
    shown.locator("#value b").wait_for()
    starts = [part.start for part in ViewerGrid(mask, AFFINE).box]

    def hover(right, front):
        """Move the pointer to a voxel in the axial plane, relative to the cross."""
        data = shown.evaluate("({cross: data.cross, shape: data.shape})")
        canvas = shown.locator("canvas").first
        box = canvas.bounding_box()
        voxel = np.add(data["cross"], [right, front, 0])
        at = (voxel[0] + 0.5) / data["shape"][0], 1 - (voxel[1] + 0.5) / data["shape"][1]
        canvas.hover(position={"x": at[0] * box["width"], "y": at[1] * box["height"]})
        return tuple(voxel + starts)

    hover(-3, 2)
    assert "invalid noise standard deviation" in shown.locator("#value").inner_text()
    index = hover(3, 2)
    mm = AFFINE[:3] @ [*index, 1]
    text = shown.locator("#value").inner_text()
    assert f"{conductivity[index]:.2f} ± 0.034 S/m" in text
    assert f"x = {mm[0]:.0f}, y = {mm[1]:.0f}, z = {mm[2]:.0f} mm" in text
    assert "<b>Gray" in text
    shown.locator("#method").select_option("first")
    shown.get_by_text("no noise map").wait_for()
    # nothing is cut off
    assert shown.evaluate("document.documentElement.scrollHeight <= innerHeight")
    shown.close()


def test_a_slow_map_does_not_replace_a_map_that_was_chosen_later(page, look):
    shown = look(page, 1108)
    shown.locator("#value b").wait_for()
    shown.evaluate(
        """() => {
            const real = unpack, slow = data.maps.first.conductivity;
            unpack = async text => {
                if (text === slow) await new Promise(done => { window.release = done; });
                return real(text);
            };
        }"""
    )
    for name in ("first", "second"):
        shown.locator("#method").select_option(name)
    shown.evaluate("release()")
    shown.wait_for_timeout(50)
    assert "no noise map" not in shown.locator("#value").inner_text()
    assert shown.evaluate("Boolean(volumes.std)")
    shown.close()


def test_a_browser_without_decompression_shows_a_message(page, browser):
    shown, errors = browser.new_page(), []
    shown.on("pageerror", lambda error: errors.append(str(error)))
    shown.add_init_script("delete window.DecompressionStream")
    shown.goto(page.as_uri())
    shown.get_by_text("The maps cannot be shown").wait_for()
    shown.locator("canvas").first.hover()
    assert "Firefox 113" in shown.locator("#value").inner_text()
    assert errors == []
    shown.close()
