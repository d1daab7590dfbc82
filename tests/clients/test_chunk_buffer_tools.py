"""Tool calls: whole, valid, judged, and only then the caller's."""

import dataclasses
import json
from itertools import zip_longest

import interwhen
import pytest
from both import KINDS, ask, read
from interwhen import Budgets, Resample, wrap
from interwhen.testing._server_script import delta
from interwhen.testing.server import Send, tool_call
from watchers import no_call_with, passing, word
from wires import MemoryWire, collect, event, said, texts

pytestmark = pytest.mark.anyio

TOOLS = [
    {
        "type": "function",
        "function": {"name": "move", "parameters": {"type": "object", "properties": {"to": {}}, "required": ["to"]}},
    },
    {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}},
]
DONE = b"data: [DONE]\n\n"


def pieces_of(index, call, size):
    name, arguments = call
    yield {"index": index, "id": f"c{index}", "type": "function", "function": {"name": name, "arguments": ""}}
    for at in range(0, len(arguments), size):
        yield {"index": index, "function": {"arguments": arguments[at : at + size]}}


def called(*calls, finish="tool_calls", size=4):
    events = [
        said({"tool_calls": [piece]}) for index, call in enumerate(calls) for piece in pieces_of(index, call, size)
    ]
    return [*events, said({}, finish), DONE]


def by_turns(*calls, finish="tool_calls", size=4):
    rounds = zip_longest(*(pieces_of(index, call, size) for index, call in enumerate(calls)))
    events = [said({"tool_calls": [piece]}) for pieces in rounds for piece in pieces if piece is not None]
    return [*events, said({}, finish), DONE]


def calls_in(parts):
    calls = {}
    for part in parts:
        for choice in part.chunk()["choices"]:
            for piece in choice["delta"].get("tool_calls") or ():
                call = calls.setdefault(piece["index"], {"name": "", "arguments": ""})
                call["name"] += piece["function"].get("name") or ""
                call["arguments"] += piece["function"].get("arguments") or ""
    return [(call["name"], call["arguments"]) for call in calls.values()]


def finish_of(parts):
    reasons = [choice["finish_reason"] for part in parts for choice in part.chunk()["choices"]]
    return [reason for reason in reasons if reason]


GOOD = ("move", '{"to": "home"}')
BAD = ("move", '{"to": "BAD"}')
LOOK = ("look", "{}")


async def test_a_good_tool_call_is_delivered_and_verified():
    transport = MemoryWire(lambda *_: called(GOOD))
    parts, result = await collect(transport, [no_call_with()], tools=TOOLS)
    assert calls_in(parts) == [GOOD]
    assert finish_of(parts) == ["tool_calls"]
    assert result.status == "verified"
    assert result.text == 'move({"to": "home"})'
    assert result.answer == ""


@pytest.mark.parametrize("slow", [None, 0.01])
@pytest.mark.parametrize("delivery", ["gate_tools", "interrupt", "gate"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_refused_call_never_reaches_the_caller(delivery, slow, stream):
    transport = MemoryWire(lambda number, _: [called(BAD), called(GOOD)][number])
    monitor = no_call_with(delivery=delivery, slow=slow)
    parts, result = await collect(transport, [monitor], tools=TOOLS, stream=stream)
    assert calls_in(parts) == [GOOD]
    assert "BAD" not in json.dumps([part.chunk() for part in parts])
    assert transport.bodies[1]["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c0", "type": "function", "function": {"name": BAD[0], "arguments": BAD[1]}}],
        },
        {
            "role": "tool",
            "tool_call_id": "c0",
            "content": "This call was not made. Wait, BAD must not be touched. "
            "Correct the mistake, and make all calls again that are still needed.",
        },
    ]
    assert transport.bodies[1]["tools"] == TOOLS
    assert result.status == "verified"
    assert result.resume.mode == "turn"


async def test_parallel_calls_are_judged_separately_but_retried_together():
    transport = MemoryWire(lambda number, _: [called(GOOD, BAD, LOOK), called(GOOD, LOOK)][number])
    parts, result = await collect(transport, [no_call_with()], tools=TOOLS)
    assert calls_in(parts) == [GOOD, LOOK]
    turns = transport.bodies[1]["messages"]
    assert [call["id"] for call in turns[1]["tool_calls"]] == [turn["tool_call_id"] for turn in turns[2:]]
    assert [violation.why for violation in result.violations] == ["BAD must not be touched"]
    judged = [(check.monitor, result.text[check.span.start : check.span.end]) for check in result.certificate.checks]
    expected = [
        (monitor, call) for monitor in ("calls", "tool-format") for call in ("look({})", 'move({"to": "home"})')
    ]
    assert sorted(judged) == expected
    assert result.status == "verified"


