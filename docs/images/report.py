"""Take report.png: the top of the report page of the phantom, in Chromium.

Run this script in the folder in which these commands created `phantom` and `maps`:

    bids-qcm-phantom create phantom --resolution 2
    bids-qcm phantom maps participant
    python .../docs/images/report.py
"""

import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

PAGE = Path("maps/sub-01.html")
SIZE = {"width": 1280, "height": 1500}
COLOURS = 256


def main() -> None:
    """Take the picture and save it in the folder of this file."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport=SIZE)
        page.goto(PAGE.resolve().as_uri())
        # the viewer is ready when it shows the noise at the cross
        page.frame_locator("iframe.viewer").get_by_text("± noise standard deviation").wait_for()
        picture = page.screenshot()
        browser.close()
    image = Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS)
    image.save(Path(__file__).with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main()
