"""The lists on the pages agree with the app."""

import doctest
import importlib
import json
import re

import pytest
import yaml
from markdown_it import MarkdownIt

from bids_qcm import __version__
from bids_qcm.recon import METHODS
from bids_qcm.recon.methods import PUBLISHED
from tests.docs.blocks import PAGES, ROOT

PACKAGE = ROOT / "bids_qcm"
WITH_EXAMPLES = sorted(path for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text())


def tables(page):
    """Return the rows of all tables of a page, as lists of plain text."""
    tokens = MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8"))
    rows = []
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("td_open", "th_open"):
            rows[-1].append("".join(child.content for child in following.children))
    return rows


def test_the_method_table_agrees_with_the_code():
    edges = {(0, 0): "-", (1, 0): "magnitude", (0, 1): "segmentation", (1, 1): "both"}
    listed = [row for row in tables(ROOT / "README.md") if row[0] in METHODS]
    assert [row[0] for row in listed] == list(METHODS)
    assert [row[0] for row in listed[: len(PUBLISHED)]] == list(PUBLISHED)
    for name, _, kept, radii in listed:
        method = METHODS[name]
        assert kept == edges[method.uses_magnitude, method.uses_labels]
        fit, integral = (r and f"{r:g}" for r in (method.fit_radius, method.integral_radius))
        assert radii == " / ".join(filter(None, (fit or "-", integral)))


def test_pages_outside_the_site_have_no_dead_links():
    for page in (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (ROOT / target).is_file(), f"{page}: {target}"


def test_pages_contain_no_details_of_a_machine():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"/(?:work|home|root|tmp)/\w", text), page


def test_all_files_contain_the_current_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    for name, text in (
        ("CHANGELOG.md", f"## {__version__}"),
        ("Dockerfile", f"ARG VERSION={__version__}\n"),
        ("README.md", f"bids-qcm:{__version__}"),
        ("docs/usage.md", f"bids-qcm:{__version__}"),
        ("boutiques.json", f'"tool-version": "{__version__}"'),
    ):
        assert text in (ROOT / name).read_text(encoding="utf-8"), name


def test_the_archive_describes_the_software_as_the_citation_does():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    archive = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    for name in ("title", "license", "keywords"):
        assert archive[name] == citation[name]
    authors = [one["name"] for one in citation["authors"]]
    assert [one["name"] for one in archive["creators"]] == authors


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_examples_in_docstrings_are_correct(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried > 0
    assert failed == 0