@pytest.mark.parametrize("slow", [None, 0.01])
@pytest.mark.parametrize("delivery", ["gate_tools", "interrupt"])
@pytest.mark.parametrize("stream", [True, False])
async def test_calls_whose_pieces_come_by_turns_are_released(delivery, slow, stream):
    transport = MemoryWire(lambda *_: by_turns(GOOD, LOOK, GOOD))
    parts, result = await collect(transport, [no_call_with(delivery=delivery, slow=slow)], tools=TOOLS, stream=stream)
    assert calls_in(parts) == [GOOD, LOOK, GOOD]
    assert finish_of(parts) == ["tool_calls"]
    assert len(transport.bodies) == 1
    assert result.status == "verified"


async def test_a_refused_interleaved_call_never_reaches_the_caller():
    transport = MemoryWire(lambda number, _: [by_turns(GOOD, BAD, LOOK), by_turns(GOOD, LOOK)][number])
    parts, result = await collect(transport, [no_call_with()], tools=TOOLS)
    assert calls_in(parts) == [GOOD, LOOK]
    assert "BAD" not in json.dumps([part.chunk() for part in parts])
    assert [violation.why for violation in result.violations] == ["BAD must not be touched"]
    assert result.status == "verified"


@pytest.mark.parametrize("finish", ["length", None])
async def test_interleaved_calls_in_a_truncated_stream_are_withheld(finish):
    steps = by_turns(GOOD, GOOD, finish=finish)
    transport = MemoryWire(lambda *_: steps if finish else steps[:-2])
    parts, result = await collect(transport, [passing()], tools=TOOLS)
    assert calls_in(parts) == []
    assert result.status == "unverified"


async def test_an_interleaved_call_with_incomplete_json_is_refused():
    transport = MemoryWire(lambda number, _: [by_turns(GOOD, ("move", '{"to": "ho')), called(GOOD)][number])
    parts, result = await collect(transport, [passing()], tools=TOOLS)
    assert calls_in(parts) == [GOOD]
    assert result.violations[0].monitor == "tool-format"


@pytest.mark.parametrize(
    "arguments", ['{"to": "ho', '{"to": "home"', "{'to': 'home'}", '["home"]', "home", '{"to": 1}}']
)
async def test_what_is_no_json_object_does_not_pass(arguments):
    transport = MemoryWire(lambda number, _: [called(("move", arguments)), called(GOOD)][number])
    parts, result = await collect(transport, [passing()], tools=TOOLS)
    assert calls_in(parts) == [GOOD]
    assert len(transport.bodies) == 2
    assert result.violations[0].monitor == "tool-format"


async def test_unknown_tools_and_missing_arguments_are_refused():
    transport = MemoryWire(lambda number, _: [called(("fly", "{}")), called(("move", "{}")), called(GOOD)][number])
    parts, result = await collect(transport, [passing()], tools=TOOLS)
    assert calls_in(parts) == [GOOD]
    assert [violation.why for violation in result.violations] == [
        "there is no tool 'fly'; there are move, look",
        "the call of 'move' lacks 'to'",
    ]


@pytest.mark.parametrize("required", [5, "to", {"at": 1}, True, [7, "to"]], ids=repr)
@pytest.mark.parametrize("arguments", ["{}", '{"to": "home"}'])
async def test_invalid_required_schema_entries_are_ignored_but_forwarded(arguments, required):
    tools = [{"type": "function", "function": {"name": "move", "parameters": {"required": required}}}]
    transport = MemoryWire(lambda number, _: [called(("move", arguments)), called(GOOD)][number])
    parts, result = await collect(transport, [passing()], tools=tools)
    missing = isinstance(required, list) and arguments == "{}"
    assert calls_in(parts) == [GOOD if missing else ("move", arguments)]
    assert len(result.violations) == missing
    assert transport.bodies[0]["tools"] == tools


async def test_a_call_without_arguments_needs_none():
    transport = MemoryWire(lambda *_: called(("look", "")))
    parts, _ = await collect(transport, [passing()], tools=TOOLS)
    assert calls_in(parts) == [("look", "")]


@pytest.mark.parametrize("finish", ["length", "content_filter"])
async def test_a_truncated_call_that_looks_whole_is_withheld(finish):
    transport = MemoryWire(lambda *_: called(GOOD, finish=finish))
    parts, result = await collect(transport, [passing()], tools=TOOLS)
    assert calls_in(parts) == []
    assert finish_of(parts) == [finish]
    assert result.status == "unverified"


