#!/usr/bin/env python3
"""pdoc, with a shorter way to the source of a class: Python's own parses the whole module for each one, and the generated
module has hundreds in 20,000 lines."""

import ast
import functools
import inspect
import sys

from pdoc.__main__ import cli

findsource = inspect.findsource


@functools.cache
def classes(module):
    """The lines of a module, and the line of each class."""
    lines, _ = findsource(module)
    places = {}

    def visit(node, prefix):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                places[prefix + child.name] = child.lineno - 1
                visit(child, f"{prefix}{child.name}.")

    visit(ast.parse("".join(lines)), "")
    return lines, places


def shortcut(thing):
    module = inspect.getmodule(thing)
    if not inspect.isclass(thing) or module is None:
        return findsource(thing)
    lines, places = classes(module)
    if thing.__qualname__ not in places:
        raise OSError(f"no source of {thing.__qualname__}")
    return lines, places[thing.__qualname__]


inspect.findsource = shortcut
sys.exit(cli())
