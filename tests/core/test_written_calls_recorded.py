"""Calls that models wrote as text in a public benchmark, compared with those that its harness ran; and public prose.

The data is not part of the repository: see tests/public_sets.py.
"""

import gzip
import json

import pytest
from interwhen._core.messages import NO_OFFER, ToolOffer
from tests.core.test_written_calls import found_in
from tests.public_sets import public_set

KNOWN = ToolOffer(tools={"send_money": {}, "get_weather": {}, "search": {}, "calculator": {}, "final_answer": {}})
PROSE = ("long_cot", "zeroeval", "mbpp", "gsm8k", "game24", "processbench", "mrben", "reasoning_gym_eval", "tau_bench")


def records(name):
    for file in sorted(public_set(name).glob("**/*.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def said(message):
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(part.get("content") or part.get("text") or "" for part in content or () if isinstance(part, dict))


def texts_in(value):
    if isinstance(value, str):
        yield from [value] if len(value) > 40 else []
    elif isinstance(value, list):
        for each in value:
            yield from texts_in(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if name not in ("tool_calls", "tools"):
                yield from texts_in(each)


def test_the_calls_that_a_harness_ran_are_found(record_property):
    messages = run = alike = 0
    for record in records("agentdojo"):
        for message in record.get("messages", ()):
            text = said(message)
            if message["role"] != "assistant" or "<function" not in text:
                continue
            ours = [
                (call.name, json.loads(call.arguments)) for written in found_in(text, KNOWN) for call in written.calls
            ]
            theirs = [(call["name"], call["arguments"]) for call in message.get("tool_calls") or ()]
            messages += 1
            run += len(theirs)
            alike += theirs == ours[: len(theirs)]
    record_property("messages, calls that were run, messages whose calls are found", (messages, run, alike))
    assert run > 500
    assert alike == messages


def test_messages_without_the_tag_hold_no_call(record_property):
    count = 0
    for record in records("agentdojo"):
        for message in record.get("messages", ()):
            text = said(message)
            if message["role"] == "assistant" and "<function" not in text:
                count += 1
                assert found_in(text, KNOWN) == []
    assert count > 1000
    record_property("messages", count)


@pytest.mark.parametrize("name", PROSE)
def test_public_text_holds_no_call(name, record_property):
    characters = 0
    for number, record in enumerate(records(name)):
        if number >= 600:
            break
        for text in texts_in(record):
            characters += len(text)
            assert found_in(text, NO_OFFER) == []
            assert found_in(text, KNOWN) == []
    assert characters > 10_000
    record_property("characters", characters)
