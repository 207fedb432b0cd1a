"""Write the methods text to files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bids_qcm.bids.derivatives import write_text
from bids_qcm.bids.results import find_results
from bids_qcm.reports.citations import as_bibtex, as_html, as_markdown
from bids_qcm.reports.methods_text import describe_methods
from bids_qcm.reports.pages import write_page
from bids_qcm.reports.participant import processing
from bids_qcm.reports.states import citation_state


def write_citation(
    output_dir: Path,
    participants: Sequence[str],
    methods: Mapping[str, Sequence[str]] | None = None,
) -> list[Path]:
    """Write the methods text to ``logs/CITATION.md`` and ``.html``, and its references to ``.bib``.

    Parameters
    ----------
    output_dir : Path
        Derivative dataset.
    participants : sequence of str
        Labels with ``sub-``, such as ``sub-01``.
    methods : mapping of str to sequence of str, optional
        Methods to describe, by the source name of each acquisition. By default, all maps in the
        dataset are described.

    Returns
    -------
    list of Path
        Files that were written; empty if there is no map to describe.
    """
    state = citation_state(output_dir, participants, methods)
    results = [one for participant in participants for one in find_results(output_dir, participant)]
    if methods is None:
        done = [processing(one) for one in results]
    else:
        done = [processing(one, methods[one.source]) for one in results if one.source in methods]
    if not done:
        return []
    text = describe_methods(done)
    paths = [*(state.page.with_suffix(f".{kind}") for kind in ("md", "bib")), state.page]
    write_text(paths[0], as_markdown(text))
    write_text(paths[1], as_bibtex(text))
    write_page(
        state.page,
        "citation.html",
        fingerprint=state.fingerprint(),
        title="Methods text",
        text=as_html(text),
    )
    return paths
