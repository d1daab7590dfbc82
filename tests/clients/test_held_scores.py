"""Log-probabilities spell tokens. A gate shows none before the text of its token is released."""

import json

import pytest
from both import KINDS, ask, read
from hypothesis import given
from hypothesis import strategies as st
from interwhen import wrap
from interwhen._types.errors import MalformedEvent
from interwhen.clients._calls import make_settings, read_call
from interwhen.clients._held_scores import HeldScores, HeldTokens
from interwhen.clients._responses_fields import ResponsesFieldFilter, decode_event
from interwhen.clients._supervision import supervise
from interwhen.clients._upstream import ModelEndpoint, make_buffer
from interwhen.testing._server_script import data
from interwhen.testing.server import Send
from responses_writer import Writer
from watchers import passing, word
from wires import MemoryWire, event

pytestmark = pytest.mark.anyio


def the_call(api):
    asked = {"messages": [{"role": "user", "content": "q"}]} if api == "chat" else {"prompt": "q"}
    return read_call(api, {"model": "m", "stream": True, **asked})


def score(token, **more):
    return {"token": token, "logprob": -0.5, "bytes": [*token.encode()], "top_logprobs": [], **more}


def chat(text, *tokens, reason=None, **more):
    scores = {"content": [score(token) for token in tokens], "refusal": None} if tokens else None
    choice = {"index": 0, "delta": {"content": text, **more}, "logprobs": scores, "finish_reason": reason}
    return {"id": "r", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}


def completion(text, *tokens, reason=None):
    numbers = [-0.5] * len(tokens)
    scores = {"tokens": [*tokens], "token_logprobs": numbers, "top_logprobs": [{t: -0.5} for t in tokens]}
    choice = {"index": 0, "text": text, "logprobs": {**scores, "text_offset": [0] * len(tokens)}}
    return {"id": "r", "object": "text_completion", "model": "m", "choices": [{**choice, "finish_reason": reason}]}


def tokens_of(body):
    scores = body["choices"][0].get("logprobs") or {}
    return [*(scores.get("tokens") or []), *(each["token"] for each in scores.get("content") or [])]


def shown(*bodies, api="chat", holds=True):
    buffer = make_buffer(the_call(api), holds=holds)
    buffer.begin(())
    for body in bodies:
        buffer.decode(json.dumps(body).encode(), 0, False)
    return [tokens_of(json.loads(arrival.data)) for arrival in buffer.queue]


@pytest.mark.fault(
    "G2", injected="log-probabilities of text that a gate holds back", happens="held until the text is checked"
)
@pytest.mark.parametrize("api", ["chat", "completions"])
@pytest.mark.parametrize("reading", ["gate", "live"])
async def test_a_gate_withholds_tokens_until_text_is_checked(api, reading):
    make = chat if api == "chat" else completion
    wire = [make("ok\n", "ok\n"), make("", "BAD"), make("", " SECRET\n"), make("BAD SECRET\n"), make("", reason="stop")]
    transport = MemoryWire(lambda *_: [*map(event, wire), b"data: [DONE]\n\n"])
    supervised = await supervise(
        the_call(api), make_settings([word()], {"reading": reading}), transport, ModelEndpoint()
    )
    parts = []
    try:
        while batch := await supervised.parts():
            parts += batch
    finally:
        await supervised.aclose()
    said, early = "", []
    for body in [part.chunk() for part in parts]:
        [choice] = body["choices"]
        said += choice.get("text") or (choice.get("delta") or {}).get("content") or ""
        early += [token for token in tokens_of(body) if token not in said]
    assert early[:2] == ([] if reading == "gate" else ["BAD", " SECRET\n"])
    assert "ok\n" in said


@pytest.mark.parametrize(("api", "make"), [("chat", chat), ("completions", completion)])
def test_tokens_come_with_the_chunk_completing_their_text(api, make):
    wire = [make("", "a"), make("a", "bc", "d"), make("b", "</s>"), make("cd"), make("", "e"), make("e", "")]
    assert shown(*wire, api=api) == [[], ["a"], [], ["bc", "d"], [], ["e", ""]]  # the end mark is in no text
    assert shown(*wire, api=api, holds=False) == [tokens_of(body) for body in wire]


