"""Pages: HTML that opens from disk and needs nothing from elsewhere."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from bids_qcm import __version__
from bids_qcm.bids.derivatives import write_text


def write_page(path: Path, template: str, **content: Any) -> None:  # noqa: ANN401
    """Write a page.

    Parameters
    ----------
    path : Path
        Written whole or not at all.
    template : str
        Name of the template.
    **content
        What the template shows; text is escaped.
    """
    environment = Environment(
        loader=PackageLoader("bids_qcm", "data/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    date = datetime.now(UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    write_text(
        path, environment.get_template(template).render(version=__version__, date=date, **content)
    )


def link(path: str) -> str:
    """Make a link of a path relative to the page."""
    return quote(path)
