"""What a file names is read in one module, which decides what of it may be made."""

import ast

import pytest
from tests.architecture.mirror import modules

# It reads the source, which is not there beside an installed wheel.
pytestmark = pytest.mark.source

FIELDS = {"untrusted_spec", "untrusted_model"}
READERS = {"interwhen._run.consent", "interwhen.journal._records"}
"""The second one declares the fields, and shows the name of a plug-in."""


def test_only_listed_modules_read_untrusted_fields():
    readers = {
        name
        for name, module in modules().items()
        for node in ast.walk(ast.parse(module.path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in FIELDS)
        or (isinstance(node, ast.Constant) and node.value in FIELDS)
    }
    assert readers == READERS
