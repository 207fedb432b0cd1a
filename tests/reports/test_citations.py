import re

import pytest

from bids_qcm.reports.citations import (
    as_bibtex,
    as_html,
    as_markdown,
    cited_keys,
    references,
)

TEXT = ["First [@otsu1979; @voigt2011].", "Then <b>& [@rousseeuw1993], again [@otsu1979]."]


def test_keys_are_listed_once_in_their_order():
    assert cited_keys(TEXT) == ["otsu1979", "voigt2011", "rousseeuw1993"]


def test_markdown_has_names_and_years_and_the_references():
    text = as_markdown(TEXT)
    assert "First (Otsu, 1979; Voigt et al., 2011)." in text
    assert "(Rousseeuw and Croux, 1993)" in text
    entries = [line for line in text.splitlines() if line.startswith("- ")]
    assert [entry[2:6] for entry in entries] == ["Otsu", "Rous", "Voig"]
    assert "<https://doi.org/10.1002/mrm.22832>" in entries[2]


def test_html_is_escaped_and_links_to_the_references():
    text = as_html(TEXT)
    assert "Then &lt;b&gt;&amp; (Rousseeuw and Croux, 1993), again (Otsu, 1979)." in text
    assert 'href="https://doi.org/10.1002/mrm.22832"' in text
    assert "<b>" not in text


def test_bibtex_has_an_entry_for_each_citation():
    text = as_bibtex(TEXT)
    assert re.findall(r"@article\{(\w+),", text) == ["otsu1979", "rousseeuw1993", "voigt2011"]
    assert "author = {Rousseeuw, Peter J. and Croux, Christophe}" in text
    assert "pages = {1273--1283}" in text
    assert text.count("{") == text.count("}")


def test_an_unknown_citation_key_is_an_error():
    with pytest.raises(KeyError):
        as_markdown(["See [@nobody2020]."])


@pytest.mark.parametrize("key", references())
def test_every_reference_is_complete(key):
    reference = references()[key]
    assert reference["title"]
    assert reference["where"]
    assert all("," in author or author == "others" for author in reference["authors"])
    assert as_bibtex([f"[@{key}]"]).startswith(f"@{reference['type']}{{{key},")
    assert ".." not in as_markdown([f"[@{key}]"])
