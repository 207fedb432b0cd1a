"""Mathematics as MathML, which browsers display without scripts and without the network."""

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

_LOGGER = logging.getLogger(__name__)


def _mathml(node: nodes.math | nodes.math_block, as_block: bool) -> str:
    try:
        return tex2mathml(node.astext(), as_block=as_block)
    except MathError as error:
        _LOGGER.warning("cannot convert %r: %s", node.astext(), error, location=node)
        return ""


def _attach_punctuation(app: Sphinx, doctree: nodes.document, name: str) -> None:
    """Move the punctuation after a formula into its node, because lines may break after MathML."""
    for formula in doctree.findall(nodes.math):
        siblings = formula.parent
        position = siblings.index(formula) + 1
        following = siblings[position] if position < len(siblings) else None
        if isinstance(following, nodes.Text) and (marks := re.match(r"[.,;:)]+", following)):
            formula["punctuation"] = marks[0]
            siblings[position] = nodes.Text(following[marks.end() :])


def _visit_inline(self: HTML5Translator, node: nodes.math) -> None:
    formula = _mathml(node, as_block=False) + node.get("punctuation", "")
    self.body.append(f'<span class="formula">{formula}</span>')
    raise nodes.SkipNode


def _visit_block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(_mathml(node, as_block=True))
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer, which docs/conf.py selects."""
    app.connect("doctree-resolved", _attach_punctuation)
    app.add_html_math_renderer("mathml", (_visit_inline, None), (_visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
