"""Tool calls in the raw text of a continuation."""

import json

import pytest
from interwhen.models._endpoint_support import continues_raw
from interwhen.models._raw_calls import (
    CALL_TOKENS,
    RawCalls,
    has_call,
    may_begin_call,
    raw_calls,
    wire_calls,
)

CHAT = {
    "tools": [
        {"type": "function", "function": {"name": "f", "parameters": {"properties": {"x": {"type": "integer"}}}}},
        {"type": "function", "function": {"name": "g", "parameters": {"properties": {}}}},
    ]
}
TEXTS = {
    "Hermes": '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>',
    "Qwen3-Coder": "<tool_call>\n<function=f>\n<parameter=x>\n1\n</parameter>\n</function>\n</tool_call>",
    "GLM": "<tool_call>f\n<arg_key>x</arg_key>\n<arg_value>1</arg_value>\n</tool_call>",
    "Mistral": '[TOOL_CALLS][{"name": "f", "arguments": {"x": 1}}]',
    "Kimi": '<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{"x": 1}'
    "<|tool_call_end|><|tool_calls_section_end|>",
}


@pytest.mark.parametrize("family", TEXTS)
def test_calls_of_each_family_are_read(family):
    answer = RawCalls(CHAT).read(f"I do it.\n{TEXTS[family]}")
    assert answer.text == "I do it."
    (call,) = answer.calls
    assert (call.name, json.loads(call.arguments)) == ("f", {"x": 1})


def test_several_calls_are_numbered_and_have_different_ids():
    answer = RawCalls(CHAT).read(TEXTS["Hermes"] + "\n" + TEXTS["Hermes"])
    wired = wire_calls(answer.calls)
    assert [call["index"] for call in wired] == [0, 1]
    assert len({call["id"] for call in wired}) == 2
    assert answer.text == ""


@pytest.mark.parametrize("text", ["", "no call", "<tool_call>{broken</tool_call>", '{"name": "f", "arguments": {}}'])
def test_what_cannot_be_read_is_text(text):
    assert RawCalls(CHAT).read(text) == (text, ())


def test_one_unreadable_call_leaves_all_as_text():
    text = TEXTS["Hermes"] + "\n<tool_call>\n{broken\n</tool_call>"
    assert RawCalls(CHAT).read(text) == (text, ())


@pytest.mark.parametrize("family", TEXTS)
def test_text_that_may_begin_a_call_tag_waits(family):
    tag = next(token for token in CALL_TOKENS if TEXTS[family].startswith(token))
    assert all(may_begin_call("so " + tag[:size]) for size in range(1, len(tag)))
    assert has_call("so " + tag)
    assert not has_call("so " + tag[:-1])


@pytest.mark.parametrize("text", ["", "3 < 4", "a <b>", "[1] and", "see <tool"[:-4] + "x"])
def test_other_text_does_not_wait(text):
    assert not may_begin_call(text)
    assert not has_call(text)


@pytest.mark.parametrize(
    ("chat", "expected"),
    [
        ({}, (True, False)),
        (CHAT, (True, True)),
        ({**CHAT, "tool_choice": "auto"}, (True, True)),
        ({**CHAT, "tool_choice": "none"}, (True, False)),
        ({**CHAT, "tool_choice": "required"}, (False, True)),
        ({"functions": [{"name": "f"}]}, (False, False)),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, (False, True)),
        ({"tools": ["f"]}, (False, True)),
    ],
)
def test_raw_text_continues_only_with_free_function_calls(chat, expected):
    assert (continues_raw(chat), raw_calls(chat) is not None) == expected
