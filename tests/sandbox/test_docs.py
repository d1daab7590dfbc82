"""The page about sandboxes: its examples run as they stand."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "sandbox.md"


def test_the_examples_run(capsys):
    pytest.importorskip("pydantic_monty", reason="the extra 'sandbox' is not installed")
    first, bubblewrap = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(compile(first, str(PAGE), "exec"), {})
    assert capsys.readouterr().out == "it says True\n"
    exec(compile(bubblewrap, str(PAGE), "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 6
