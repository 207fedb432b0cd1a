"""Sphinx directive that shows the usage and all arguments of an argparse parser.

Existing extensions parse help texts as reStructuredText, in which ``*_dseg`` is an error.
"""

import argparse
from importlib import import_module

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class ParserOptions(SphinxDirective):
    """Directive ``{parser-options} package.module:function [subcommand]``."""

    required_arguments = 1
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the usage and a list of arguments for each group."""
        module, function = self.arguments[0].split(":")
        parser = getattr(import_module(module), function)()
        for subcommand in self.arguments[1:]:
            parser = _subparsers(parser)[subcommand]
        usage = parser.format_usage().removeprefix("usage: ")
        shown: list[nodes.Node] = [nodes.literal_block(usage, usage, language="text")]
        for group in parser._action_groups:
            if group._group_actions:
                title = group.title.capitalize()
                shown += [nodes.rubric(title, title), self._definitions(parser, group)]
        return shown

    def _definitions(
        self, parser: argparse.ArgumentParser, group: argparse._ArgumentGroup
    ) -> nodes.definition_list:
        formatter = parser.formatter_class(prog=parser.prog)
        items = []
        for action in group._group_actions:
            name = formatter._format_action_invocation(action)
            text = formatter._expand_help(action)
            anchor = nodes.make_id(f"{parser.prog} {(action.option_strings or [action.dest])[-1]}")
            term = nodes.term("", "", nodes.literal(name, name), ids=[anchor])
            meaning = nodes.definition("", nodes.paragraph(text, text))
            items.append(nodes.definition_list_item("", term, meaning))
        return nodes.definition_list("", *items)


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    [action] = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    return action.choices


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive in Sphinx."""
    app.add_directive("parser-options", ParserOptions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
