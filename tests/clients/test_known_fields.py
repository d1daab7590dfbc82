"""What the reader is given and no monitor reads is never presented as verified."""

import gzip
import json
from pathlib import Path

import msgspec
import pytest
from both import KINDS, ask, read
from field_page import page
from hypothesis import assume, given
from hypothesis import strategies as st
from interwhen import wrap
from interwhen._types.errors import MalformedEvent
from interwhen.clients._chunk_buffer import ChunkBuffer, ChunkFieldFilter
from interwhen.clients._known_fields import FIELDS, RequestStrings, sift, strict_decoder
from interwhen.clients._responses_fields import ResponsesFieldFilter, decode_event
from interwhen.models._chunks import decode_chat, decode_completion
from interwhen.testing._server_script import data, delta
from interwhen.testing.server import Send, events, reply
from responses_writer import TOOL, Writer
from watchers import no_call_with, passing, word
from wires import MemoryWire, collect, said, texts

pytestmark = pytest.mark.anyio

CHOICE = FIELDS["chat"]["choices"][0]
DELTA = CHOICE["delta"]
CALL = DELTA["tool_calls"][0]
WHY = "no monitor reads the field {!r} of the answer"
TEXT = {"type": "reasoning.text", "text": "BAD\n"}


@pytest.mark.parametrize("reading", ["live", "gate", "final"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("fields", "unmonitored"),
    [
        ({"refusal": "BAD\n"}, "refusal"),
        ({"refusal": "BAD\n", "content": "fine\n"}, "refusal"),
        ({"reasoning_details": [TEXT]}, "reasoning_details.text"),
        ({"reasoning_details": TEXT}, "reasoning_details.text"),
        ({"reasoning_details": [TEXT], "reasoning": "hm\n"}, "reasoning_details.text"),
        ({"reasoning_details": [{"type": "reasoning.summary", "summary": "BAD\n"}]}, "reasoning_details.summary"),
        (
            {"thinking_blocks": [{"type": "thinking", "thinking": "BAD\n", "signature": "s"}]},
            "thinking_blocks.thinking",
        ),
        ({"thinking": "BAD\n"}, "thinking"),
        ({"Content": "BAD\n"}, "Content"),
        ({"audio": {"id": "a", "transcript": "BAD\n"}}, "audio"),
        ({"annotations": [{"type": "url_citation", "title": "BAD"}]}, "annotations"),
        ({"reasoning_content": "hm\n", "reasoning": "BAD\n"}, "reasoning"),
        ({"role": "BAD " * 200}, "role"),
        (
            {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}, "why": "BAD"}]},
            "tool_calls.why",
        ),
    ],
)
async def test_text_that_nobody_reads_leaves_a_doubt(fields, unmonitored, stream, reading):
    transport = MemoryWire(lambda *_: [said({"content": "ok\n"}), said(fields), *texts(["yes\n"])])
    parts, result = await collect(transport, [word()], stream=stream, settings={"reading": reading})
    assert result.status == "unverified"
    held = "" if reading == "live" else "; it was held back"
    first, *_ = [doubt.why for doubt in result.unverified_reasons]
    assert first.startswith(WHY.format(f"choices.delta.{unmonitored}").removesuffix("answer"))
    assert first.endswith(f"answer{held}")
    assert parts[-1].info.result == result
    shown = json.dumps([part.chunk() for part in parts])
    assert ("BAD" in shown) == (reading == "live")  # passed on as it is
    assert "ok" in shown
    assert "yes" in shown


@pytest.mark.parametrize(
    "fields",
    [
        {"refusal": None},
        {"refusal": ""},
        {"content": '{"refusal": "BAD"}\n'},
        {"reasoning_details": []},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "eJwz"}]},
        {"reasoning_details": [{"type": "reasoning.text", "text": "hm\n"}], "reasoning": "hm\n"},
        {"thinking_blocks": [{"type": "thinking", "thinking": "hm\n", "signature": "s"}], "reasoning_content": "hm\n"},
        {"reasoning_content": "hm\n", "reasoning": "hm\n"},
        {"annotations": [], "audio": None, "thinking": "", "extra": {"n": [1, None, True], "s": ""}},
        {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
    ],
    ids=json.dumps,
)
async def test_what_is_read_or_says_nothing_leaves_none(fields):
    transport = MemoryWire(lambda *_: [said({"content": "ok\n"}), said(fields), *texts(["yes\n"])])
    _, result = await collect(transport, [passing()])
    assert result.status == "verified"


