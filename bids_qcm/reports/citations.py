"""Format citations: author-year citations, lists of references, and BibTeX."""

import re
import tomllib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from markupsafe import Markup

# A citation in a text, such as [@otsu1979] or [@harris2020; @virtanen2020].
_CITATION = re.compile(r"\[(@\w+(?:; @\w+)*)\]")

_BIBTEX_FIELDS = {
    "article": ("journal", "volume", "pages"),
    "inproceedings": ("booktitle", "volume", "pages"),
    "misc": ("publisher", "volume", "pages"),
}


@cache
def references() -> dict[str, dict[str, Any]]:
    """Return all references by their key."""
    return tomllib.loads(files("bids_qcm.data").joinpath("references.toml").read_text("utf-8"))


def cited_keys(paragraphs: Iterable[str]) -> list[str]:
    """Return the cited keys in the order of their first citation, without duplicates."""
    return list(dict.fromkeys(key for text in paragraphs for key in _keys_of(text)))


def as_markdown(paragraphs: Sequence[str]) -> str:
    """Return a text as Markdown, with author-year citations and a list of references."""
    text = "\n\n".join(map(_with_names, paragraphs))
    entries = "\n".join(
        f"- {_entry(key)}{_doi(key, ' <https://doi.org/{}>')}" for key in _sorted(paragraphs)
    )
    return f"{text}\n\n## References\n\n{entries}\n"


def as_html(paragraphs: Sequence[str]) -> Markup:
    """Return a text as HTML, with author-year citations and a list of references.

    Special characters in the text are escaped.
    """
    doi = Markup(' <a href="https://doi.org/{0}">doi:{0}</a>')
    entries = Markup("\n").join(
        Markup("<li>{}{}</li>").format(_entry(key), _doi(key, doi)) for key in _sorted(paragraphs)
    )
    body = Markup("\n").join(Markup("<p>{}</p>").format(_with_names(text)) for text in paragraphs)
    return body + Markup('\n<h4>References</h4>\n<ul class="references">\n{}\n</ul>').format(
        entries
    )


def as_bibtex(paragraphs: Sequence[str]) -> str:
    """Return the references that a text cites as BibTeX entries."""
    return "\n".join(_bibtex(key) for key in _sorted(paragraphs))


def _keys_of(text: str) -> list[str]:
    return [key for found in _CITATION.findall(text) for key in found.replace("@", "").split("; ")]


def _sorted(paragraphs: Iterable[str]) -> list[str]:
    return sorted(cited_keys(paragraphs), key=lambda key: _entry(key).lower())


def _with_names(text: str) -> str:
    """Return the text with author-year citations instead of citation keys."""
    return _CITATION.sub(lambda found: f"({'; '.join(map(_short, _keys_of(found[0])))})", text)


def _short(key: str) -> str:
    reference = references()[key]
    family, *others = [author.split(",")[0] for author in reference["authors"]]
    if len(others) == 1 and others[0] != "others":
        family = f"{family} and {others[0]}"
    elif others:
        family = f"{family} et al."
    return ", ".join([family, *([str(reference["year"])] if "year" in reference else [])])


def _entry(key: str) -> str:
    """Return a reference on one line, without its DOI."""
    reference = references()[key]
    authors = [a if a != "others" else "et al." for a in reference["authors"]]
    year = f" ({reference['year']})" if "year" in reference else ""
    place = [reference["where"], reference.get("volume"), reference.get("pages")]
    names = "; ".join(authors)
    end = "" if names.endswith(".") and not year else "."
    return f"{names}{year}{end} {reference['title']}. {', '.join(filter(None, place))}."


def _doi(key: str, form: str) -> str:
    doi = references()[key].get("doi")
    return form.format(doi) if doi else ""


def _bibtex(key: str) -> str:
    reference = references()[key]
    where, *rest = _BIBTEX_FIELDS[reference["type"]]
    fields: dict[str, str] = {
        "author": " and ".join(reference["authors"]),
        "title": f"{{{reference['title']}}}",
        where: reference["where"],
        **{name: reference[name].replace("-", "--") for name in rest if name in reference},
        **{name: str(reference[name]) for name in ("year", "doi") if name in reference},
    }
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@{reference['type']}{{{key},\n{lines}}}\n"
