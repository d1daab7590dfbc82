"""The monitor for structured output: it finds documents, and judges them while they stream."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path

import interwhen
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import Pass, Resample, ToolCall, Unknown, UsageError, Violation, load_monitor
from interwhen.registry import PluginError
from interwhen.results import Judged
from interwhen.testing import End, ScriptedModel
from interwhen.testing.complexity import BAITS, Bait, assert_quick, measure
from tests.verifiers.json_schema_support import PERSON, verdicts

from interwhen_verifiers.json_schema import json_schema


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
    (pattern_pass,) = verdicts(json_schema(schema=schema), '{"b": "y", "a": "xy", "a')[:1]
    assert pattern_pass == Pass("the string matches its pattern")
    verdict = verdicts(json_schema(schema=schema), '{"a": "yx", "c": [')[0]
    assert isinstance(verdict, Violation)
    assert verdict.witness == "it must match ^x"


def test_the_empty_pattern_matches_each_string() -> None:
    passes = verdicts(json_schema(schema={"properties": {"a": {"pattern": ""}}}), '{"a": "hello", "b": 2}')
    assert passes == [Pass("the string matches its pattern"), Pass("the whole document is valid by the schema")]


FENCED = 'Here it is:\n\n```json\n{"name": "Ann"}\n```\nand\n```python\n{5}\n```\n```JSON\n{"age": 1}\n```\n'


@pytest.mark.parametrize("size", [1, 2, 7, 16, 1000])
def test_fenced_documents_in_prose_are_judged(size: int) -> None:
    first, second = verdicts(json_schema(schema=PERSON), FENCED, size)
    assert isinstance(first, Pass)
    assert isinstance(second, Violation)
    assert "without 'name'" in second.why


def test_a_block_that_ends_too_early_is_wrong() -> None:
    (verdict,) = verdicts(json_schema(schema=PERSON), '```json\n{"name": "Ann"\n```\n')
    assert isinstance(verdict, Violation)


def test_where_option_selects_the_documents() -> None:
    prose = "I think so."
    assert verdicts(json_schema(schema=PERSON), prose) == []
    (verdict,) = verdicts(json_schema(schema=PERSON, where="answer"), prose)
    assert isinstance(verdict, Violation)
    (verdict,) = verdicts(json_schema(schema=PERSON, where="fenced"), '{"age": ')
    assert verdict == Unknown("a document may begin here")
    after = verdicts(json_schema(schema=PERSON, where="answer"), '{"name": "Ann"} That is all.')
    assert [type(verdict) for verdict in after] == [Pass, Violation]
    assert len(verdicts(json_schema(schema=PERSON), '{"name": "Ann"} That is all.')) == 1


def test_wrong_document_is_cut_at_error_and_continued() -> None:
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
def test_right_document_is_verified_for_any_chunking(chunk: int) -> None:
    text = '<think>{"not": "looked at"}</think>\n{"name": " a  b ", "tags": ["x"]}\n'
    model = ScriptedModel([text], size=chunk)
    with interwhen.run_sync(model, "Who?", monitors=[json_schema(schema=PERSON, where="answer", every=5)]) as run:
        result = run.drain()
    assert result.status == "verified"
    assert result.ledger.remedies == 0


def test_incomplete_document_is_unverified() -> None:
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
def test_arguments_of_written_calls_are_judged(text: str, whys: list[str], doubts: list[str]) -> None:
    monitor = json_schema(tools={"add": PERSON})
    with interwhen.run_sync(ScriptedModel([[text], ["No."]]), "Add A.", monitors=[monitor]) as run:
        result = run.drain()
    assert [record.why for record in result.violations] == whys
    verdicts = [record.outcome.verdict for record in result.checks if isinstance(record.outcome, Judged)]
    reasons = [verdict.why for verdict in verdicts if isinstance(verdict, Unknown)]
    assert len(reasons) == len(doubts)
    assert all(doubt in why for doubt, why in zip(doubts, reasons, strict=True))


def test_tool_call_arguments_are_judged() -> None:
    monitor = json_schema(tools={"add": PERSON})
    good, bad, other = (
        ToolCall("c", name, text) for name, text in (("add", '{"name": "A"}'), ("add", '{"name": 1}'), ("sub", "x"))
    )
    model = ScriptedModel([[bad, End("tool_calls")], [good, other, End("tool_calls")]])
    with interwhen.run_sync(model, "Add A.", monitors=[monitor]) as run:
        result = run.drain()
    assert [record.why for record in result.violations] == ["the document breaks the schema at $.name: type"]
    assert [doubt.why for doubt in result.unverified_reasons] == ["unknown: there is no schema for this tool"]


def test_options_are_validated(tmp_path: Path) -> None:
    assert json_schema(schema=True).remedy == Resample()
    file = tmp_path / "person.json"
    file.write_text(json.dumps(PERSON), encoding="utf-8")
    assert load_monitor(f"json_schema:schema={file},every=8").phase == "answer"
    assert load_monitor('json_schema:schema={"type": "object"}').name == "json_schema"
    (entry,) = entry_points(group="interwhen.verifiers", name="json_schema")
    assert entry.load() is json_schema
    for options in ({}, {"schema": True, "tools": {}}, {"schema": 5}, {"schema": "{"}, {"schema": {"type": 5}}, {"tools": {}},
                    {"schema": True, "where": "x"}, {"schema": str(tmp_path / "no.json")}, {"schema": "\0.json"},
                    {"schema": {"const": b"x"}}, {"schema": {"minimum": float("nan")}}, {"schema": True, "every": 0},
                    {"schema": True, "remote": "http://host/"}):  # fmt: skip
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


def test_deeply_nested_schema_text_is_refused() -> None:
    with pytest.raises(UsageError, match="must be valid JSON"):
        json_schema(schema="[" * 100_000)


def test_long_key_in_schema_is_judged() -> None:
    key = "k" * 400
    monitor = json_schema(schema={"type": "object", "required": [key], "properties": {key: {"type": "integer"}}})
    assert not any(isinstance(each, Violation) for each in verdicts(monitor, json.dumps({key: 1})))
    assert any(isinstance(each, Violation) for each in verdicts(monitor, json.dumps({key: "1"})))
    assert any(isinstance(each, Violation) for each in verdicts(monitor, json.dumps({key + "k": 1})))
