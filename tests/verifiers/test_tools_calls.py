"""Calls as models write them: structured, or as text between tags."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import Message, Segment, Span, Task, ToolCall, ToolCalls
from interwhen.testing._trials import segments
from interwhen.testing.complexity import BAITS, assert_quick, measure

from interwhen_verifiers._tools.calls import read_calls
from interwhen_verifiers._tools.history import PastCall, read_history


def tagged(text: str) -> Segment:
    (segment,) = segments(f"<tool_call>{text}</tool_call>", ToolCalls())
    return segment


@pytest.mark.parametrize("name", ["arguments", "parameters"])
def test_a_call_between_tags_is_read(name: str) -> None:
    (call,) = read_calls(tagged(json.dumps({"name": "send", name: {"to": "x"}})))
    assert (call.name, call.arguments, call.problem) == ("send", {"to": "x"}, "")


def test_computed_argument_is_a_problem() -> None:
    (call,) = read_calls(tagged("send(x)"))
    assert (call.name, call.arguments) == ("send", {})
    assert "only when the code runs" in call.problem


def test_a_very_long_call_is_not_read() -> None:
    call = ToolCall("c", "send", json.dumps({"to": "x" * 300_000}))
    (read,) = read_calls(Segment(call.text, Span(0, len(call.text)), "answer", call))
    assert "more than" in read.problem


ARGUMENTS = st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers() | st.lists(st.none(), max_size=2))


@given(ARGUMENTS)
def test_structured_and_tagged_calls_are_the_same(arguments: dict[str, Any]) -> None:
    call = ToolCall("c", "f", json.dumps(arguments))
    (one,) = read_calls(Segment(call.text, Span(0, len(call.text)), "answer", call))
    (other,) = read_calls(tagged(json.dumps({"name": "f", "arguments": arguments})))
    assert one.arguments == other.arguments == arguments


def test_tagged_calls_and_results_enter_the_history() -> None:
    call = '<tool_call>\n{"name": "look", "arguments": {"id": 1}}\n</tool_call>'
    answer = "<tool_response>\nfirst\n</tool_response>\n<tool_response>second</tool_response>"
    messages = (Message("user", "Look!"), Message("assistant", f"Well. {call}{call}"), Message("user", answer))
    history = read_history(Task(messages))
    assert [(past.name, past.arguments, past.result) for past in history.calls] == [
        ("look", {"id": 1}, "first"),
        ("look", {"id": 1}, "second"),
    ]
    assert list(history.texts("user")) == ["Look!"]


LINES = "Use lines of Thought, Action: and Action Input:, and then comes the Observation."


def test_actions_and_observations_enter_the_history() -> None:
    messages = (
        Message("system", LINES),
        Message("user", "Look!"),
        Message("assistant", 'Thought: I look.\nAction: look\nAction Input: {"id": 1}'),
        Message("user", "Observation: nothing"),
        Message("assistant", "Final Answer: nothing"),
        Message("user", "Observation: you are quick"),
    )
    history = read_history(Task(messages))
    assert [(past.name, past.arguments, past.result) for past in history.calls] == [("look", {"id": 1}, "nothing")]
    # Without a call before it, an observation is what the user says.
    assert list(history.texts("user")) == ["Look!", "Observation: you are quick"]


@pytest.mark.parametrize(
    "text",
    [
        '[TOOL_CALLS]look[ARGS]{"id": 1}',
        "<tool_call>look\n<arg_key>id</arg_key>\n<arg_value>1</arg_value>\n</tool_call>",
        '<|channel|>commentary to=functions.look <|constrain|>json<|message|>{"id": 1}',
    ],
)
def test_earlier_calls_are_read_in_all_formats(text: str) -> None:
    history = read_history(Task((Message("user", "Look!"), Message("assistant", f"Well. {text}"))))
    assert [(past.name, past.arguments) for past in history.calls] == [("look", {"id": 1})]


def test_result_belongs_to_the_call_with_its_id() -> None:
    messages = (
        Message("assistant", "", (ToolCall("1", "look", "{}"),)),
        Message("assistant", "", (ToolCall("2", "look", "{}"),)),
        Message("tool", "late", call_id="1"),
        Message("tool", "mine", call_id="2"),
    )
    assert [past.result for past in read_history(Task(messages)).calls] == [None, "mine"]


@pytest.mark.parametrize("bait", BAITS[::6])
def test_reading_is_linear(bait: object) -> None:
    def read(text: str) -> object:
        return [read_calls(segment) for segment in segments(f"<tool_call>{text}</tool_call>", ToolCalls())]

    assert measure(read, bait).ratio(2000) < 2.5  # type: ignore[arg-type]
    assert_quick(read, baits=[bait])  # type: ignore[list-item]


def test_a_long_conversation_is_read_in_linear_time() -> None:
    def read(text: str) -> object:
        turn = (Message("assistant", "", (ToolCall("c", "f", "{}"),) * 3), *(Message("tool", "x", call_id="c"),) * 3)
        return read_history(Task(turn * (len(text) // 6 + 1)))

    assert measure(read, BAITS[0]).ratio() < 2.3


@pytest.mark.parametrize(
    ("result", "value"),
    [
        ('{"status": "open"}', {"status": "open"}),
        ('{"status": "open", "status": "sent"}', None),
        ('[{"a": {"b": 1, "b": 1}}]', None),
        ("no JSON", None),
        (None, None),
    ],
)
def test_ambiguous_result_has_no_value(result: str | None, value: Any) -> None:
    assert PastCall("look", {}, result, 0).value == value