def test_the_scores_keep_their_form():
    scores = HeldScores()
    assert scores.take({"content": [score("a")], "refusal": None}, "a", "") == {
        "content": [score("a")],
        "refusal": None,
    }
    assert scores.take({"content": [score("b")], "refusal": [score("no")]}, "", "") is None
    given = completion("b", "b")["choices"][0]["logprobs"]
    assert HeldScores().take(given, "b", "") == given
    assert HeldScores().take({"reasoning_content": [score("hm")], "content": []}, "", "hm") == {
        "reasoning_content": [score("hm")],
        "content": None,
    }
    assert HeldScores().take("no scores", "b", "") is None


def test_special_tokens_outside_text_are_omitted_without_delay():
    assert shown(chat("", "<think>"), chat("ab", "a", "b"), chat("c", "</think>", "c"), chat("d", "d")) == [
        [],
        ["a", "b"],
        ["c"],
        ["d"],
    ]


def test_split_characters_are_recognized_by_their_bytes():
    halves = [score("\ufffd", bytes=[0xC3]), score("\\xa9", bytes=[0xA9])]
    scores = HeldScores()
    assert scores.take({"content": halves[:1]}, "", "") is None
    assert scores.take({"content": halves[1:]}, "é", "") == {"content": halves}
    assert not scores.differs


def test_other_bytes_do_not_hide_a_token():
    assert HeldScores().take({"content": [score("SECRET", bytes=[])]}, "", "") is None
    assert HeldScores().take({"content": [score("SECRET", bytes=[97])]}, "a", "") is None