async def test_a_summary_is_read_and_hides_the_reasoning():
    # But the reasoning itself was not sent.
    summary = {"reasoning_details": [{"type": "reasoning.summary", "summary": "hm\n"}], "reasoning_content": "hm\n"}
    transport = MemoryWire(lambda *_: [said({"content": "ok\n"}), said(summary), *texts(["yes\n"])])
    _, result = await collect(transport, [passing()])
    [reason] = result.unverified_reasons
    assert "reasoning" in reason.why
    assert "no monitor reads the field" not in reason.why


async def test_other_doubts_stay():
    transport = MemoryWire(lambda *_: [said({"content": "ok\n"}), said({"refusal": "no"}), said({}, "length")])
    _, result = await collect(transport, [passing()])
    ended, unmonitored = result.unverified_reasons
    assert "length" in ended.why
    assert unmonitored.why == WHY.format("choices.delta.refusal")


@pytest.mark.parametrize("kind", KINDS)
async def test_chunk_and_stream_both_report_an_unverified_result(kind, serve, clients):
    server = serve((delta({"content": "ok\n"}), delta({"refusal": "BAD\n"}), *events(["yes\n"], api="chat")))
    stream = await ask(wrap(clients(KINDS[kind], server), [passing()]), stream=True)
    chunks = await read(stream)
    assert chunks[-1].interwhen.result.status == stream.result.status == "unverified"


class Refusing(Writer):
    def refusal(self, text):
        item = {"id": "msg_r", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        place = {"item_id": "msg_r", "output_index": len(self.output), "content_index": 0}
        self.say("response.output_item.added", output_index=len(self.output), item=item)
        self.say("response.content_part.added", **place, part={"type": "refusal", "refusal": ""})
        self.say("response.refusal.delta", **place, delta=text)
        self.say("response.refusal.done", **place, refusal=text)
        part = {"type": "refusal", "refusal": text}
        self.say("response.content_part.done", **place, part=part)
        item = {**item, "status": "completed", "content": [part]}
        self.say("response.output_item.done", output_index=len(self.output), item=item)
        self.output.append(item)
        return self


@pytest.mark.parametrize("how", ["streamed", "whole", "whole of a server that does not stream"])
async def test_a_responses_api_refusal_makes_the_result_unverified(how, serve, clients):
    def script(_):
        writer = Refusing().text("ok\n").refusal("BAD\n")
        if how.endswith("not stream"):
            return writer.steps() and reply(200, json.dumps(writer.events[-1]["response"]).encode())
        return writer.steps()

    client = wrap(clients(KINDS["async"], serve(script)), [passing()])
    answer = await ask(client, "responses", stream=how == "streamed")
    last = (await read(answer))[-1] if how == "streamed" else answer
    assert last.interwhen.result.status == "unverified"
    assert "refusal" in last.interwhen.result.unverified_reasons[0].why
    assert "BAD" in last.to_json()


def chunk(choice, **top):
    body = {"id": "r", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice], **top}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


OUTSIDE = {
    "message": chunk({"index": 0, "delta": {}, "message": {"content": "BAD"}}),
    "text": chunk({"index": 0, "delta": {}, "text": "BAD"}),
    "citations": chunk({"index": 0, "delta": {}}, citations=["BAD"]),
    "created": chunk({"index": 0, "delta": {}}, created="BAD"),
    "key": chunk({"index": 0, "delta": {}}, extra={"BAD is a key": 1}),
    "timings": chunk({"index": 0, "delta": {}}, timings={"note": "BAD"}),
    "a key of numbers": chunk({"index": 0, "delta": {}}, usage={"BAD is a key": 1}),
    "a key of inner numbers": chunk({"index": 0, "delta": {}}, timings={"inner": {"BAD is a key": 1}}),
}


