"""The judge of whole documents: schemas that refer to themselves, and deep documents."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable

import interwhen
import pytest
from interwhen import (
    Pass,
    Unknown,
    Verdict,
    Violation,
)
from interwhen.testing import ScriptedModel

from interwhen_verifiers._json_schema.validator import Judge
from interwhen_verifiers.json_schema import json_schema

LIST = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "next": {"$ref": "#"}},
    "required": ["value"],
    "additionalProperties": False,
}
TREE = {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#"}}]}


def _list(depth: int, last: object) -> str:
    return '{"value": 1, "next": ' * depth + json.dumps({"value": last}) + "}" * depth


def _tree(depth: int, last: object) -> str:
    return "[" * depth + json.dumps(last) + "]" * depth


def _at_depth(frames: int, call: Callable[[], Verdict]) -> Verdict:
    return call() if frames == 0 else _at_depth(frames - 1, call)


@pytest.mark.parametrize(("schema", "document"), [(LIST, _list), (TREE, _tree)])
@pytest.mark.parametrize("depth", [1, 10, 63, 64, 65, 100])
def test_a_schema_that_refers_to_itself_is_judged_at_any_depth(schema, document, depth):
    for last, status in ((1, "verified"), ("x", "unverified")):
        text = document(depth, last)
        monitor = json_schema(schema=schema, where="answer", delivery="observe")
        with interwhen.run_sync(ScriptedModel([text]), "?", monitors=[monitor]) as run:
            result = run.drain()
        assert result.status == status
        assert bool(result.violations) == (status == "unverified")


@pytest.mark.parametrize(("schema", "document"), [(LIST, _list), (TREE, _tree)])
def test_how_full_the_stack_is_does_not_matter(schema, document):
    judge = Judge(schema)
    room = sys.getrecursionlimit() - len(inspect.stack())
    verdict = _at_depth(room - 200, lambda: judge.validate(document(64, 1)))
    assert isinstance(verdict, Pass)
    assert isinstance(_at_depth(room - 200, lambda: judge.validate(document(64, "x"))), Violation)


def test_a_schema_that_refers_to_itself_without_end_is_told_from_a_deep_document():
    circle = Judge({"allOf": [{"$ref": "#"}]}).validate("{}")
    assert circle == Unknown("the schema refers to itself without end")
    assert Judge(TREE).validate(_tree(900, 1)) == Unknown("the document is nested too deeply")
