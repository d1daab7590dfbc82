"""The page about sandboxes: its example runs as it stands."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "sandbox.md"


def test_the_example_runs(capsys):
    pytest.importorskip("pydantic_monty", reason="the extra 'sandbox' is not installed")
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(compile(code, str(PAGE), "exec"), {})
    assert capsys.readouterr().out == "it says True\n"
