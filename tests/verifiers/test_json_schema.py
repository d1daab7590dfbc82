"""Structured output while it streams: a prefix is refuted only where no document can follow."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import interwhen
import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from interwhen import (
    Judged,
    Monitor,
    Pass,
    PluginError,
    Resample,
    Segment,
    Span,
    Task,
    ToolCall,
    Tracker,
    Unknown,
    UsageError,
    Verdict,
    Violation,
    load_monitor,
)
from interwhen.testing import End, ScriptedModel
from interwhen.testing.complexity import BAITS, Bait, assert_quick, measure

from interwhen_verifiers._json_schema.reader import Reader
from interwhen_verifiers._json_schema.validator import Judge
from interwhen_verifiers.json_schema import json_schema

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 10},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "role": {"enum": ["admin", "guest"]},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2, "uniqueItems": True},
        "boss": {"$ref": "#"},
        "contact": {"anyOf": [{"type": "null"}, {"type": "object", "required": ["mail"], "additionalProperties": False,
                                                 "properties": {"mail": {"type": "string", "pattern": "@"}}}]},
    },
    "required": ["name"],
    "additionalProperties": False,
}  # fmt: skip


def read(schema: Any, text: str, size: int = 1) -> tuple[int, str] | None:
    """Return how much of *text* was read when it was refuted, and why; ``None``: it was not."""
    reader = Reader(schema)
    state, at = reader.begin(), 0
    while at < len(text) and state.mode not in ("done", "lost"):
        state, took, wrong = reader.feed(state, text[at : at + size])
        if wrong is not None:
            return at + wrong.end, wrong.why
        at += took
    return None


REFUTED = [
    ('{"name": 5', '{"name": 5', "there cannot be a number here, but a string"),
    ('{"name": "Bartholomew"', '{"name": "Bartholomew', "longer than maxLength 10"),
    ('{"age": 151,', '{"age": 151', "breaks maximum 150"),
    ('{"age": 1.5}', '{"age": 1.5', "not an integer"),
    ('{"role": "adn', '{"role": "adn', "no allowed value begins with 'adn'"),
    ('{"role": "adm"', '{"role": "adm"', "no allowed value is 'adm'"),
    ('{"nick', '{"ni', "no property here has a name that begins with 'ni'"),
    ('{"nam": 1', '{"nam"', "no property here is named 'nam'"),
    ('{"age": 3}', '{"age": 3}', "ends without 'name'"),
    ('{"tags": ["a", "b", "c"', '{"tags": ["a", "b",', "more than maxItems 2"),
    ('{"boss": {"boss": {"age": true', '{"boss": {"boss": {"age": t', "there cannot be true or false here"),
    ('{"contact": {"phone": 1', '{"contact": {"p', "no property here"),
    ('{"contact": {}', '{"contact": {}', "ends without 'mail'"),
    ('{"contact": 3', '{"contact": 3', "null or there cannot be a number here, but an object"),
    ('{"name": "a", "name"', '{"name": "a", "name"', "is in the object already"),
    ('{"name": "a"} ', None, ""),
    ('["a"]', "[", "there cannot be an array here"),
    ("{name", "{n", "invalid JSON"),
    ('{"name" "', '{"name" "', "':' is missing"),
    ('{"age": 01', '{"age": 01', "a number is not written like this"),
    ('{"age": nul', '{"age": n', "there cannot be null"),
    ('{"contact": nil', '{"contact": ni', "'null' is not written like this"),
    ('{"name": "a\nb"', '{"name": "a\n', "control character"),
    ('{"name": "\\x', '{"name": "\\x', "no such escape"),
]


@pytest.mark.parametrize(("text", "at", "why"), REFUTED)
def test_a_prefix_is_refuted_where_it_goes_wrong(text: str, at: str | None, why: str) -> None:
    found = read(PERSON, text)
    if at is None:
        assert found is None
        return
    assert found is not None
    assert why in found[1]
    assert text[: found[0]] == at


def test_alternatives_are_remembered_across_values() -> None:
    """By its first key a value chooses one alternative; the second one must be of the same."""
    kinds = {
        "oneOf": [
            {"properties": {"kind": {"const": "dot"}, "x": {"type": "number"}}, "required": ["kind"]},
            {"properties": {"kind": {"const": "text"}, "x": {"type": "string"}}, "required": ["kind"]},
        ]
    }
    assert read(kinds, '{"kind": "dot", "x": 1}') is None
    assert read(kinds, '{"x": "a", "kind": "text"}') is None
    assert read(kinds, '{"kind": "dot", "x": "') == (22, "there cannot be a string here, but a number")
    found = read(kinds, '{"x": 1, "kind": "t')
    assert found is not None
    assert found[0] == 19


def test_surrogate_pairs_are_one_character() -> None:
    assert read({"type": "string", "maxLength": 1}, r'"\ud83d\ude00"') is None
    assert read({"const": "\U0001f600"}, r'"\ud83d\ude00"') is None
    assert read({"enum": ["\U0001f600"]}, r'"\ud83d\ude01') is not None


def test_what_is_not_understood_is_left_to_the_end() -> None:
    for schema in (
        {"not": {"type": "string"}},
        {"$ref": "https://example.com/schema"},
        {"$schema": "http://json-schema.org/draft-04/schema#", "type": "string", "maxLength": 0},
        {"if": {"type": "string"}, "then": False},
        {"$defs": {"a": {"$id": "x", "type": "null"}}, "$ref": "#/$defs/a"},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
    ):
        assert read(schema, '"a"') is None
    assert read({"$schema": "http://json-schema.org/draft-07/schema#", "$ref": "#/definitions/a", "type": "null",
                 "definitions": {"a": {"type": "string"}}}, '"a"') is None  # fmt: skip


# ------------------------------------------------------------------ properties

NAMES = st.sampled_from(["a", "b", "ab", "c"])
SCALARS = st.sampled_from(["", "a", "ab", "abc", "é\U0001f600", 'q"\\', 0, 1, -2, 7, 1.0, 1.5, True, False, None])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
LEAF_SCHEMAS = st.one_of(
    st.booleans().filter(bool),
    st.builds(
        lambda kind: {"type": kind},
        st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object"]),
    ),
    st.builds(
        lambda kinds: {"type": kinds},
        st.lists(st.sampled_from(["string", "integer", "null", "array"]), min_size=1, max_size=2, unique=True),
    ),
    st.builds(lambda values: {"enum": values}, st.lists(SCALARS, min_size=1, max_size=3)),
    st.builds(
        lambda low, high: {"type": "string", "minLength": low, "maxLength": high}, st.integers(0, 2), st.integers(0, 4)
    ),
    st.builds(lambda low, high: {"minimum": low, "exclusiveMaximum": high}, st.integers(-2, 2), st.integers(0, 8)),
    st.sampled_from([{"$ref": "#"}, {"$ref": "#/$defs/x"}, {"pattern": "^a"}, {"not": {"type": "null"}}]),
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    objects = st.fixed_dictionaries(
        {"properties": st.dictionaries(NAMES, inner, max_size=3)},
        optional={
            "type": st.just("object"),
            "required": st.lists(NAMES, max_size=2, unique=True),
            "additionalProperties": st.just(False) | inner,
            "maxProperties": st.integers(0, 3),
        },
    )
    arrays = st.fixed_dictionaries(
        {"type": st.just("array")},
        optional={
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "maxItems": st.integers(0, 3),
            "minItems": st.integers(0, 2),
            "uniqueItems": st.booleans(),
        },
    )
    several = st.builds(
        lambda word, members: {word: members},
        st.sampled_from(["anyOf", "allOf", "oneOf"]),
        st.lists(inner, min_size=1, max_size=3),
    )
    return objects | arrays | several


SCHEMAS = st.builds(
    lambda schema, extra: {**schema, "$defs": {"x": extra}} if isinstance(schema, dict) else schema,
    st.recursive(LEAF_SCHEMAS, nested, max_leaves=6),
    LEAF_SCHEMAS,
)


@settings(max_examples=250, deadline=None)
@given(SCHEMAS, VALUES, st.booleans(), st.integers(1, 7))
def test_no_prefix_of_a_valid_document_is_refuted(schema: Any, value: Any, plain: bool, size: int) -> None:  # noqa: FBT001
    try:
        valid = jsonschema.Draft202012Validator(schema).is_valid(value)
    except RecursionError:
        assume(False)
    text = json.dumps(value, ensure_ascii=plain, indent=None if plain else 1)
    found = read(schema, text, size)
    if valid:
        assert found is None
    sizes = [read(schema, text, other) for other in (1, len(text))]
    assert [other is None for other in sizes] == [found is None] * 2


@settings(max_examples=100, deadline=None)
@given(SCHEMAS, VALUES)
def test_an_invalid_document_is_refuted_at_its_end_at_the_latest(schema: Any, value: Any) -> None:
    try:
        valid = jsonschema.Draft202012Validator(schema).is_valid(value)
    except RecursionError:
        assume(False)
    assume(isinstance(value, dict | list))
    found = verdicts(json_schema(schema=schema, where="answer"), json.dumps(value))
    # The library stops at the first failure, so it may refute a value before it follows such a schema without end.
    assume(not any(isinstance(verdict, Unknown) and "without end" in verdict.why for verdict in found))
    assert {type(verdict) for verdict in found} <= {Pass, Violation}
    assert isinstance(found[-1], Pass if valid else Violation)
    assert not valid or all(isinstance(verdict, Pass) for verdict in found)


# ------------------------------------------------------------------ monitors


def verdicts(monitor: Monitor, text: str, size: int = 16) -> list[Verdict]:
    assert monitor.prepare is not None
    assert isinstance(monitor.extractor, Tracker)
    prepared = monitor.prepare(Task(""))
    state, found = monitor.extractor.start(prepared), []
    for at in range(0, len(text), size):
        piece = text[at : at + size]
        state, claims = monitor.extractor.step(state, Segment(piece, Span(at, at + len(piece)), "answer"))
        found += [monitor.verifier.check(claim, prepared) for claim in claims]  # type: ignore[call-arg]
    return found  # type: ignore[return-value]


def test_a_whole_document_is_judged_by_the_library() -> None:
    monitor = json_schema(schema=PERSON)
    assert verdicts(monitor, '{"name": "Ann"}') == [Pass("the whole document is valid by the schema")]
    (verdict,) = verdicts(monitor, '{"name": "Ann", "contact": {"mail": "none"}}')
    assert isinstance(verdict, Violation)
    assert verdict.why == "the document breaks the schema at $.contact: anyOf"
    (verdict,) = verdicts(monitor, '{"name": "Ann", "tags": ["a", "a"]}')
    assert isinstance(verdict, Violation)
    assert "uniqueItems" in verdict.why
    (verdict,) = verdicts(json_schema(schema={}), '{"new": 1, "new": 2}')
    assert isinstance(verdict, Violation)
    assert "stands twice" in verdict.why


def test_a_pattern_is_judged_when_its_string_ends() -> None:
    schema = {"properties": {"a": {"pattern": "^x"}, "b": {"anyOf": [{"pattern": "^x"}, {"type": "null"}]}}}
    (found,) = verdicts(json_schema(schema=schema), '{"b": "y", "a": "xy", "a')[:1]
    assert found == Pass("the string matches its pattern")
    verdict = verdicts(json_schema(schema=schema), '{"a": "yx", "c": [')[0]
    assert isinstance(verdict, Violation)
    assert verdict.witness == "it must match ^x"


FENCED = 'Here it is:\n\n```json\n{"name": "Ann"}\n```\nand\n```python\n{5}\n```\n```JSON\n{"age": 1}\n```\n'


@pytest.mark.parametrize("size", [1, 2, 7, 16, 1000])
def test_fenced_documents_are_found_in_prose(size: int) -> None:
    first, second = verdicts(json_schema(schema=PERSON), FENCED, size)
    assert isinstance(first, Pass)
    assert isinstance(second, Violation)
    assert "without 'name'" in second.why


def test_a_block_that_ends_too_early_is_wrong() -> None:
    (verdict,) = verdicts(json_schema(schema=PERSON), '```json\n{"name": "Ann"\n```\n')
    assert isinstance(verdict, Violation)


def test_where_says_what_is_a_document() -> None:
    prose = "I think so."
    assert verdicts(json_schema(schema=PERSON), prose) == []
    (verdict,) = verdicts(json_schema(schema=PERSON, where="answer"), prose)
    assert isinstance(verdict, Violation)
    (verdict,) = verdicts(json_schema(schema=PERSON, where="fenced"), '{"age": ')
    assert verdict == Unknown("a document may begin here")
    after = verdicts(json_schema(schema=PERSON, where="answer"), '{"name": "Ann"} That is all.')
    assert [type(verdict) for verdict in after] == [Pass, Violation]
    assert len(verdicts(json_schema(schema=PERSON), '{"name": "Ann"} That is all.')) == 1


def test_a_wrong_document_is_cut_where_it_goes_wrong_and_goes_on() -> None:
    wrong = '{"name": "Annabelle", "role": "boss", "age": 3}'
    kept = wrong[: wrong.index('"boss"') // 4 * 4]
    right = wrong.replace("boss", "admin")[len(kept) :]
    model = ScriptedModel(lambda request: [right] if request.pieces else [wrong])
    with interwhen.run_sync(model, "Who?", monitors=[json_schema(schema=PERSON, every=4)]) as run:
        result = run.drain()
    assert model.requests[1].prefix == kept
    assert result.violations[0].why.startswith("no allowed value begins with")
    assert result.status == "verified"
    assert json.loads(result.text)["role"] == "admin"


@pytest.mark.parametrize("chunk", [1, 3, 50])
def test_a_right_document_is_verified_however_it_is_cut(chunk: int) -> None:
    text = '<think>{"not": "looked at"}</think>\n{"name": " a  b ", "tags": ["x"]}\n'
    model = ScriptedModel([text], size=chunk)
    with interwhen.run_sync(model, "Who?", monitors=[json_schema(schema=PERSON, where="answer", every=5)]) as run:
        result = run.drain()
    assert result.status == "verified"
    assert result.ledger.remedies == 0


def test_a_document_without_its_end_is_not_verified() -> None:
    model = ScriptedModel(['{"name": "Ann", '])
    with interwhen.run_sync(model, "Who?", monitors=[json_schema(schema=PERSON)]) as run:
        assert run.drain().status == "unverified"


@pytest.mark.parametrize(
    ("text", "whys", "doubts"),
    [
        ('[TOOL_CALLS]add{"name": 1}', ["the document breaks the schema at $.name: type"], []),
        ("<tool_call>add<arg_key>name</arg_key><arg_value>1</arg_value></tool_call>", [], ["does not distinguish"]),
        ("<tool_call>add<arg_key>name</arg_key><arg_value>Al</arg_value></tool_call>", [], []),
        ("<tool_call>add(name=x)</tool_call>", [], ["only when the code runs"]),
    ],
)
def test_arguments_of_calls_in_the_text(text: str, whys: list[str], doubts: list[str]) -> None:
    """A number in a format without types may stand for a text, so it is not refuted."""
    monitor = json_schema(tools={"add": PERSON})
    with interwhen.run_sync(ScriptedModel([[text], ["No."]]), "Add A.", monitors=[monitor]) as run:
        result = run.drain()
    assert [record.why for record in result.violations] == whys
    verdicts = [record.outcome.verdict for record in result.checks if isinstance(record.outcome, Judged)]
    found = [verdict.why for verdict in verdicts if isinstance(verdict, Unknown)]
    assert len(found) == len(doubts)
    assert all(doubt in why for doubt, why in zip(doubts, found, strict=True))


def test_arguments_of_calls() -> None:
    monitor = json_schema(tools={"add": PERSON})
    good, bad, other = (
        ToolCall("c", name, text) for name, text in (("add", '{"name": "A"}'), ("add", '{"name": 1}'), ("sub", "x"))
    )
    model = ScriptedModel([[bad, End("tool_calls")], [good, other, End("tool_calls")]])
    with interwhen.run_sync(model, "Add A.", monitors=[monitor]) as run:
        result = run.drain()
    assert [record.why for record in result.violations] == ["the document breaks the schema at $.name: type"]
    assert [doubt.why for doubt in result.unverified_reasons] == ["unknown: there is no schema for this tool"]


def test_options(tmp_path: Path) -> None:
    assert json_schema(schema=True).remedy == Resample()
    file = tmp_path / "person.json"
    file.write_text(json.dumps(PERSON), encoding="utf-8")
    assert load_monitor(f"json_schema:schema={file},every=8").phase == "answer"
    assert load_monitor('json_schema:schema={"type": "object"}').name == "json_schema"
    (entry,) = entry_points(group="interwhen.verifiers", name="json_schema")
    assert entry.load() is json_schema
    for options in ({}, {"schema": True, "tools": {}}, {"schema": 5}, {"schema": "{"}, {"schema": {"type": 5}}, {"tools": {}},
                    {"schema": True, "where": "x"}, {"schema": str(tmp_path / "no.json")}):  # fmt: skip
        with pytest.raises(UsageError, match="json_schema"):
            json_schema(**options)  # type: ignore[arg-type]
    with pytest.raises(PluginError):
        load_monitor("json_schema:schema=nothing")


HOSTILE = [
    "[" * 5000,
    '{"a":' * 3000,
    "9" * 5000,
    f'"{"a" * 9000}"',
    "\x00",
    "\u202e",
    '"\\ud800\\ud800"',
    f"[{'9' * 5000}]",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_documents_are_judged_or_unknown(text: str) -> None:
    for verdict in verdicts(
        json_schema(schema={"type": ["array", "object", "string", "number"]}, where="answer"), text
    ):
        assert isinstance(verdict, Pass | Violation | Unknown)


@given(st.text(max_size=100), st.integers(1, 20))
def test_any_text_is_read(text: str, size: int) -> None:
    for verdict in verdicts(json_schema(schema=PERSON, where="answer"), text, size):
        assert isinstance(verdict, Pass | Violation | Unknown)


@pytest.mark.parametrize(
    "bait",
    [Bait("[", start="["), Bait("1,", start="[", end="1]"), Bait('"a",', start="[", end="1]"), Bait("a", start='"', end='"'),
     Bait("\\u0041", start='"', end='"'), Bait("```json\n[1]\n```\n"), Bait('{"a": [1]},', start="[", end="1]"), *BAITS[:12]],
)  # fmt: skip
def test_the_work_is_linear_in_the_document(bait: Bait) -> None:
    monitor = json_schema(schema={"anyOf": [{"type": "array", "items": {"anyOf": [{"type": "null"}, {}]}}, {}]})

    def judge(text: str) -> object:
        return verdicts(monitor, text)

    assert measure(judge, bait).ratio(2000) < 2.5
    assert_quick(judge, baits=[bait], size=10_000)


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
