"""Operators and functions: kind, value and formula of each row agree, and what it takes is checked."""

from __future__ import annotations

import datetime as dt

import pytest
from interwhen.policy import Situation, Talk
from interwhen.policy._builtins import BUILTINS
from interwhen.policy._evaluation import evaluate
from interwhen.policy._kind_check import kind_of
from interwhen.policy._kinds import Bool
from interwhen.policy._schemas import read_schema
from interwhen.policy._syntax import parse

SCHEMA = read_schema(
    {
        "tools": {
            "go": {"id": "text", "size": "integer", "tags": "list[text]", "lists": "list[list[integer]]"},
            "see": {"id": "text"},
        },
        "records": {"Found": {"notes": "map[text, text]", "at": "moment"}},
        "returns": {"go": "Found"},
    }
)
HERE = Situation(
    "go",
    {"id": "A", "size": 2, "tags": ["x", "y"], "lists": [[1], [2, 3]]},
    talk=Talk(("Yes, go ahead.",), told=True),
    now=dt.datetime(2024, 5, 15, 15),  # noqa: DTZ001
    result={"notes": {"a": "b"}, "at": "2024-05-15T14:00:00"},
)
CASES = {
    # One condition for each row, which is true here; Z3 finds that it can be true.
    "and": "args.size = 2 and args.size > 1",
    "or": "args.size = 3 or args.size > 1",
    "not": "not args.size = 3",
    "if": "(if args.size > 1 then 5 else 6) = 5",
    "=": "args.size = 2",
    "!=": "args.size != 3",
    "<": "args.size < 3",
    "<=": "args.size <= 2",
    ">": "args.size > 1",
    ">=": "args.size >= 2",
    "in": 'args.id in ["A", "B"]',
    "+": "args.size + 1 = 3",
    "-": "now - result.at = 1 hour",
    "*": "args.size * 2 = 4",
    "length": "length(args.tags) = 2",
    "first": 'first(args.tags) = "x"',
    "last": 'last(args.tags) = "y"',
    "values": 'any n in values(result.notes): n = "b"',
    "keys": 'any n in keys(result.notes): n = "a"',
    "flat": "(sum n in flat(args.lists): n) = 6",
    "consecutive": "all a, b in consecutive(args.tags): a != b",
    "zip": "all a, b in zip(args.tags, args.tags): a = b",
    "max": "max(args.size, 3) = 3",
    "min": "min(args.size, 3) = 2",
    "day": "day(now) = 2024-05-15",
    "starts_with": 'starts_with(talk.last, "Yes")',
    "contains": 'contains(talk.last, "go")',
    "mentions": 'mentions(talk.last, ["go ahead"])',
    "given": "given(args.size)",
    "unjudged": 'assume(unjudged("it"), true)',
    "assume": "assume(args.size = 2, false)",
    "calls": 'length(calls("see")) = 0',
}


def test_every_builtin_has_a_case() -> None:
    assert set(CASES) == set(BUILTINS)


@pytest.mark.parametrize("name", CASES)
def test_kind_value_and_formula_agree(name: str) -> None:
    node = parse(CASES[name])
    assert kind_of(node, SCHEMA.scope("go", "after")) == Bool()
    assert evaluate(node, HERE, SCHEMA) is True
    pytest.importorskip("z3", reason="the extra 'z3' is not installed")
    from interwhen.policy._smt import Questions

    asked = Questions(SCHEMA, "go", "after", [node])
    assert asked.ask([asked.truth(node)]) == "yes"


def test_lists_in_lists_are_checked_once() -> None:
    nested = "true in [" * 29 + "true" + "]" * 29  # each level once more doubled the work
    assert kind_of(parse(nested), SCHEMA.scope("go")) == Bool()