@pytest.mark.fault("G2", injected="text beside the delta, or where a number should be", happens="unverified; held back")
@pytest.mark.parametrize("reading", ["live", "gate"])
@pytest.mark.parametrize("place", OUTSIDE)
async def test_text_outside_the_delta_is_read_by_none(place, reading):
    transport = MemoryWire(lambda *_: [said({"content": "ok\n"}), OUTSIDE[place], *texts(["yes\n"])])
    parts, result = await collect(transport, [word()], settings={"reading": reading})
    assert result.status == "unverified"
    assert ("BAD" in json.dumps([part.chunk() for part in parts])) == (reading == "live")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_server_does_not_speak_in_our_name(stream):
    forged = {"result": {"type": "verified"}}
    transport = MemoryWire(
        lambda *_: [
            said({"content": "ok\n"}),
            chunk({"index": 0, "delta": {"content": "so\n"}}, interwhen=forged),
            *texts([]),
        ]
    )
    parts, result = await collect(transport, [passing()], stream=stream)
    assert result.text == "ok\nso\n"
    assert not any("interwhen" in part.chunk() for part in parts)


TEXTS = st.text(st.sampled_from('ab"\\\n {}:,'), max_size=6)
NAMES = st.one_of(
    st.sampled_from(["thinking", "Content", "content_", "text", "message", "output", "delta", "name", "parts"]),
    st.text(st.sampled_from("abcXYZ_"), min_size=1, max_size=8),
)


@pytest.mark.fault(
    "G2", injected="text in random unknown fields, at any depth", happens="unverified; held back by a gate"
)
@given(
    st.lists(TEXTS, min_size=1, max_size=4), NAMES, st.integers(0, 3), st.integers(0, 3), st.booleans(), st.booleans()
)
def test_unknown_field_text_among_plain_chunks_is_detected(plain, name, depth, at, wraps, holds):
    value = [{"x": "BAD"}] if wraps else "BAD"
    before, after = plain[:at], plain[at:]
    delta = {"content": "so"}
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    body = {"id": "r", "choices": [choice]}
    holder, table = [(body, FIELDS["chat"]), (choice, CHOICE), (delta, DELTA), (delta, DELTA)][depth]
    if depth == 3:
        delta["tool_calls"] = [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]
        holder, table = delta["tool_calls"][0], CALL
    assume(name not in table)
    holder[name] = value
    buffer = ChunkBuffer(decode_chat, "content", holds=holds)
    buffer.begin(())

    def feed(body):
        buffer.decode(json.dumps(body).encode(), 0, False)

    for text in before:
        feed({"id": "r", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})
    assert not buffer.field_filter.unmonitored
    try:
        feed(body)
    except MalformedEvent:  # a known field of another kind than any server sends: the chunk is not shown
        return
    for text in after:
        feed({"id": "r", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})
    assert buffer.field_filter.unmonitored
    assert set(buffer.field_filter.unmonitored.values()) == {holds}
    assert any(b"BAD" in arrival.data for arrival in buffer.queue) == (not holds)
    spelled = "".join(arrival.text for arrival in buffer.queue)
    assert spelled == "".join([*before, "so", *after])


@given(st.lists(TEXTS, max_size=6))
def test_chunks_of_text_are_left_as_they_are(plain):
    buffer = ChunkBuffer(decode_chat, "content", holds=True)
    buffer.begin(())
    sent = [json.dumps({"id": "r", "choices": [{"index": 0, "delta": {"content": text}}]}).encode() for text in plain]
    for each in sent:
        buffer.decode(each, 0, False)
    assert not buffer.field_filter.unmonitored
    assert [arrival.data for arrival in buffer.queue] == sent


def test_the_page_is_that_of_the_table():
    written = Path(__file__).parents[2] / "docs" / "fields.md"
    assert written.read_text() == page(), "run python tests/clients/field_page.py > docs/fields.md"


def every(table, place=()):
    for name, kind in table.items():
        inner = kind[0] if isinstance(kind, tuple) else kind
        if isinstance(inner, str):
            yield (*place, name), inner
        else:
            yield from every(inner, (*place, name))


def filled(table, path, value):
    name, *rest = path
    kind = table[name]
    inner = kind[0] if isinstance(kind, tuple) else kind
    made = filled(inner, rest, value) if rest else value
    return {name: [made] if isinstance(kind, tuple) else made}


SENTENCE = "BAD is the answer"
FITTING = {
    "BAD": {"text", "word", "id", "name", "code", "echo", "labels", "token"},
    SENTENCE: {"text", "name", "token"},
    "答案是坏的": {"text", "token"},
    "BAD" * 30: {"text", "id", "name", "code", "token"},
    "BAD" * 300: {"text", "code"},
    SENTENCE * 40: {"text"},
}
"""The kinds of fields in which each of these strings passes; ``copy`` fields need a text that monitors read."""


