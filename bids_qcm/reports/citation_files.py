"""The methods text of a run as files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bids_qcm.bids.derivatives import write_text
from bids_qcm.bids.results import find_results
from bids_qcm.bids.run_records import LOGS
from bids_qcm.reports.citations import as_bibtex, as_html, as_markdown
from bids_qcm.reports.methods_text import describe_methods
from bids_qcm.reports.pages import write_page
from bids_qcm.reports.participant import processing


def write_citation(output_dir: Path, methods: Mapping[str, Sequence[str]]) -> list[Path]:
    """Write ``logs/CITATION.md``, ``.bib`` and ``.html``: what a run did, ready for a paper.

    Parameters
    ----------
    output_dir : Path
        The derivative dataset.
    methods : mapping of str to sequence of str
        Methods whose maps the run wrote, by what the names of the acquisition's files start with.
        Maps of earlier runs are not told of.

    Returns
    -------
    list of Path
        None where the run wrote no map.
    """
    participants = sorted({source.split("_")[0] for source in methods})
    done = [
        processing(result, methods[result.source])
        for participant in participants
        for result in find_results(output_dir, participant)
        if result.source in methods
    ]
    if not done:
        return []
    text = describe_methods(done)
    paths = [output_dir / LOGS / f"CITATION.{kind}" for kind in ("md", "bib", "html")]
    write_text(paths[0], as_markdown(text))
    write_text(paths[1], as_bibtex(text))
    write_page(paths[2], "citation.html", title="Methods text", text=as_html(text))
    return paths
