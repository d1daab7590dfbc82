"""The page about written policies: its example runs as it stands and prints what the page says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,), (printed,) = blocks("python"), blocks("text")
    exec(compile(code, "docs/policy.md", "exec", dont_inherit=True), {"__name__": "page"})
    assert capsys.readouterr().out == printed


def test_rule_on_page_equals_the_shipped_one() -> None:
    import interwhen_verifiers.policies

    rule, learn = map(tomllib.loads, blocks("toml"))
    file = Path(interwhen_verifiers.policies.__file__).parent / "airline" / "rules" / f"{rule['id']}.toml"
    shipped = tomllib.loads(file.read_text(encoding="utf-8"))
    assert {key: rule[key] for key in rule if key != "example"} == {
        key: shipped[key] for key in rule if key != "example"
    }
    assert all(example in shipped["example"] for example in rule["example"])
    assert len(learn["learn"]) == 2


def test_page_lists_every_function() -> None:
    from interwhen.policy._builtins import FUNCTIONS

    (row,) = [line for line in PAGE.splitlines() if line.startswith("| functions |")]
    assert set(re.findall(r"[a-z_]+", row)) - {"functions"} == {row.name for row in FUNCTIONS} - {
        "zip",
        "consecutive",
        "calls",
    }