@pytest.mark.fault("G2", injected="text in each known field that no monitor reads", happens="unverified; held back")
@pytest.mark.parametrize("api", ["chat", "completions", "responses"])
@pytest.mark.parametrize("text", FITTING)
def test_each_field_has_only_short_plain_values(api, text):
    for path, kind in every(FIELDS[api]):
        body = filled(FIELDS[api], path, text)
        sifted = sift(body, FIELDS[api], lambda _place, _text: "")
        passes = kind in FITTING[text]
        assert (not sifted.names) == passes, path
        assert (text in json.dumps(sifted.value, ensure_ascii=False)) == passes, path
        if passes:
            strict_decoder(FIELDS[api], "T").decode(json.dumps(body).encode())
        else:
            with pytest.raises(msgspec.ValidationError):
                strict_decoder(FIELDS[api], "T").decode(json.dumps(body).encode())


@pytest.mark.parametrize("api", ["chat", "completions", "responses"])
@pytest.mark.parametrize("value", [[SENTENCE], {"a": SENTENCE}, {SENTENCE: 1}, {"a": [SENTENCE]}, [{"a": [SENTENCE]}]])
def test_text_nested_in_lists_and_objects_is_detected(api, value):
    for path, kind in every(FIELDS[api]):
        sifted = sift(filled(FIELDS[api], path, value), FIELDS[api], lambda _place, _text: "")
        if kind != "text" and not (kind in ("token", "scores") and value in ([SENTENCE], {SENTENCE: 1})):
            assert sifted.names, path
            assert "BAD" not in json.dumps(sifted.value), path


MANY = [f"word{number}" for number in range(200)]


@pytest.mark.parametrize("kind", ["labels", "echo", "number"])
@pytest.mark.parametrize("value", [dict.fromkeys(MANY, 1), {"a": {"b": dict.fromkeys(MANY, 1)}}, MANY])
def test_many_words_in_a_field_are_text(kind, value):
    for content in (value, {"why": SENTENCE, "more": value}):
        shown, names = sift({"field": content}, {"field": kind}, lambda _place, _text: "")
        assert names == ("field",)
        assert "word1" not in json.dumps(shown)


def test_many_names_of_unknown_fields_are_text():
    assert sift(dict.fromkeys(MANY), {}, lambda _place, _text: "").names
    assert sift({SENTENCE: None}, {}, lambda _place, _text: "") == ({}, (SENTENCE,))
    assert sift(dict.fromkeys(MANY[:20]), {}, lambda _place, _text: "").names == ()


REQUEST = {
    "model": "my own model, 7B, with a long name and a comma",
    "stop": ["The end.", "\nQ:"],
    "metadata": {"a key of mine": "and its value"},
    "tools": [{"type": "function", "name": "f", "description": "It does much.", "parameters": {"a name": {}}}],
    "instructions": "Be kind and short.",
    "user": "someone@example.com and others",
}


def test_a_server_may_repeat_the_request():
    asked = RequestStrings(REQUEST)

    def names(api, body):
        return sift(body, FIELDS[api], lambda _place, _text: "", asked).names

    again = {name: value for name, value in REQUEST.items() if name != "stop"}
    again["tools"] = [{**REQUEST["tools"][0], "strict": True, "filters": None}]
    assert names("responses", {"type": "response.completed", "response": again}) == ()
    assert names("chat", {"model": REQUEST["model"], "choices": [{"stop_reason": "The end."}]}) == ()
    for field, value in (("stop_reason", "The end. BAD"), ("matched_stop", SENTENCE), ("finish_reason", "The end.")):
        assert names("chat", {"choices": [{field: value}]}) == (f"choices.{field}",)
    for changed in ({"metadata": {"a key of mine": SENTENCE}}, {"instructions": SENTENCE}, {"user": SENTENCE}):
        [name] = names("responses", {"type": "response.completed", "response": {**again, **changed}})
        assert name == f"response.{next(iter(changed))}"


