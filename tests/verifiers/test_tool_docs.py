"""The examples of the documentation run, and no pattern takes more than linear time."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from interwhen.testing.complexity import suspicious

PAGES = Path(__file__).parents[2] / "docs" / "verifiers"


@pytest.mark.parametrize("page", ["tool_policy", "provenance", "json_schema"])
def test_the_example_of_the_page_runs(page: str) -> None:
    (block,) = re.findall(
        r"^```python\n(.*?)^```", (PAGES / f"{page}.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    exec(compile(block, page, "exec", dont_inherit=True), {"__name__": page})


MODULES = ["_tools.history", "_json_schema.reader", "_json_schema.constraints", "_json_schema.validator"]


@pytest.mark.parametrize("name", MODULES)
def test_patterns_are_linear(name: str) -> None:
    namespace = vars(importlib.import_module(f"interwhen_verifiers.{name}"))
    patterns = [value for value in namespace.values() if isinstance(value, re.Pattern)]
    assert patterns
    assert [suspicious(pattern) for pattern in patterns] == [()] * len(patterns)