def test_a_chunk_of_a_call_keeps_its_own():
    calls = [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    assert shown(chat(None, "<call>", "f", "{}", tool_calls=calls)) == [["f", "{}"]]
    assert shown(chat(None, "<call>", "BAD", tool_calls=calls)) == [[]]


def test_another_request_forgets_the_tokens_that_wait():
    buffer = make_buffer(the_call("chat"), holds=True)
    buffer.begin(())
    buffer.decode(json.dumps(chat("", "a")).encode(), 0, False)
    buffer.begin(())
    buffer.decode(json.dumps(chat("a")).encode(), 0, False)
    assert [tokens_of(json.loads(arrival.data)) for arrival in buffer.queue][-1] == []


def test_events_of_the_responses_api_wait_too():
    field_filter = ResponsesFieldFilter(holds=True)

    def fed(**event):
        raw = json.dumps(event).encode()
        return json.loads(field_filter.filtered(decode_event(raw), raw))

    place = {"output_index": 0, "content_index": 0}
    kind = "response.output_text"
    first = fed(type=f"{kind}.delta", **place, delta="a", logprobs=[score("a"), score("bc")])
    assert [each["token"] for each in first["logprobs"]] == ["a"]
    last = fed(type=f"{kind}.delta", **place, delta="bc")
    assert [each["token"] for each in last["logprobs"]] == ["bc"]
    done = fed(type=f"{kind}.done", **place, text="abc", logprobs=[score("a"), score("SECRET"), score("bc")])
    assert [each["token"] for each in done["logprobs"]] == ["a"]
    assert [*field_filter.unmonitored] == ["logprobs of response.output_text.done"]
    part = {"type": "output_text", "text": "abc", "logprobs": [score("SECRET")]}
    assert fed(type="response.content_part.done", **place, part=part)["part"]["logprobs"] == []


@given(st.lists(st.sampled_from(["a", "ab", "b", "</s>", ""]), max_size=8), st.integers(0, 6), st.data())
def test_no_token_is_shown_before_its_text(tokens, lag, draw):
    text = "".join(token for token in tokens if token != "</s>")
    held, said, sent, shown = HeldTokens(), "", 0, []
    for token in [*tokens, *[None] * 8]:
        sent += len(token) if token not in (None, "</s>") else 0
        end = max(len(said), sent - lag if token is not None else draw.draw(st.integers(len(said), len(text))))
        new, said = text[len(said) : end], text[:end]
        shown += held.take(new, [(token.encode(), token)] if token is not None else [])
        assert "".join(shown) in said or len("".join(shown)) <= len(said)
        assert "</s>" not in shown


SPELLED = {
    "as it is": ["so", " 1", "7", "\n"],
    "without white space": ["so", "1", "7", ""],
    "with the sign for a space": ["▁so", "▁1", "7", "\n"],
    "marks": ["<think>", "so", "</think>", " 17\n", "<|im_end|>"],
    "by number": ["token_id:12", "token_id:7"],
}


@pytest.mark.parametrize("holds", [True, False])
@pytest.mark.parametrize(("api", "make"), [("chat", chat), ("completions", completion)])
@pytest.mark.parametrize("how", SPELLED)
def test_tokens_that_spell_the_text_leave_no_doubt(how, api, make, holds):
    buffer = make_buffer(the_call(api), holds=holds)
    buffer.begin(())
    is_number = how == "by number"
    text = "" if is_number else "so 17\n"
    for body in (make(text, *SPELLED[how]), make("", reason="stop")):
        buffer.decode(json.dumps(body).encode(), 0, False)
    assert buffer.field_filter.unmonitored == {}


EMOJI = "so 🙂 – é\n"
PARTS = {
    "their bytes": [("so", None), (" \ufffd", [0x20, 0xF0, 0x9F]), ("\ufffd", [0x99, 0x82])],
    "escaped": [("so", None), (" ", None), ("\\xf0\\x9f", None), ("bytes:\\x99\\x82", None)],
    "by number": [("so", None), *((f"<0x{each:02X}>", None) for each in "🙂".encode())],
    "replaced, with the bytes of the replacement": [("so", None), *[("\ufffd", [0xEF, 0xBF, 0xBD])] * 2],
    "replaced, without bytes": [("so", None), *[("\ufffd", None)] * 3],
}


@pytest.mark.parametrize("how", PARTS)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_the_parts_of_a_character_leave_no_doubt(how, size):
    rows = [*PARTS[how], (" –", None), (" é", None), ("\n", None)]
    rows = [score(token, bytes=parts) for token, parts in rows]
    scores, at = HeldScores(), 0
    for row in rows:  # all tokens come before their text, in pieces of another size
        scores.take({"content": [row]}, "", "")
    while at < len(EMOJI):
        scores.take(None, EMOJI[at : at + size], "")
        at += size
    scores.finish(())
    assert not scores.differs


@pytest.mark.parametrize(
    ("asked", "is_right"),
    [
        ({"stop": "\nQ:"}, True),
        ({"stop": ["###", "\nQ: 2 and more"]}, True),
        ({"stop_token_ids": [7]}, True),
        ({"stop": "###"}, False),
        ({}, False),
    ],
)
def test_only_requested_stop_sequences_may_have_extra_tokens(asked, is_right):
    call = the_call("chat")
    buffer = make_buffer(read_call("chat", {**call.body, **asked}))
    buffer.begin(())
    body = chat("so.", "so", ".\n", "Q", ": 2", reason="stop")
    buffer.decode(json.dumps(body).encode(), 0, False)
    assert (not buffer.field_filter.unmonitored) == is_right


def test_reasoning_without_tokens_leaves_no_doubt():
    scores = HeldScores()
    scores.take({"content": None}, "", "hm, 17")
    scores.take({"content": [score("so")]}, "so", "")
    scores.take({"content": None, "reasoning_content": [score("hm")]}, "", "hm")
    scores.take({"content": [score("!")]}, "!", "")
    scores.finish(())
    assert not scores.differs


OTHER = {
    "another text": [("BAD", {})],
    "more text": [("so 17\n", {}), ("BAD", {}), ("BAD", {})],
    "less text": [("so", {}), ("\n", {})],
    "a part of the text": [("so 1", {})],
    "other bytes": [("so 17\n", {"bytes": [66, 65, 68]})],
    "other bytes of an alternative": [("so 17\n", {"top_logprobs": [score("a", bytes=[66, 65, 68])]})],
    "long bytes of a part": [("so 17\n", {"top_logprobs": [score("\ufffd", bytes=[66] * 200)]})],
    "a long alternative": [("so 17\n", {"top_logprobs": [score("BAD" * 50)]})],
    "many alternatives": [("so 17\n", {"top_logprobs": [score("BAD")] * 200})],
    "another field": [("so 17\n", {"note": "BAD"})],
    "a last token": [("so 17\n", {}), ("BAD", {})],
    "with a replacement character": [("so 17\n", {}), ("BAD is the answer\ufffd", {})],
    "many marks": [("so 17\n", {}), *[("<BAD>", {})] * 50],
    "a mark of several words": [("so 17\n", {}), ("<BAD is the answer>", {})],
}


def with_scores(api, rows):
    body = completion("so 17\n", "x") if api == "completions" else chat("so 17\n", "x")
    choice = body["choices"][0]
    if api == "chat":
        choice["logprobs"] = {"content": [score(token, **more) for token, more in rows]}
    else:
        choice["logprobs"] = {"tokens": [token for token, _ in rows], "token_logprobs": [-0.5] * len(rows)}
    return body


@pytest.mark.fault("G2", injected="log-probabilities of tokens that are another text", happens="unverified; held back")
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("reading", ["gate", "live"])
@pytest.mark.parametrize(
    ("api", "how"),
    [*(("chat", how) for how in OTHER), *(("completions", how) for how, rows in OTHER.items() if not rows[0][1])],
)
async def test_tokens_of_another_text_leave_a_doubt(how, api, reading, stream):
    body = with_scores(api, OTHER[how])
    last = (chat if api == "chat" else completion)("", reason="stop")
    transport = MemoryWire(lambda *_: [event(body), event(last), b"data: [DONE]\n\n"])
    call = the_call(api)
    call = read_call(api, {**call.body, "stream": stream})
    settings = make_settings([passing()], {"reading": reading})
    supervised = await supervise(call, settings, transport, ModelEndpoint())
    parts = []
    try:
        while batch := await supervised.parts():
            parts += batch
    finally:
        await supervised.aclose()
    result = supervised.result
    assert result.status == "unverified"
    assert "logprobs" in result.unverified_reasons[0].why
    if reading == "gate":
        shown = [token for part in parts for token in tokens_of(part.chunk())]
        assert "BAD" not in json.dumps([part.chunk() for part in parts])
        assert "so17".startswith("".join("".join(shown).split()))


@pytest.mark.parametrize("scores", ["BAD", ["BAD"], {"BAD is the answer": None}, {"content": "BAD"}, {"tokens": "BAD"}])
@pytest.mark.parametrize(("api", "make"), [("chat", chat), ("completions", completion)])
def test_unrecognized_log_probabilities_are_flagged_and_held_back(scores, api, make):
    buffer = make_buffer(the_call(api), holds=True)
    buffer.begin(())
    body = make("a")
    body["choices"][0]["logprobs"] = scores
    try:
        buffer.decode(json.dumps(body).encode(), 0, False)
    except MalformedEvent:  # the chunk is not shown
        return
    assert buffer.field_filter.unmonitored
    assert b"BAD" not in buffer.queue[0].data


@given(st.lists(st.sampled_from(["a", "b ", "é", "<s>", "🙂", "\n"]), max_size=8), st.data())
def test_tokens_spell_the_text_in_any_chunks(tokens, draw):
    # The text comes in other pieces than the tokens, and never before them.
    text = "".join(token for token in tokens if token != "<s>")
    held, said, sent = HeldTokens(), 0, 0
    for token in tokens:
        sent += 0 if token == "<s>" else len(token)
        end = draw.draw(st.integers(said, sent))
        held.take(text[said:end], [("".join(token.split()).encode(), token)])
        said = end
    held.take(text[said:], [])
    held.finish()
    assert not held.differs


@pytest.mark.parametrize("how", ["streamed", "whole"])
@pytest.mark.parametrize(
    ("rows", "is_right"),
    [(["ok", "\n"], True), (["BAD"], False), (["ok"] * 2, False), (["ok", "\n", "BAD" * 30], False)],
)
async def test_tokens_of_the_responses_api_are_compared(rows, is_right, how, serve, clients):
    def script(_):
        writer = Writer().text("ok\n")
        writer.steps()
        for each in writer.events:
            if "logprobs" in each:
                each["logprobs"] = [score(token) for token in rows]
        return [Send(data(each)) for each in writer.events]

    client = wrap(clients(KINDS["async"], serve(script)), [passing()])
    answer = await ask(client, "responses", stream=how == "streamed")
    last = (await read(answer))[-1] if how == "streamed" else answer
    assert (last.interwhen.result.status == "verified") == is_right
