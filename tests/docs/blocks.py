"""Code blocks in the documentation."""

from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes
    ----------
    page : Path
    line : int
    language : str
    remark : str
        Text after the language: the reason why the block is not run.
    text : str
    """

    page: Path
    line: int
    language: str
    remark: str
    text: str

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page, language):
    """List the code blocks of a page in a language."""
    found = []
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "fence":
            spoken, _, remark = token.info.partition(" ")
            found.append(Block(page, token.map[0] + 1, spoken, remark, token.content))
    return [block for block in found if block.language == language]