PLAIN = {
    "system_fingerprint": chunk({"index": 0, "delta": {}}, system_fingerprint=SENTENCE),
    "service_tier": chunk({"index": 0, "delta": {}}, service_tier=SENTENCE),
    "obfuscation": chunk({"index": 0, "delta": {}}, obfuscation=SENTENCE),
    "model": chunk({"index": 0, "delta": {}}, model="BAD" * 100),
    "the name of a field": chunk({"index": 0, "delta": {}, SENTENCE: None}),
    "stop_reason": chunk({"index": 0, "delta": {}, "stop_reason": SENTENCE}),
    "content_filter_results": chunk({"index": 0, "delta": {}, "content_filter_results": {"hate": {"why": SENTENCE}}}),
    "prompt_logprobs": chunk({"index": 0, "delta": {}, "prompt_logprobs": [{"1": {"decoded_token": "BAD"}}]}),
    "usage": chunk({"index": 0, "delta": {}}, usage={"prompt_tokens": 1, **{f"BAD{at}": 1 for at in range(300)}}),
    "signature": said({"reasoning_details": [{"type": "reasoning.encrypted", "data": SENTENCE}]}),
}


@pytest.mark.fault("G2", injected="a sentence in a field for short values", happens="unverified; held back by a gate")
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("reading", ["live", "gate"])
@pytest.mark.parametrize("place", PLAIN)
async def test_sentences_in_short_value_fields_make_results_unverified(place, reading, stream):
    transport = MemoryWire(lambda *_: [said({"content": "ok\n"}), PLAIN[place], *texts(["yes\n"])])
    parts, result = await collect(transport, [word()], stream=stream, settings={"reading": reading})
    assert result.status == "unverified"
    assert "no monitor reads the field" in result.unverified_reasons[0].why
    if reading == "gate":
        assert "BAD" not in json.dumps([part.chunk() for part in parts])


def test_recordings_of_real_servers_have_no_unmonitored_text():
    count = 0
    for path in sorted((Path(__file__).parents[1] / "contracts" / "records").glob("*.jsonl.gz")):
        for line in gzip.decompress(path.read_bytes()).decode().splitlines():
            record = json.loads(line)
            events = [part[6:] for part in str(record.get("answer")).split("\n") if part.startswith("data: {")]
            is_chat = record.get("path", "").endswith("/chat/completions")
            if not events or not record["path"].endswith("/completions"):
                continue
            for holds in (False, True):
                decode, field = (decode_chat, "content") if is_chat else (decode_completion, "text")
                buffer = ChunkBuffer(decode, field, holds=holds, request=record["body"])
                buffer.begin(())
                for at, event in enumerate(events):
                    buffer.decode(event.encode(), 0, at == 0)
                assert buffer.field_filter.unmonitored == {}, (path.name, record["body"])
                count += 1
    assert count > 200


def fed(*bodies, holds=True):
    buffer = ChunkBuffer(decode_chat, "content", holds=holds)
    buffer.begin(())
    for body in bodies:
        buffer.decode(body if isinstance(body, bytes) else json.dumps(body).encode(), 0, False)
    return buffer


def plain(text, *, delta=(), **more):
    return {"id": "r", "choices": [{"index": 0, "delta": {"content": text, **dict(delta)}, **more}]}


LIKE = {
    "a shorter end with other text": (plain("ab", logprobs=None, finish_reason=None), plain("cd" * 30, why="BAD")),
    "a copy that no longer is one": (
        {"choices": [{"delta": {"reasoning": "hm", "reasoning_details": [{"text": "hm"}]}}]},
        {"choices": [{"delta": {"reasoning": "so", "reasoning_details": [{"text": "BAD"}]}}]},
    ),
    "a copy of what came before": (
        {"choices": [{"delta": {"reasoning": "BAD", "reasoning_details": [{"text": "BAD"}]}}]},
        {"choices": [{"delta": {"reasoning": "so", "reasoning_details": [{"text": "BAD"}]}}]},
    ),
    "the same twice": (plain("ab", delta={"thinking": "BAD"}), plain("cd", delta={"thinking": "BAD"})),
}


@pytest.mark.parametrize("how", LIKE)
def test_chunks_resembling_the_previous_one_are_still_inspected(how):
    before, after = LIKE[how]
    buffer = fed(plain("x"), before, after, after)
    assert buffer.field_filter.unmonitored
    *_, third, fourth = buffer.queue
    assert b'"BAD"' not in third.data
    assert third.data == fourth.data
    assert any(b'"BAD"' in arrival.data for arrival in list(fed(before, after, holds=False).queue)[-1:])


