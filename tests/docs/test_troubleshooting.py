"""The page on troubleshooting lists exactly the messages of the app."""

import ast
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from bids_qcm.bids import errors

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"

# placeholder for a value in a message
VALUE = "…"

# the arguments of these errors are the file, the problem and the remedy
WITH_REMEDY = {
    name
    for name, one in vars(errors).items()
    if isinstance(one, type) and issubclass(one, errors.InputError)
}
CALLED = ("LOGGER.error", "LOGGER.exception", "LOGGER.warning", "parser.error", "arguments.fail")


def message(node, assigned):
    """Return the text of an expression with VALUE in place of its variable parts."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(message(part, {}) or VALUE for part in parts)
        case ast.Name(id=name) if name in assigned:
            return message(assigned[name], {})
    return ""


def said(module):
    """List the messages that a module raises, reports or logs."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    assigned = {
        node.targets[0].id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Raise(exc=ast.Call(func=func, args=[_, problem, _])) if (
                ast.unparse(func) in WITH_REMEDY
            ):
                yield message(problem, assigned)
            case ast.Raise(exc=ast.Call(args=[text])):
                yield message(text, assigned)
            case ast.Call(func=ast.Name(id="Failure"), args=[_, text, *_]):
                yield message(text, assigned)
            case ast.Call(func=func, args=[text, *_]) if ast.unparse(func) in CALLED:
                yield re.sub(r"%[.\d]*[sdfgr]", VALUE, message(text, assigned)).replace("%%", "%")


def tidy(text):
    return re.sub(rf"{VALUE}+", VALUE, " ".join(text.split()))


def is_message(text):
    return " " in text.replace(VALUE, "").strip(" :;")


MODULES = sorted((ROOT / "bids_qcm").rglob("*.py"))
MESSAGES = {tidy(text) for module in MODULES for text in said(module) if is_message(text)}


@pytest.fixture(scope="module")
def explained():
    """The messages that the page explains: the code at the start of each table row."""
    tokens = MarkdownIt().enable("table").parse(PAGE.read_text(encoding="utf-8"))
    cells = (
        inline.children[0].content
        for row, _, inline in zip(tokens, tokens[1:], tokens[2:], strict=False)
        if row.type == "tr_open" and inline.children and inline.children[0].type == "code_inline"
    )
    return list(map(tidy, cells))


def test_messages_are_found_in_the_source():
    assert {"has shape …, but … has …", "SNR must be above 0 (inf for no noise), not …"} <= MESSAGES


def test_every_message_is_explained(explained):
    assert sorted(MESSAGES - set(explained)) == []


def test_no_message_is_explained_twice(explained):
    assert sorted(one for one in set(explained) if explained.count(one) > 1) == []


def test_only_messages_of_the_app_are_explained(explained):
    texts = {
        tidy(message(node, {}))
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
    }
    assert sorted(set(explained) - MESSAGES - texts) == []
