"""Tools from files: JSON of the OpenAI API, and Python that is read and never run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from interwhen import UsageError
from interwhen.policy._kinds import describe
from interwhen.policy._schemas import Tool, read_tools

PYTHON = '''
"""Tools of a shop."""
import datetime
from dataclasses import dataclass
from typing import Annotated, Literal, Optional, TypedDict

open(r"{mark}", "w").write("it was run")
raise SystemExit(3)

class Item(TypedDict):
    name: str
    price: float

@dataclass
class Order:
    items: list[Item]
    status: Literal["open", "sent"]
    due: datetime.date

def cancel(order_id: str, amount: int = 1, *, why: Optional[str] = None, at: "datetime.datetime | None" = None) -> Order:
    """Cancel an order.

    For good."""
    raise NotImplementedError

async def search(words: list[str], limits: dict[str, int], odd: object, bare, flag: Annotated[bool, "x"]) -> list[Order]: ...

def _hidden(): ...

class Tools:
    def send(self, order_id: str) -> bool: ...
'''


def kinds(tool: Tool) -> dict[str, str]:
    return {name: describe(kind) for name, kind in tool.arguments.fields}


def test_python_is_read_and_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    before = set(sys.modules)
    tools = {tool.name: tool for tool in read_tools(PYTHON.replace("{mark}", str(mark)), "tools.py")}
    assert not mark.exists()
    assert set(sys.modules) == before
    assert list(tools) == ["cancel", "search", "send"]
    assert kinds(tools["cancel"]) == {"order_id": "text", "amount": "integer", "why": "text", "at": "moment"}
    assert tools["cancel"].says.startswith("Cancel an order.")
    assert describe(tools["cancel"].returns) == "Order"
    assert {name: describe(kind) for name, kind in tools["cancel"].returns.fields} == {  # type: ignore[union-attr]
        "items": "list[Item]",
        "status": '"open" | "sent"',
        "due": "date",
    }
    assert kinds(tools["search"]) == {
        "words": "list[text]",
        "limits": "map[text, integer]",
        "odd": "any",
        "bare": "any",
        "flag": "bool",
    }
    assert kinds(tools["send"]) == {"order_id": "text"}


JSON: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "cancel",
            "description": "Cancel an order.",
            "parameters": {
                "type": "object",
                "properties": {
                    "id": {"type": "string"},
                    "reason": {"type": "string", "enum": ["late", "broken"]},
                    "amount": {"type": ["integer", "null"]},
                    "when": {"type": "string", "format": "date-time"},
                    "items": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "number"}}}},
                    "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
                    "open": {},
                    "no name": {"type": "string"},
                },
            },
        },
    },
    {"name": "bare"},
]


def test_openai_tool_schemas_are_read() -> None:
    cancel, bare = read_tools(json.dumps(JSON), "tools.json")
    assert kinds(cancel) == {
        "id": "text",
        "reason": '"broken" | "late"',
        "amount": "integer",
        "when": "moment",
        "items": "list[the arguments of cancel.items[]]",
        "counts": "map[text, integer]",
        "open": "any",
    }
    assert (bare.name, kinds(bare)) == ("bare", {})


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("def f(:", "tools.py", "must be valid JSON or Python"),
        ("(" * 20_000, "tools.py", "must be valid JSON or Python"),
        ("x = " + "-" * 90_000 + "1", "tools.py", "must be valid JSON or Python"),
        ("a\x00b", "tools.py", "must be valid JSON or Python"),
        ("{", "tools.json", "must be valid JSON or Python"),
        ("[" * 100_000, "tools.json", "must be valid JSON or Python"),
        ("{}", "tools.json", "must be a list as in the OpenAI API"),
        ('[{"name": "a b"}]', "tools.json", "must be an object with a valid name"),
        ("[5]", "tools.json", "must be an object with a valid name"),
        ("", "tools.yaml", "must be a .json or a .py file"),
        (" " * 300_000, "tools.py", "must have at most"),
    ],
    ids=[
        "syntax",
        "brackets",
        "signs",
        "null",
        "no JSON",
        "deep JSON",
        "no list",
        "a name",
        "a number",
        "yaml",
        "large",
    ],
)
def test_invalid_tool_file_is_an_error(text: str, name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_tools(text, name)


def test_invalid_escapes_cause_no_warning() -> None:
    (tool,) = read_tools('def f(a: int):\n    return "\\d"\n', "a.py")
    assert kinds(tool) == {"a": "integer"}


def test_deep_schema_is_truncated() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(40):
        deep = {"type": "array", "items": deep}
    (tool,) = read_tools(
        json.dumps([{"name": "f", "parameters": {"type": "object", "properties": {"a": deep}}}]), "a.json"
    )
    assert describe(tool.arguments.fields[0][1]).count("list") <= 13


def test_deep_annotation_is_truncated() -> None:
    (tool,) = read_tools(f"def f(a: {'list[' * 60}int{']' * 60}): ...", "a.py")
    assert describe(tool.arguments.fields[0][1]).count("list") <= 13
    (tool,) = read_tools("def f(a: '\"\\'int\\'\"'): ...", "a.py")
    assert kinds(tool) == {"a": "integer"}
