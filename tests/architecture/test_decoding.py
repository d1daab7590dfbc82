"""Data that cannot be decoded is one kind of fault, whatever msgspec raises for it."""

import ast
from pathlib import Path

import pytest

BAD_BYTES = ({"UnicodeError"}, {"UnicodeDecodeError"}, {"ValueError"})
ROOT = Path(__file__).parents[2]
PACKAGES = ("interwhen", "interwhen_pytest", "interwhen_launcher", "verifiers/interwhen_verifiers")
DELIBERATE = {
    "interwhen/_types/segments.py": "a check of arguments that cannot be read must fail, and not come to Unknown",
}
HANDLERS = {"MsgspecError", "DecodeError"}


def names(handler):
    return {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(handler.type)
        if isinstance(node, ast.Attribute | ast.Name)
    }


@pytest.mark.source
def test_handlers_catch_every_decode_error():
    places = []
    for path in (path for folder in PACKAGES for path in sorted((ROOT / folder).rglob("*.py"))):
        if str(path.relative_to(ROOT)) in DELIBERATE:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler) and node.type is not None and names(node) & HANDLERS:
                caught = names(node)
                if "RecursionError" not in caught or not any(each <= caught for each in BAD_BYTES):
                    places.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert places == [], "catch *DECODE_ERRORS, or these three: msgspec.DecodeError, UnicodeError, RecursionError"
