"""Turns of a chat as the APIs write them, read into messages, and back."""

from __future__ import annotations

import json
from pathlib import Path

import interwhen
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import Message, Task, ToolCall
from interwhen.models import Prompt, Request, read_messages, read_turn
from interwhen.models._messages import as_turn, extra_turns, prompt_turns
from interwhen.testing import ScriptedModel

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Look at"}, {"type": "image_url", "image_url": {}}]},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}],
    },
    {"role": "tool", "tool_call_id": "c1", "name": "look", "content": "nothing"},
]
MESSAGES = (
    Message("system", "Be brief."),
    Message("user", "Look at\n[image_url]"),
    Message("assistant", "", (ToolCall("c1", "look", '{"at": 1}'),)),
    Message("tool", "nothing", call_id="c1", name="look"),
)


def test_calls_and_results_of_a_chat_are_read() -> None:
    assert read_messages(CHAT) == MESSAGES


def test_a_type_of_null_is_a_message() -> None:
    assert read_messages([{"type": None, "role": "user", "content": "hi"}]) == (Message("user", "hi"),)


def test_consecutive_calls_belong_to_one_turn() -> None:
    one, two = ({"type": "function_call", "call_id": n, "name": "f", "arguments": "{}"} for n in "ab")
    (message,) = read_messages([{"role": "assistant", "content": "I look."}, one, two])
    assert (message.content, [call.id for call in message.calls]) == ("I look.", ["a", "b"])


def test_other_forms_of_calls_are_read() -> None:
    older = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    custom = {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}]}
    decoded = {"role": "assistant", "content": "", "tool_calls": [{"id": "c", "name": "f", "arguments": {"a": 1}}]}
    for turn, call in (
        (older, ToolCall("", "f", "{}", "function_call")),
        (custom, ToolCall("c", "f", "x", "custom")),
        (decoded, ToolCall("c", "f", '{"a":1}')),
    ):
        message = read_turn(turn)
        assert message is not None
        assert message.calls == (call,)
        assert read_turn(as_turn(message)) == message
    assert read_turn({"role": "function", "name": "f", "content": "r"}) == Message("tool", "r", name="f")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "tool_calls", "function", "type", "text", "name", "arguments", "output"]
            ),
            inner | st.sampled_from(["assistant", "tool", "user", "function_call", "message", "custom"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(ANYTHING)
def test_any_client_body_is_read_or_left_out(body: object) -> None:
    # The server decides on a malformed request; reading it must not fail before.
    assert all(isinstance(message, Message) for message in read_messages(body))


def test_messages_are_sent_as_turns_with_their_calls() -> None:
    turns = prompt_turns(Request(MESSAGES))
    assert turns[2]["tool_calls"] == CHAT[2]["tool_calls"]
    assert turns[3] == CHAT[3]
    assert prompt_turns(Request((Message("user", "q"),))) == [{"role": "user", "content": "q"}]


def test_text_is_never_added_to_turns_with_calls() -> None:
    asked = extra_turns(Request(MESSAGES[:3], side="And?"))
    assert [turn["role"] for turn in asked] == ["system", "user", "assistant", "user"]


def test_a_message_without_calls_is_written_as_before() -> None:
    assert msgspec.json.encode(Message("user", "q")) == b'{"role":"user","content":"q"}'
    assert msgspec.json.decode(b'[{"role":"user","content":"q"}]', type=Prompt) == (Message("user", "q"),)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(MESSAGES), type=Prompt) == MESSAGES


@pytest.mark.parametrize("given", [CHAT, json.loads(msgspec.json.encode(MESSAGES)), MESSAGES])
def test_a_run_takes_calls_in_either_form(given: object) -> None:
    model = ScriptedModel(["done"])
    with interwhen.run_sync(model, given, monitors=[]) as run:  # type: ignore[arg-type]
        run.drain()
    (request,) = model.requests
    assert Task(request.prompt).messages == MESSAGES


@pytest.mark.parametrize("form", [CHAT, {"messages": CHAT}, json.loads(msgspec.json.encode(MESSAGES))])
def test_a_file_with_a_chat_keeps_its_calls(form: object, tmp_path: Path) -> None:
    flags = pytest.importorskip("interwhen.cli._flags", reason="the command line is not installed (extra 'cli')")
    file = tmp_path / "chat.json"
    file.write_text(json.dumps(form), encoding="utf-8")
    assert flags.read_prompt(None, None, file) == MESSAGES


@pytest.mark.parametrize("wrong", [{"role": "user"}, {"role": "user", "content": 5}, {"role": "x", "content": [{}]}])
def test_a_run_refuses_what_is_no_message(wrong: dict[str, object]) -> None:
    with pytest.raises(interwhen.UsageError, match="message 0"):
        interwhen.run(ScriptedModel([""]), [wrong])
