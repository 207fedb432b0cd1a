"""Write HTML pages that open from disk and load no external resources."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bids_qcm import __version__
from bids_qcm.bids.derivatives import write_text


def write_page(
    path: Path,
    template: str,
    *,
    fingerprint: str = "",
    **content: Any,  # noqa: ANN401
) -> None:
    """Write an HTML page from a template.

    Parameters
    ----------
    path : Path
        File to write atomically.
    template : str
        File name of the template.
    fingerprint : str
        Fingerprint of the report (:mod:`bids_qcm.reports.states`), which is stored in the page;
        empty for a page without a fingerprint.
    **content
        Variables of the template. Their text is escaped.
    """
    environment = Environment(
        loader=PackageLoader("bids_qcm", "data/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    date = datetime.now(UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    text = environment.get_template(template).render(
        version=__version__, date=date, fingerprint=fingerprint, **content
    )
    write_text(path, text)


def embedded(content: Mapping[str, Any]) -> Markup:
    """Return content as JSON that is safe inside a script element of a page."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    # a string with "</script>" would end the element
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704  # the only special character is escaped


def link(path: str) -> str:
    """Return a relative path as a URL with special characters escaped."""
    return quote(path)


def link_to_scan(participant: str, source: str) -> str:
    """Return the URL of a scan on the page of its participant."""
    return f"{link(participant)}.html#{link(source)}"