@pytest.mark.parametrize("slow", [None, 0.02])
@pytest.mark.parametrize("together", [True, False])
async def test_no_piece_of_an_interrupted_call_is_shown(together, slow):
    # The first call stands, what is wrong comes next, and the second call, begun before that, was never whole.
    first = {"index": 0, "id": "a", "type": "function", "function": {"name": "move", "arguments": '{"to": '}}
    rest = {"index": 0, "function": {"arguments": '"home"}'}}
    second = {"index": 1, "id": "b", "type": "function", "function": {"name": "look", "arguments": ""}}
    pieces = [[rest, second]] if together else [[rest], [second]]

    def script(number, _):
        if number:
            return called(GOOD)
        heads = [said({"tool_calls": each}) for each in ([first], *pieces)]
        more = said({"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]})
        return [*heads, said({"content": "BAD\n"}), more, said({}, "tool_calls"), DONE]

    transport = MemoryWire(script)
    parts, result = await collect(transport, [word(remedy=Resample(), slow=slow)], tools=TOOLS)
    assert calls_in(parts) == [GOOD, GOOD]
    assert len(transport.bodies) == 2
    assert result.text == 'move({"to": "home"})' * 2


async def test_an_unfinished_stream_delivers_no_tool_call():
    transport = MemoryWire(lambda *_: called(GOOD)[:-2])
    parts, _ = await collect(transport, [passing()], tools=TOOLS)
    assert calls_in(parts) == []


BAD_CALL = {"index": 0, "id": "c0", "type": "function", "function": {"name": "move", "arguments": '{"to": "BAD"}'}}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(
            [said({"tool_calls": [BAD_CALL]}).replace(b"tool_calls", b"tool\\u005fcalls")], id="a key with an escape"
        ),
        pytest.param(
            [
                event({"choices": [{"index": 0, "delta": {"tool_calls": [BAD_CALL]}}], "usage": {"prompt_tokens": 3}}),
                said({"content": "more\n"}),
                said({"content": "more\n"}),
            ],
            id="token counts beside the call",
        ),
        pytest.param(
            [said({"reasoning": "hm\n", "content": "so\n", "tool_calls": [BAD_CALL]})], id="reasoning, answer and call"
        ),
        pytest.param(
            [
                said(
                    {
                        "tool_calls": [
                            BAD_CALL
                            | {
                                "function": {"name": "move", "arguments": '{"to": "home"}'},
                                "custom": {"name": "move", "input": "BAD"},
                            }
                        ]
                    }
                )
            ],
            id="two calls in one piece",
        ),
    ],
)
async def test_refused_calls_in_unusual_chunks_never_reach_callers(chunks, stream):
    script = [said({"content": "ok\n"}), *chunks, said({}, "tool_calls"), DONE]
    transport = MemoryWire(lambda number, _: texts(["no\n"]) if number else script)
    parts, result = await collect(transport, [no_call_with()], stream=stream, tools=TOOLS)
    assert len(transport.bodies) == 2
    assert "BAD" not in json.dumps([part.chunk() for part in parts])
    assert result.status != "verified"


async def test_a_repeatedly_refused_call_ends_in_abstention():
    transport = MemoryWire(lambda *_: called(BAD))
    parts, result = await collect(transport, [no_call_with()], tools=TOOLS)
    assert calls_in(parts) == []
    assert finish_of(parts) == ["content_filter"]
    assert result.status == "abstained"


async def test_a_call_after_text_refuted_late_is_withheld():
    def script(number, _):
        return [said({"content": "BAD\n"}), *called(GOOD)] if number == 0 else texts(["never mind"])

    transport = MemoryWire(script)
    parts, result = await collect(transport, [word(slow=0.02)], tools=TOOLS)
    assert calls_in(parts) == []
    assert finish_of(parts) == ["stop"]
    assert result.text.endswith("never mind")


async def test_text_resembling_a_call_hides_no_real_call():
    transport = MemoryWire(
        lambda number, _: [said({"content": "<tool_call>"}), *called(BAD)] if number == 0 else called(GOOD)
    )
    parts, _ = await collect(transport, [no_call_with()], tools=TOOLS)
    assert calls_in(parts) == [GOOD]


async def test_a_call_right_after_reasoning_is_judged():
    def script(number, _):
        return [said({"reasoning_content": "hm"}), *called([BAD, GOOD][number])]

    transport = MemoryWire(script)
    parts, result = await collect(transport, [no_call_with(phase="answer")], tools=TOOLS)
    assert calls_in(parts) == [GOOD]
    assert result.reasoning.startswith("hm")


