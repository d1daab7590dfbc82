"""The reader of a growing document: a prefix is refuted only where no document can follow."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from interwhen import (
    Pass,
    Unknown,
    Violation,
)
from tests.verifiers.json_schema_support import PERSON, verdicts

from interwhen_verifiers._json_schema.reader import Reader
from interwhen_verifiers.json_schema import json_schema


def read(schema: Any, text: str, size: int = 1) -> tuple[int, str] | None:
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
def test_invalid_prefix_is_refuted_at_its_error(text: str, at: str | None, why: str) -> None:
    refutation = read(PERSON, text)
    if at is None:
        assert refutation is None
        return
    assert refutation is not None
    assert why in refutation[1]
    assert text[: refutation[0]] == at


def test_alternatives_are_remembered_across_values() -> None:
    # By its first key a value chooses one alternative; the second one must be of the same.
    kinds = {
        "oneOf": [
            {"properties": {"kind": {"const": "dot"}, "x": {"type": "number"}}, "required": ["kind"]},
            {"properties": {"kind": {"const": "text"}, "x": {"type": "string"}}, "required": ["kind"]},
        ]
    }
    assert read(kinds, '{"kind": "dot", "x": 1}') is None
    assert read(kinds, '{"x": "a", "kind": "text"}') is None
    assert read(kinds, '{"kind": "dot", "x": "') == (22, "there cannot be a string here, but a number")
    refutation = read(kinds, '{"x": 1, "kind": "t')
    assert refutation is not None
    assert refutation[0] == 19


def test_surrogate_pairs_are_one_character() -> None:
    assert read({"type": "string", "maxLength": 1}, r'"\ud83d\ude00"') is None
    assert read({"const": "\U0001f600"}, r'"\ud83d\ude00"') is None
    assert read({"enum": ["\U0001f600"]}, r'"\ud83d\ude01') is not None


def test_unsupported_schema_is_judged_only_at_end() -> None:
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


def is_valid(schema: Any, value: Any) -> bool:
    try:
        return jsonschema.Draft202012Validator(schema).is_valid(value)
    except BaseException as error:
        # rpds, which the library uses, panics if the stack ends inside of it.
        if not isinstance(error, RecursionError) and type(error).__name__ != "PanicException":
            raise
        assume(False)
        raise


@settings(max_examples=250, deadline=None)
@given(SCHEMAS, VALUES, st.booleans(), st.integers(1, 7))
def test_no_prefix_of_a_valid_document_is_refuted(schema: Any, value: Any, plain: bool, size: int) -> None:  # noqa: FBT001
    valid = is_valid(schema, value)
    text = json.dumps(value, ensure_ascii=plain, indent=None if plain else 1)
    refutation = read(schema, text, size)
    if valid:
        assert refutation is None
    sizes = [read(schema, text, other) for other in (1, len(text))]
    assert [other is None for other in sizes] == [refutation is None] * 2


@settings(max_examples=100, deadline=None)
@given(SCHEMAS, VALUES)
def test_invalid_document_is_refuted_by_its_end(schema: Any, value: Any) -> None:
    valid = is_valid(schema, value)
    assume(isinstance(value, dict | list))
    all_verdicts = verdicts(json_schema(schema=schema, where="answer"), json.dumps(value))
    # The library stops at the first failure, so it may refute a value before it follows such a schema without end.
    assume(not any(isinstance(verdict, Unknown) and "without end" in verdict.why for verdict in all_verdicts))
    assert {type(verdict) for verdict in all_verdicts} <= {Pass, Violation}
    assert isinstance(all_verdicts[-1], Pass if valid else Violation)
    assert not valid or all(isinstance(verdict, Pass) for verdict in all_verdicts)
