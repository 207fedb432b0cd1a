"""Fixtures for several test folders."""

import logging
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from bids_qcm.cli.phantom import main as phantom_main

# parameters that do not affect the head of a phantom
SCANNER = {
    "snr": 50.0,
    "echo_times": (),
    "off_resonance": 30.0,
    "seed": 0,
    "phase_scaling": "rad",
    "phase_sign": 1,
}


CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(autouse=True)
def quiet_logger():
    """Reset the package logger, which is configured by commands."""
    logger = logging.getLogger("bids_qcm")
    # reset the logger before the test, because fixtures of its module may have run commands
    logger.handlers = []
    logger.setLevel(logging.NOTSET)
    yield
    logger.handlers = []
    logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def in_process(tmp_path_factory):
    """Options that make the command compute in its own process.

    Worker processes take about 1.5 s of processor time for each run.
    """
    plugin = tmp_path_factory.mktemp("plugin") / "plugin.yml"
    plugin.write_text("plugin: Linear")
    return "--use-plugin", str(plugin)


@pytest.fixture(scope="session")
def without_pages():
    """A context in which commands in this process write no participant pages.

    A page takes a second of processor time, and several seconds for many methods.
    """

    @contextmanager
    def without_pages():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bids_qcm.cli.reports._write_pages", lambda *_: None)
            yield

    return without_pages


@pytest.fixture(scope="session")
def validate():
    """A function that runs the BIDS validator and returns its exit status and output."""

    def run(dataset):
        validator = Path(sys.executable).with_name("bids-validator-deno")
        done = subprocess.run(
            [validator, dataset, "--ignoreWarnings"], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture(scope="session")
def share_heads():
    """A context in which phantoms share identical heads, because making a head is slow."""
    from bids_qcm.bids.phantom import dataset as phantom_dataset
    from bids_qcm.phantom import make

    made = cache(make.make_head)

    @contextmanager
    def share_heads():
        with pytest.MonkeyPatch.context() as patch:
            for module in (make, phantom_dataset):
                patch.setattr(module, "make_head", lambda given: made(replace(given, **SCANNER)))
            yield

    return share_heads


@pytest.fixture(scope="session")
def add_phantom(share_heads):
    """A function that adds a phantom to a dataset as the participant with a given label."""

    def add(dataset, label, workspace, *options):
        made = workspace / label
        with share_heads():
            assert phantom_main(["create", str(made), "--resolution", "4", *options]) == 0
        for path in sorted(made.rglob("*")):
            if path.is_file() and path.name != "participants.tsv":
                relative = str(path.relative_to(made)).replace("sub-01", f"sub-{label}")
                target = dataset / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)

    return add


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    # Chromium's sandbox refuses root
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def look(browser):
    """A function that opens a page, and checks its network requests and console messages."""

    def look(path, width):
        page = browser.new_page(viewport={"width": width, "height": 900})
        complaints, requests = [], []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(request.url))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_load_state("networkidle")
        assert complaints == []
        assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
        # nothing is wider than the window
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        return page

    return look