async def test_calls_sharing_index_zero_are_separated_by_id():
    def call(name, arguments, call_id):
        function = {"name": name, "arguments": arguments}
        return said({"tool_calls": [{"index": 0, "id": call_id, "type": "function", "function": function}]})

    transport = MemoryWire(lambda *_: [call(*GOOD, "a"), call(*BAD, "b"), said({}, "tool_calls"), DONE])
    _, result = await collect(transport, [no_call_with(delivery="observe")], tools=TOOLS)
    assert result.text == 'move({"to": "home"})move({"to": "BAD"})'
    assert len(result.violations) == 1


async def test_legacy_function_calls_are_checked_like_tool_calls():
    older = {"function_call": {"name": "move", "arguments": ""}}
    bad = [said(older), said({"function_call": {"arguments": BAD[1]}}), said({}, "function_call"), DONE]
    good = [said(older), said({"function_call": {"arguments": GOOD[1]}}), said({}, "function_call"), DONE]
    transport = MemoryWire(lambda number, _: [bad, good][number])
    functions = [tool["function"] for tool in TOOLS]
    parts, result = await collect(transport, [no_call_with()], functions=functions)
    pieces = [choice["delta"].get("function_call") or {} for part in parts for choice in part.chunk()["choices"]]
    assert tuple("".join(piece.get(field) or "" for piece in pieces) for field in ("name", "arguments")) == GOOD
    assert finish_of(parts) == ["function_call"]
    assert result.status == "verified"
    assert "BAD" not in json.dumps([part.chunk() for part in parts])
    assert transport.bodies[1]["messages"][1]["function_call"] == {"name": "move", "arguments": BAD[1]}
    assert transport.bodies[1]["messages"][2]["role"] == "function"


async def test_crashing_checks_block_calls_when_unproven_is_closed():
    @interwhen.verifier(name="broken", worker="inline")
    def broken(claim):
        raise RuntimeError("no")

    import dataclasses

    monitor = dataclasses.replace(no_call_with(), verifier=broken, unproven="closed")
    parts, result = await collect(MemoryWire(lambda *_: called(GOOD)), [monitor], tools=TOOLS)
    assert calls_in(parts) == []
    assert result.status == "abstained"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [True, False])
async def test_with_the_sdk(kind, stream, serve, clients):
    def script(request):
        arguments = '{"to": "home"}' if any(m["role"] == "tool" for m in request.json["messages"]) else '{"to": "BAD"}'
        return (*tool_call("move", arguments), delta({}, finish_reason="tool_calls"), Send(DONE))

    server = serve(script)
    client = wrap(clients(KINDS[kind], server), [no_call_with()])
    answer = await ask(client, stream=stream, tools=TOOLS)
    if stream:
        chunks = await read(answer)
        pieces = [chunk.choices[0].delta.tool_calls for chunk in chunks if chunk.choices[0].delta.tool_calls]
        arguments = "".join(piece[0].function.arguments or "" for piece in pieces)
        result = chunks[-1].interwhen.result
    else:
        arguments = answer.choices[0].message.tool_calls[0].function.arguments
        result = answer.interwhen.result
    assert arguments == '{"to": "home"}'
    assert result.status == "verified"
    assert len(server.posts) == 2


async def test_the_budget_of_remedies_bounds_the_asking():
    transport = MemoryWire(lambda number, _: called(("move", json.dumps({"to": f"BAD{number}"}))))
    settings = {"budgets": Budgets(remedies=2, reconnects=0)}
    parts, _ = await collect(transport, [no_call_with()], tools=TOOLS, settings=settings)
    assert calls_in(parts) == []
    assert len(transport.bodies) == 3


async def test_monitors_see_earlier_calls_and_their_results():
    seen = []
    transport = MemoryWire(lambda *_: called(GOOD))
    earlier = {"id": "c9", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Go home."},
        {"role": "assistant", "content": None, "tool_calls": [earlier]},
        {"role": "tool", "tool_call_id": "c9", "content": "a door"},
    ]
    monitor = dataclasses.replace(no_call_with(), prepare=lambda task: seen.extend(task.messages))
    await collect(transport, [monitor], tools=TOOLS, messages=messages)
    assert seen == [
        interwhen.Message("user", "Go home."),
        interwhen.Message("assistant", "", (interwhen.ToolCall("c9", "look", "{}"),)),
        interwhen.Message("tool", "a door", call_id="c9"),
    ]
    assert transport.bodies[0]["messages"] == messages