CHUNKS = st.builds(
    plain,
    TEXTS,
    delta=st.dictionaries(
        st.sampled_from(["role", "thinking", "reasoning", "refusal"]), st.sampled_from(["", "a", None]), max_size=2
    ),
    finish_reason=st.sampled_from([None, "stop"]),
    why=st.sampled_from([None, "", "b", 1]),
)


@given(st.lists(CHUNKS, max_size=6), st.booleans())
def test_what_came_before_makes_no_difference(bodies, holds):
    buffer = fed(*bodies, holds=holds)
    alone = [ChunkFieldFilter("chat", holds=holds) for _ in bodies]
    shown = [each.filtered(json.dumps(body).encode()) for each, body in zip(alone, bodies, strict=True)]
    assert [arrival.data for arrival in buffer.queue] == shown
    assert set(buffer.field_filter.unmonitored) == {name for each in alone for name in each.unmonitored}


def filtered(*events, holds=True):
    field_filter = ResponsesFieldFilter(holds=holds)
    shown = []
    for event in events:
        if event == "again":
            field_filter.restart()
            continue
        raw = json.dumps(event).encode()
        shown.append(json.loads(field_filter.filtered(decode_event(raw), raw)))
    return shown, [*field_filter.unmonitored]


def piece(text, kind="output_text", index=0):
    return {"type": f"response.{kind}.delta", "output_index": index, "content_index": 0, "delta": text}


def item_with(arguments, what="done"):
    item = {"type": "function_call", "id": "f", "call_id": "c", "name": "go", "arguments": arguments}
    return {"type": f"response.output_item.{what}", "output_index": 0, "item": item}


def response_with(*items):
    return {"type": "response.completed", "response": {"output": list(items)}}


ARGUMENTS = piece("{}", "function_call_arguments")


