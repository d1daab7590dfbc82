"""Calls are put together the same whatever the order in which their pieces come, and early where that is safe."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen.models._chunks import DONE, CallAssembler, decode_chat, reading_calls

CALLS = [("move", '{"to": "home"}'), ("look", ""), ("move", '{"to": {"x": 1}}'), ("look", "{}"), ("fly", '{"no')]


def chunk(*pieces):
    return msgspec.json.encode({"choices": [{"delta": {"tool_calls": list(pieces)}}]})


def piece(index, arguments="", name=None, call_id=None, kind="function"):
    said = {"name": name, "input" if kind == "custom" else "arguments": arguments}
    return {"index": index, "id": call_id, "type": kind, kind: said}


@given(st.permutations([index for index in range(len(CALLS)) for _ in range(4)]), st.booleans())
def test_any_order_of_pieces_makes_the_same_calls(order, with_ids):
    assembler, begun, left, assembled = CallAssembler(), [], {}, {}
    for index in order:
        name, arguments = CALLS[index]
        first = index not in left
        if first:
            left[index] = [arguments[:2], arguments[2:3], arguments[3:], ""]
            begun.append(index)
        # Some servers give no index, and say with each piece whose it is.
        place, call_id = (0, f"c{index}") if with_ids else (index, f"c{index}" if first else None)
        fed = assembler.feed(chunk(piece(place, left[index].pop(0), name if first else None, call_id)))
        assert [begun[number] for number in fed.pieces] == [index]
        assembled |= {begun[number]: (call.name, call.arguments) for number, call in fed.whole}
    assembled |= {begun[number]: (call.name, call.arguments) for number, call in assembler.end("tool_calls")}
    assert assembled == dict(enumerate(CALLS))


def test_a_call_is_whole_once_the_next_begins():
    assembler = CallAssembler()
    assert assembler.feed(chunk(piece(0, '{"to": 1', "move", "a"))).whole == []
    assert assembler.feed(chunk(piece(0, "}"))).whole == []
    [(number, call)] = assembler.feed(chunk(piece(1, "{", "look", "b"))).whole
    assert (number, call.id, call.arguments) == (0, "a", '{"to": 1}')
    assert assembler.end("length") == []


@pytest.mark.parametrize("kind", ["function", "custom"])
def test_a_possibly_unfinished_call_waits_for_the_end(kind):
    assembler = CallAssembler()
    for index, text in ((0, "one "), (1, "two "), (0, "three"), (1, "four")):
        assert assembler.feed(chunk(piece(index, text, kind=kind))).whole == []
    assert [call.arguments for _, call in assembler.end("stop")] == ["one three", "two four"]


def test_late_pieces_do_not_join_a_whole_call():
    assembler = CallAssembler()
    assembler.feed(chunk(piece(0, "{}", "move", "a")))
    assert [call.arguments for _, call in assembler.feed(chunk(piece(1, "{}", "look", "b"))).whole] == ["{}"]
    assert assembler.feed(chunk(piece(0, ""))).pieces == (0,)
    assert assembler.feed(chunk(piece(0, json.dumps({"to": "BAD"})))).pieces == (2,)
    assert [call.arguments for _, call in assembler.end("stop")] == ['{"to": "BAD"}']


def test_arguments_nested_without_end_are_not_whole():
    assembler = CallAssembler()
    assembler.feed(chunk(piece(0, '{"a":' * 100_000, "move")))
    assert assembler.feed(chunk(piece(1, "{}", "look"))).whole == []


def test_text_and_call_in_one_event_keep_order():
    read = reading_calls(decode_chat)
    event = {"content": "So:", "tool_calls": [piece(0, "{}", "move", "a")]}
    assert read(msgspec.json.encode({"choices": [{"delta": event}]}), 0, True).text == "So:"
    assert read(msgspec.json.encode({"choices": [{"delta": {"content": "plain"}}]}), 0, False).text == "plain"
    call, end = read(b'{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}', 0, False)
    assert (call.call.name, call.text, end.finish_reason) == ("move", "move({})", "tool_calls")
    assert read(b"[DONE]", 0, False) is DONE
