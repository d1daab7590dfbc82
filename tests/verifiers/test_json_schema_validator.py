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
    UsageError,
    Verdict,
    Violation,
)
from interwhen.testing import ScriptedModel

from interwhen_verifiers._json_schema.validator import Judge, read_schema, validate
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
def test_recursive_schema_is_judged_at_any_depth(schema, document, depth):
    for last, status in ((1, "verified"), ("x", "unverified")):
        text = document(depth, last)
        monitor = json_schema(schema=schema, where="answer", delivery="observe")
        with interwhen.run_sync(ScriptedModel([text]), "?", monitors=[monitor]) as run:
            result = run.drain()
        assert result.status == status
        assert bool(result.violations) == (status == "unverified")


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("rest", "status"),
    [
        ("\n```\nBye", "verified"),
        ("  \n\n  ``` \nBye", "verified"),
        (" ", "verified"),
        (",\n```\nBye", "unverified"),
        (" trailing\n```\nBye", "unverified"),
        ("\n// a comment\n```\nBye", "unverified"),
        (f"{' ' * 60}x\n```\n", "unverified"),
        (" trailing", "unverified"),
    ],
)
def test_text_after_document_leaves_block_undecided(rest, status, size):
    monitor = json_schema(schema={"type": "object"}, every=size)
    with interwhen.run_sync(ScriptedModel([f'Here:\n```json\n{{"a": 1}}{rest}']), "?", monitors=[monitor]) as run:
        result = run.drain()
    assert (result.status, result.violations) == (status, ())


@pytest.mark.parametrize(
    ("step", "number", "verdict"),
    [
        (0.01, "19.99", Pass),
        (0.01, "4.35", Pass),
        (0.01, "-0.07", Pass),
        (0.1, "0.3", Pass),
        (1e-7, "3e-7", Pass),
        (0.5, "1" + "0" * 350, Pass),
        (2, "4.0", Pass),
        (0.01, "19.995", Violation),
        (2, "3", Violation),
        (2, "1e400", Unknown),
    ],
)
def test_multiple_of_uses_decimal_arithmetic(step, number, verdict):
    assert isinstance(Judge({"multipleOf": step}).validate(number), verdict)


@pytest.mark.parametrize("schema", [{"type": "integer"}, {"maximum": 10**400}])
def test_number_beyond_float_range_is_not_judged(schema):
    assert isinstance(Judge(schema).validate("[1e399]"[1:-1]), Unknown)
    monitor = json_schema(schema={"items": schema})
    with interwhen.run_sync(ScriptedModel(["[1e399, 1]"]), "?", monitors=[monitor]) as run:
        assert not run.drain().violations


@pytest.mark.parametrize(
    "dialect", ["http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2019-09/schema"]
)
def test_keyword_newer_than_dialect_refutes_nothing(dialect):
    monitor = json_schema(schema={"$schema": dialect, "prefixItems": [{"type": "string"}]})
    with interwhen.run_sync(ScriptedModel(["[1]"]), "?", monitors=[monitor]) as run:
        assert run.drain().status == "verified"


@pytest.mark.parametrize(("schema", "document"), [(LIST, _list), (TREE, _tree)])
def test_verdict_does_not_depend_on_stack_depth(schema, document):
    judge = Judge(schema)
    room = sys.getrecursionlimit() - len(inspect.stack())
    verdict = _at_depth(room - 200, lambda: judge.validate(document(64, 1)))
    assert isinstance(verdict, Pass)
    assert isinstance(_at_depth(room - 200, lambda: judge.validate(document(64, "x"))), Violation)


def test_panicking_library_gives_unknown():
    class PanicException(BaseException):
        pass

    class Panicking:
        def iter_errors(self, value):
            raise PanicException

    assert isinstance(validate("{}", Panicking()), Unknown)


def test_endless_schema_differs_from_deep_document():
    circle = Judge({"allOf": [{"$ref": "#"}]}).validate("{}")
    assert circle == Unknown("the schema refers to itself without end")
    assert Judge(TREE).validate(_tree(900, 1)) == Unknown("the document is nested too deeply")


def _circle() -> dict[str, object]:
    schema: dict[str, object] = {"type": "object"}
    schema["properties"] = {"next": schema}
    return schema


def _nested(depth: int) -> dict[str, object]:
    schema: dict[str, object] = {"type": "object"}
    for _ in range(depth):
        schema = {"properties": {"a": schema}}
    return schema


@pytest.mark.parametrize("schema", [_circle(), _nested(5_000), _nested(300)], ids=["circle", "5000", "300"])
def test_cyclic_or_too_deep_schema_is_refused(schema):
    with pytest.raises(UsageError, match="contains itself or is nested too deeply; refer to a part of it by"):
        json_schema(schema=schema)
    with pytest.raises(UsageError, match="nested too deeply"):
        json_schema(tools={"f": schema})


def test_a_schema_with_a_key_twice_is_refused():
    with pytest.raises(UsageError, match="each key once in an object, got 'type' twice"):
        read_schema('{"properties": {"a": {"type": "string", "type": "integer"}}}')