@pytest.mark.parametrize(
    ("events", "unmonitored"),
    [
        ([ARGUMENTS, item_with("{}")], False),
        ([ARGUMENTS, item_with("{ }")], True),
        ([item_with("{}", "added"), item_with("{}")], False),
        ([item_with("{}", "added"), item_with("{ }")], True),
        ([item_with("{}"), response_with(item_with("{}")["item"])], False),
        ([item_with("{}"), response_with(item_with("{ }")["item"])], True),
        ([ARGUMENTS, {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": "{}"}], False),
        ([ARGUMENTS, {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": "[]"}], True),
        ([piece("a"), "again", piece("b"), {"type": "response.output_text.done", "text": "b"}], False),
        ([piece("a"), "again", {"type": "response.output_text.done", "text": "a"}], True),
        ([item_with("{}"), "again", response_with(item_with("{}")["item"])], True),
        ([piece("a"), piece("b"), {"type": "response.output_text.done", "text": "ab"}], False),
        ([piece("a"), piece("b", index=1), {"type": "response.output_text.done", "text": "ab"}], True),
    ],
)
def test_what_is_said_again_must_be_the_same(events, unmonitored):
    assert bool(filtered(*events)[1]) == unmonitored


def test_differing_final_text_is_replaced_by_monitored_text():
    (_, done), _ = filtered(piece("ok"), {"type": "response.output_text.done", "text": "BAD"})
    assert done["text"] == "ok"
    (*_, done), _ = filtered(piece("a"), piece("b", index=1), {"type": "response.output_text.done", "text": "BAD"})
    assert done["text"] == ""


RESPONSES = {
    "the item says another text": lambda w: w.events[-2]["item"]["content"][0].update(text="BAD"),
    "the response says another text": lambda w: w.events[-1]["response"]["output"][0]["content"][0].update(text="BAD"),
    "an item of a kind that is not read": lambda w: w.events[-1]["response"]["output"].append(
        {"id": "x", "type": "mcp_call", "output": "BAD", "status": "completed"}
    ),
    "an annotation": lambda w: w.events.insert(
        -1, {"type": "response.output_text.annotation.added", "annotation": {"title": "BAD"}}
    ),
    "an event of a kind that is not read": lambda w: w.events.insert(
        -1, {"type": "response.audio.delta", "delta": "BAD"}
    ),
    "an unknown field of a piece": lambda w: w.events[4].update(thinking="BAD"),
}


@pytest.mark.fault(
    "G2", injected="another text beside that of a response's pieces", happens="unverified; held back by a gate"
)
@pytest.mark.parametrize("reading", ["live", "gate"])
@pytest.mark.parametrize("how", RESPONSES)
async def test_events_that_say_what_is_not_read(how, reading, serve, clients):
    def script(_):
        writer = Writer().text("ok\n")
        writer.steps()
        RESPONSES[how](writer)
        return [Send(data(event)) for event in writer.events]

    client = wrap(clients(KINDS["async"], serve(script)), [passing()], reading=reading)
    events = await read(await ask(client, "responses", stream=True))
    assert events[-1].interwhen.result.status == "unverified"
    assert ("BAD" in "".join(event.to_json() for event in events)) == (reading == "live")
    if reading == "gate":
        assert "ok" in events[-1].to_json()


async def test_call_pieces_contradicting_the_call_leave_it_unverified(serve, clients):
    def script(_):
        writer = Writer().call('{"to": "A"}')
        writer.steps()
        for event in writer.events:
            if event["type"].endswith("arguments.delta"):
                event["delta"] = event["delta"].replace("A", "B")
        return [Send(data(event)) for event in writer.events]

    client = wrap(clients(KINDS["async"], serve(script)), [passing()])
    events = await read(await ask(client, "responses", stream=True, tools=[TOOL]))
    assert events[-1].interwhen.result.status == "unverified"


def _changed(writer, kind, item=None, **fields):
    for event in writer.events:
        if event["type"] == kind:
            event.update(fields)
            event.get("item", {}).update(item or {})


def _without(writer, kind):
    writer.events[:] = [event for event in writer.events if event["type"] != kind]


ITEM_ADDED, ITEM_DONE = "response.output_item.added", "response.output_item.done"
BAD_CALLS = {
    "the item never ends": lambda w: _without(w, ITEM_DONE),
    "the item is not announced and never ends": lambda w: _without(w, ITEM_ADDED) or _without(w, ITEM_DONE),
    "no item has a number": lambda w: [event.pop("output_index", None) for event in w.events],
    "the announcement has another name": lambda w: _changed(w, ITEM_ADDED, {"name": "BAD"}),
    "the end of the arguments has another name": lambda w: _changed(
        w, "response.function_call_arguments.done", name="BAD"
    ),
    "the announcement has other arguments": lambda w: _changed(w, ITEM_ADDED, {"arguments": "BAD"}),
    "only the response has it": lambda w: (
        _without(w, ITEM_ADDED)
        or _without(w, ITEM_DONE)
        or _without(w, "response.function_call_arguments.delta")
        or _without(w, "response.function_call_arguments.done")
    ),
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("how", BAD_CALLS)
async def test_incompletely_monitored_calls_never_reach_the_caller(how, gate, stream, serve, clients):
    def script(_):
        writer = Writer().call('{"to": "BAD"}' if "name" not in how and "other" not in how else '{"to": "home"}')
        writer.steps()
        BAD_CALLS[how](writer)
        return [Send(data(event)) for event in writer.events]

    monitor = no_call_with() if gate else passing()
    client = wrap(clients(KINDS["async"], serve(script)), [monitor])
    parts = await ask(client, "responses", stream=stream, tools=[TOOL])
    parts = await read(parts) if stream else [parts]
    assert parts[-1].interwhen.result.status != "verified"
    assert "BAD" not in "".join(event.to_json() for event in parts)


async def test_a_call_without_pieces_reaches_the_caller(serve, clients):
    def script(_):
        writer = Writer().call('{"to": "home"}')
        writer.steps()
        _without(writer, "response.function_call_arguments.delta")
        return [Send(data(event)) for event in writer.events]

    client = wrap(clients(KINDS["async"], serve(script)), [no_call_with()])
    events = await read(await ask(client, "responses", stream=True, tools=[TOOL]))
    assert events[-1].interwhen.result.status == "verified"
    assert events[-1].response.output[0].arguments == '{"to": "home"}'


@pytest.mark.parametrize("reading", ["live", "gate"])
async def test_names_of_non_call_items_make_results_unverified(reading, serve, clients):
    def script(_):
        writer = Writer().text("ok\n")
        writer.steps()
        _changed(writer, ITEM_ADDED, {"name": "BAD"})
        return [Send(data(event)) for event in writer.events]

    client = wrap(clients(KINDS["async"], serve(script)), [passing()], reading=reading)
    events = await read(await ask(client, "responses", stream=True))
    assert events[-1].interwhen.result.status == "unverified"
    assert ("BAD" in "".join(event.to_json() for event in events)) == (reading == "live")
