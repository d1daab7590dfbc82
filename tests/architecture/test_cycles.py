"""No module imports itself through others: not at its head, not in a function, and not for type checkers alone."""

from __future__ import annotations

import ast
import functools
import graphlib

import pytest
from tests.architecture.mirror import modules

# They read the source, which is not there beside an installed wheel.
pytestmark = pytest.mark.source


@functools.cache
def graph():
    known = modules()
    imports = {}
    for name, module in known.items():
        taken = imports[name] = set()
        for node in ast.walk(ast.parse(module.path.read_text())):
            if isinstance(node, ast.Import):
                taken |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                full = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
                taken |= {path if path in known else node.module for path in full.values()}
        imports[name] = {other for other in taken if other in known and other != name}
    return imports


def circle(imports):
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_modules_have_no_import_cycle():
    assert " <- ".join(circle(graph())) == ""


def test_import_cycle_is_detected():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})
